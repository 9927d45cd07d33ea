"""Whether samples lie within limits: asked of every sample, so it must cost next to nothing."""

from libcpp cimport bool as cbool

from core.native.streams cimport LiveStream


cdef enum:
    FEATURES = 5


cdef class Limits:
    """The lowest and the highest usual value of each input.

    Args:
        lowest, highest: five numbers each.
        one_hot: the last four are one 1 and three 0, else the sample is not usual.
    """

    def __init__(self, lowest, highest, bint one_hot):
        cdef int i
        for i in range(FEATURES):
            self.lowest[i], self.highest[i] = lowest[i], highest[i]
        self.one_hot = one_hot

    def hold(self, LiveStream stream):
        """Whether the last sample of a stream lies within."""
        return self.hold_values(stream.values)

    cdef cbool hold_values(self, const double* values) noexcept nogil:
        cdef int i
        cdef int ones = 0
        for i in range(FEATURES):
            if not (self.lowest[i] <= values[i] <= self.highest[i]):
                return False
        if not self.one_hot:
            return True
        for i in range(1, FEATURES):
            if values[i] == 1.0:
                ones += 1
            elif values[i] != 0.0:
                return False
        return ones == 1
