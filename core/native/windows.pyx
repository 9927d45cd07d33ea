"""Windows of samples: kept in segments, due or not, and what happens to a window once per sample."""

cimport cython
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

from typing import NamedTuple

import numpy as np

from core.native.limits cimport Limits
from core.native.streams cimport LiveStream
from core.native.turns cimport Turn

from core.native.streams import SHIPPED_WIDTH


class WindowSamples(NamedTuple):
    """The samples that one score sees; T from 1 to ``window_length``."""

    samples: object  # (T, F)
    steps: object    # (T,), ascending; not without holes where steps are missing


@cython.no_gc
cdef class Segment:
    """A run of samples of one cast, stored under a number of its own: the source offset of its first record.

    That offset belongs to one record for ever, so a number never stands for other samples, also when records are
    processed again after a crash.
    """

    def __init__(self, int64_t number, int width):
        self.number, self.width = number, width
        self.changed = True

    def __len__(self):
        return self._steps.size()

    @property
    def steps(self):
        """(n,), a copy."""
        found = np.empty(self._steps.size(), np.int64)
        cdef int64_t[::1] steps = found
        if self._steps.size():
            memcpy(&steps[0], self._steps.data(), self._steps.size() * sizeof(int64_t))
        return found

    @property
    def samples(self):
        """(n * F,), a copy."""
        found = np.empty(self._samples.size(), np.float32)
        cdef float[::1] samples = found
        if self._samples.size():
            memcpy(&samples[0], self._samples.data(), self._samples.size() * sizeof(float))
        return found

    def extend(self, const int64_t[::1] steps, const float[::1] samples):
        """Take in n steps and n * F numbers of samples."""
        if samples.shape[0] != steps.shape[0] * self.width:
            raise ValueError(f"{steps.shape[0]} samples have {self.width} numbers each, got {samples.shape[0]} numbers")
        if steps.shape[0]:
            self._steps.insert(self._steps.end(), &steps[0], &steps[0] + steps.shape[0])
            self._samples.insert(self._samples.end(), &samples[0], &samples[0] + samples.shape[0])


@cython.no_gc
cdef class CastWindow:
    """The last ``window_length`` samples of a cast.

    ``count``: samples of the cast so far, those that have left the window included.

    Args:
        rules: ``window_length``, ``window_min``, ``hop`` and ``segment``, samples each.
        width: numbers of a sample, F.
    """

    def __init__(self, rules, int width=SHIPPED_WIDTH):
        self.rules, self.width = rules, width
        self.length, self.least = rules.window_length, rules.window_min
        self.hop, self.segment = rules.hop, rules.segment
        self.count = 0
        self.segments = []

    cdef Segment last(self):
        return <Segment>self.segments[len(self.segments) - 1]

    cpdef open(self, int64_t number):
        """Begin a record's samples. Only here does a segment end: one record's samples are never split."""
        if not self.segments or <int64_t>self.last()._steps.size() >= self.segment:
            self.segments.append(Segment(number, self.width))

    def add(self, int64_t step, sample):
        """Take one sample in, after ``open``."""
        cdef vector[float] numbers = sample
        if numbers.size() != <size_t>self.width:
            raise ValueError(f"a sample of the window has {self.width} numbers, got {len(sample)}")
        self.push(step, numbers.data())

    cdef int push(self, int64_t step, const float* sample) except -1:
        cdef Segment last = self.last()
        last._steps.push_back(step)
        last._samples.insert(last._samples.end(), sample, sample + self.width)
        last.changed = True
        self.count += 1
        return 0

    cdef int64_t held(self) except -1:
        cdef Segment segment
        cdef int64_t held = 0
        for segment in self.segments:
            held += segment._steps.size()
        return held

    cdef int trim_into(self, list dropped) except -1:
        cdef int64_t spare = self.held() - self.length
        cdef Segment first
        while spare > 0 and self.segments:
            first = self.segments[0]
            if spare < <int64_t>first._steps.size():
                break
            spare -= first._steps.size()
            dropped.append(first.number)
            del self.segments[0]
        return 0

    def trim(self):
        """Drop the segments that lie before the window; return their numbers."""
        dropped = []
        self.trim_into(dropped)
        return dropped

    def clear(self):
        """Empty the window and forget the count; the numbers of its segments."""
        dropped = self.numbers()
        self.segments = []
        self.count = 0
        return dropped

    def numbers(self):
        """Those of its segments."""
        cdef Segment segment
        return [segment.number for segment in self.segments]

    @property
    def due(self):
        """True if a score is due at the sample just added: at ``window_min`` samples, then every ``hop``."""
        return self.is_due()

    cdef bint is_due(self):
        cdef int64_t past = self.count - self.least
        return past >= 0 and past % self.hop == 0

    def view(self):
        """The window as it is now, copied."""
        cdef Segment segment
        cdef int64_t held = self.held(), skip = max(held - self.length, 0), place = 0, size, first
        samples, steps = np.empty((held - skip, self.width), np.float32), np.empty(held - skip, np.int64)
        cdef float[:, ::1] sample_view = samples
        cdef int64_t[::1] step_view = steps
        for segment in self.segments:
            size = segment._steps.size()
            first = min(skip, size)
            skip, size = skip - first, size - first
            if size:
                memcpy(&step_view[place], segment._steps.data() + first, size * sizeof(int64_t))
                memcpy(
                    &sample_view[place, 0],
                    segment._samples.data() + first * self.width,
                    size * self.width * sizeof(float),
                )
            place += size
        return WindowSamples(samples, steps)


@cython.no_gc
cdef class CastStream(LiveStream):
    """A casting strand and the window of its cast.

    ``changed``: its head and segments differ from the table's. ``retired``: segments that the head in the table may
    still need. ``stale``: segments that no head needs once the records taken last are acked.
    """

    def __init__(self, int partition, bytes key, CastWindow window):
        LiveStream.__init__(self, partition, key, window.width)
        self.window = window
        self.changed = False
        self.retired, self.stale = [], []


cdef class WindowTurn(Turn):
    """A turn whose samples go into the windows of their streams.

    Args:
        limits: of the usual.
        strange: takes (stream, step, sample) of what lies outside of them.
        score: called with (stream, append time, False) where a score is due.
        rest: as `Turn` has them.
    """

    def __init__(self, Limits limits, list strange, score, *rest):
        Turn.__init__(self, *rest)
        if limits.lowest.size() != <size_t>self.fields.native.width:
            raise ValueError(f"samples of {self.fields.width} numbers have no limits of {limits.lowest.size()}")
        self.limits, self.strange, self.score = limits, strange, score

    cdef int apply(self, LiveStream stream) except -1:
        cdef CastStream cast = <CastStream?>stream
        cast.changed = True
        if not self.limits.hold_values(self.sample.values.data()):
            self.strange.append((cast, cast.step, tuple(self.sample.values)))
        cast.window.open(cast.offset)
        cast.window.push(cast.step, cast.values)
        cast.window.trim_into(cast.retired)
        if cast.window.is_due():
            self.score(cast, cast.append_ms, False)
        return 0
