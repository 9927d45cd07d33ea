from libcpp cimport bool as cbool
from libcpp.vector cimport vector


cdef class Limits:
    cdef vector[double] lowest
    cdef vector[double] highest
    cdef bint one_hot
    cdef cbool hold_values(self, const double* values) noexcept nogil
