from libc.stdint cimport int64_t

from core.native.fields cimport FieldList, NearMisses, Sample
from core.native.records cimport Records, Span
from core.native.streams cimport LiveStream


cdef class Turn:
    cdef FieldList fields
    cdef Sample sample        # of the record that is being read
    cdef int64_t listing, idle_timeout_ms
    cdef object take_one, pack_early
    cdef readonly int64_t processed
    cdef readonly dict near_misses
    cdef readonly dict held
    cdef bint _take_plain(self, Records records, Py_ssize_t index, dict streams, list listed) except *
    cdef int _touch(self, LiveStream stream, list listed) except -1
    cdef int _fill(self, LiveStream stream) except -1
    cdef int _count_near(self, NearMisses& near) except -1
    cdef int apply(self, LiveStream stream) except -1
