from libcpp cimport bool as cbool


cdef class Limits:
    cdef double lowest[5]
    cdef double highest[5]
    cdef bint one_hot
    cdef cbool hold_values(self, const double* values) noexcept nogil
