"""Whether samples lie within limits: asked of every sample, so it must cost next to nothing."""

from libcpp cimport bool as cbool
from libcpp.vector cimport vector


cdef class Limits:
    """The lowest and the highest usual value of each input.

    Args:
        lowest, highest: F numbers each.
        one_hot: all but the first are one 1 and else 0, or the sample is not usual.
    """

    def __init__(self, lowest, highest, bint one_hot):
        self.lowest, self.highest = lowest, highest
        self.one_hot = one_hot
        if self.lowest.size() != self.highest.size():
            raise ValueError(f"limits need as many highest numbers as lowest, got {len(highest)} and {len(lowest)}")

    def hold(self, sample):
        """Whether a sample (F,) lies within."""
        cdef vector[double] values = sample
        if values.size() != self.lowest.size():
            raise ValueError(f"a sample of {values.size()} numbers has no limits of {self.lowest.size()}")
        return self.hold_values(values.data())

    cdef cbool hold_values(self, const double* values) noexcept nogil:
        cdef size_t i
        cdef int ones = 0
        for i in range(self.lowest.size()):
            if not (self.lowest[i] <= values[i] <= self.highest[i]):
                return False
        if not self.one_hot:
            return True
        for i in range(1, self.lowest.size()):
            if values[i] == 1.0:
                ones += 1
            elif values[i] != 0.0:
                return False
        return ones == 1
