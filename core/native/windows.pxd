from libc.stdint cimport int64_t
from libcpp.vector cimport vector

from core.native.limits cimport Limits
from core.native.streams cimport LiveStream
from core.native.turns cimport Turn


cdef class Segment:
    cdef readonly int64_t number
    cdef readonly int width
    cdef public bint changed
    cdef vector[int64_t] _steps
    cdef vector[float] _samples  # `width` per step


cdef class CastWindow:
    cdef readonly object rules
    cdef readonly int width
    cdef public int64_t count
    cdef public list segments
    cdef int64_t length, least, hop, segment
    cdef Segment last(self)
    cpdef open(self, int64_t number)
    cdef int push(self, int64_t step, const float* sample) except -1
    cdef int64_t held(self) except -1
    cdef int trim_into(self, list dropped) except -1
    cdef bint is_due(self)


cdef class CastStream(LiveStream):
    cdef public CastWindow window
    cdef public bint changed  # its head and segments differ from the table's
    cdef public list retired  # segments that the head in the table may still need
    cdef public list stale    # segments that no head needs once the records taken last are acked


cdef class WindowTurn(Turn):
    cdef Limits limits
    cdef list strange
    cdef object score
