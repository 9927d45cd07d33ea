from libc.stdint cimport int8_t, int32_t, int64_t
from libcpp.vector cimport vector


cdef struct Span:
    int64_t offset
    int64_t timestamp
    int64_t at            # of the key in the data; the value follows it, then the headers
    int32_t key_bytes     # -1: null
    int32_t value_bytes   # -1: null
    int32_t header_bytes
    int32_t headers
    int8_t tied           # to the next one: both go in one batch


cdef class Store:
    cdef vector[char] data
    cdef vector[Span] spans


cdef class Records:
    cdef readonly int partition
    cdef readonly int timestamp_type
    cdef Store store
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef char* data(self) noexcept nogil
    cdef Span* span(self, Py_ssize_t index) noexcept nogil
    cdef char* put(
        self,
        int64_t offset,
        int64_t timestamp,
        Py_ssize_t key_bytes,
        Py_ssize_t value_bytes,
        Py_ssize_t header_bytes=*,
        int headers=*,
        bint tied=*,
    ) except? NULL nogil
    cdef void shorten(self, Py_ssize_t value_bytes) noexcept nogil
    cpdef append(self, key, value, int64_t offset, int64_t timestamp, bint tied=*)
    cdef bytes key_at(self, Py_ssize_t index)
    cdef Record record_at(self, Py_ssize_t index)


cdef class Record:
    cdef readonly int partition
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp
    cdef readonly object key
    cdef readonly object value
    cdef readonly tuple headers


cdef class Outputs(Records):
    pass
