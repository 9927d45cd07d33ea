"""Forecasts that streams keep from one step to the next, for all rows of a step at once: `forecast.hpp` has the rules.

Shapes: B rows, F numbers of a sample, K of the model, A kept from step to step, n of a forecast.
"""

import numpy as np


cdef extern from "forecast.hpp" namespace "caststream" nogil:
    cdef cppclass ForecastShape:
        int numbers
        bint changes
        const double* least
        int kept()
    const int SPANS "caststream::SPANS"
    const double NO_SURPRISE_YET "caststream::NO_SURPRISE"
    void judge_row "caststream::judge"(
        const ForecastShape& shape, const float* sample, const float* kept, double* expected, double* distances
    )
    void keep_row "caststream::keep"(const ForecastShape& shape, const float* sample, const float* forecast, float* kept)
    double surprise(const double* distances, int n)
    double likelihood_ratio(const double* distances, int n, double horizon, const float* before, float* after)
    double leading(double ratio, const float* averages, int n)


RATIO_NUMBERS = 2 * SPANS
"""How many averages a likelihood ratio keeps of each number."""
NO_SURPRISE = NO_SURPRISE_YET
"""A surprise where there is no forecast yet."""


cdef class Forecasts:
    """A forecast of n numbers.

    Args:
        least: (n,), the least standard deviation of each number.
        changes: its means are changes from the sample that it is made at.
        column: where its 2n numbers begin among the K.
        place: where it is kept among the A.
    """

    cdef ForecastShape shape
    cdef double[::1] least
    cdef Py_ssize_t column, place

    def __init__(self, least, bint changes, Py_ssize_t column, Py_ssize_t place):
        self.least = np.array(least, np.float64)
        if not len(least):
            raise ValueError("a forecast has at least one number")
        self.shape.numbers, self.shape.changes, self.shape.least = len(least), changes, &self.least[0]
        self.column, self.place = column, place

    @property
    def kept(self):
        """How many numbers are kept of it."""
        return self.shape.kept()

    def step(self, const float[:, ::1] samples, const float[:, ::1] numbers, const float[:, ::1] before, float[:, ::1] after):
        """Judge samples by the forecasts that were kept, and keep those that were made at them.

        Args:
            samples: (B, F).
            numbers: (B, K), of the model.
            before: (B, A).
            after: (B, A); the forecasts are put there.

        Returns:
            What was expected, and the distances in standard deviations, (B, n) each.
        """
        cdef Py_ssize_t row, rows = samples.shape[0]
        cdef int n = self.shape.numbers
        _check(samples, rows, n)
        _check(numbers, rows, self.column + 2 * n)
        _check(before, rows, self.place + self.shape.kept())
        _check(after, rows, self.place + self.shape.kept())
        expected, distances = np.empty((rows, n)), np.empty((rows, n))
        cdef double[:, ::1] expected_view = expected, distances_view = distances
        with nogil:
            for row in range(rows):
                judge_row(
                    self.shape, &samples[row, 0], &before[row, self.place], &expected_view[row, 0], &distances_view[row, 0]
                )
                keep_row(self.shape, &samples[row, 0], &numbers[row, self.column], &after[row, self.place])
        return expected, distances


def surprises(const double[:, ::1] distances):
    """The root mean square (B, 1) of distances (B, n)."""
    cdef Py_ssize_t row
    found = np.empty((distances.shape[0], 1))
    cdef double[:, ::1] view = found
    for row in range(distances.shape[0]):
        view[row, 0] = surprise(&distances[row, 0], distances.shape[1])
    return found


def likelihood_ratios(
    const double[:, ::1] distances, int horizon, const float[:, ::1] before, float[:, ::1] after, Py_ssize_t place
):
    """Move running averages on, and return the largest ratio (B, 1).

    Args:
        distances: (B, n).
        horizon: steps of the averages.
        before: (B, A): at ``place``, for each span, the averages of n distances and of their squares less 1.
        after: (B, A); the same is put there.
    """
    cdef Py_ssize_t row, rows = distances.shape[0]
    cdef int n = distances.shape[1]
    _check(before, rows, place + 2 * SPANS * n)
    _check(after, rows, place + 2 * SPANS * n)
    found = np.empty((rows, 1))
    cdef double[:, ::1] view = found
    for row in range(rows):
        view[row, 0] = likelihood_ratio(&distances[row, 0], n, horizon, &before[row, place], &after[row, place])
    return found


def leaders(const double[:, ::1] ratios, const float[:, ::1] after, Py_ssize_t place, int n):
    """The place (B, 1) of the number with the largest ratio, of the averages that `likelihood_ratios` has put there."""
    cdef Py_ssize_t row, rows = ratios.shape[0]
    _check(after, rows, place + 2 * SPANS * n)
    found = np.empty((rows, 1))
    cdef double[:, ::1] view = found
    for row in range(rows):
        view[row, 0] = leading(ratios[row, 0], &after[row, place], n)
    return found


cdef int _check(const float[:, ::1] numbers, Py_ssize_t rows, Py_ssize_t width) except -1:
    if numbers.shape[0] != rows or numbers.shape[1] < width:
        raise ValueError(f"{numbers.shape[0]} x {numbers.shape[1]} numbers, where {rows} x {width} are needed")
    return 0
