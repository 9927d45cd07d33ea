from libc.stdint cimport int64_t


cdef class StreamState:
    cdef public int64_t offset
    cdef public int64_t append_ms
    cdef public int64_t timestamp_ms
    cdef public int64_t step
    cdef public int64_t gap_first
    cdef public int64_t gap_end
    cdef public int64_t back_step
    cdef public int64_t back_ms
    cdef public int64_t back_offset
    cdef public bint closed
    cdef readonly int width   # numbers of a sample
    cdef str _sequence
    cdef public str previous
    cdef float* values        # the last sample; float32, as the model reads it and the table stores it
    cdef bytes head           # of the outputs of this stream and sequence; None until the first of them
    cpdef clear(self)
    cdef int _make_room(self, int width) except -1


cdef class LiveStream(StreamState):
    cdef readonly int partition
    cdef readonly bytes key
    cdef public int64_t listed
    cdef public int64_t repeated_at
    cdef public int repeats
    cdef public bint is_told


cdef class SignalStream(LiveStream):
    cdef readonly int64_t row
    cdef public int64_t chunk
    cdef public int64_t run
