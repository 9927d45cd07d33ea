"""The samples of a chunk for one call of a model that steps once per sample, and their outputs."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

import numpy as np

from core.native.fields cimport FieldList
from core.native.limits cimport Limits
from core.native.outputs cimport OutputRecord, NamedOutputs
from core.native.records cimport Outputs
from core.native.streams cimport LiveStream, SignalStream
from core.native.turns cimport Turn


cdef struct Pending:
    PyObject* stream  # kept alive by the batch's list of streams
    PyObject* head    # a reference of our own: the stream may begin another sequence in the same chunk
    int64_t sample    # its place in the batch
    int64_t step
    int64_t timestamp_ms
    int64_t gap
    int64_t offset
    int64_t append_ms


cdef class SignalBatch:
    """The samples of one chunk. A run is a batch row: consecutive samples of a stream, without a reset between.

    Args:
        writer: of the outputs.
        width: numbers of a sample, F.
    """

    cdef vector[float] values     # F per sample
    cdef vector[int64_t] runs     # of each sample
    cdef vector[int64_t] times    # its place in the run
    cdef vector[int64_t] lengths  # of each run
    cdef vector[int64_t] starts   # the row of hidden states with which it begins
    cdef vector[Pending] pending  # the predictions to publish
    cdef list streams             # of each run
    cdef NamedOutputs writer
    cdef int width

    def __init__(self, NamedOutputs writer, int width):
        self.writer, self.width = writer, width
        self.streams = []

    def __dealloc__(self):
        self.release()

    def __len__(self):
        return self.runs.size()

    @property
    def rows(self):
        """The number of runs."""
        return self.lengths.size()

    cpdef start(self, SignalStream stream, int64_t row):
        """Begin a run. One that begins at zeros does not wait for the stream's run before it."""
        stream.run = self.lengths.size()
        self.lengths.push_back(0)
        self.starts.push_back(row)
        self.streams.append(stream)

    cpdef add(self, SignalStream stream):
        """The stream's last sample is one more step of its run."""
        if stream.width != self.width:
            raise ValueError(f"a sample of {stream.name} has {stream.width} numbers, the batch {self.width}")
        self.runs.push_back(stream.run)
        self.times.push_back(self.lengths[stream.run])
        self.lengths[stream.run] += 1
        self.values.insert(self.values.end(), stream.values, stream.values + self.width)

    cpdef publish(self, SignalStream stream, int64_t gap):
        """The sample added last gets its prediction published, as the stream stands now."""
        cdef Pending pending
        if stream.head is None:
            stream.head = self.writer.head(stream.name, stream._sequence)
        Py_INCREF(stream.head)
        pending.stream = <PyObject*>stream
        pending.head = <PyObject*>stream.head
        pending.sample = self.runs.size() - 1
        pending.step = stream.step
        pending.timestamp_ms = stream.timestamp_ms
        pending.gap = gap
        pending.offset = stream.offset
        pending.append_ms = stream.append_ms
        self.pending.push_back(pending)

    def is_within(self, Limits limits):
        """Whether all samples lie within limits."""
        cdef vector[double] sample
        cdef size_t place
        if limits.lowest.size() != <size_t>self.width:
            raise ValueError(f"samples of {self.width} numbers have no limits of {limits.lowest.size()}")
        for place in range(self.runs.size()):
            sample.assign(self.values.begin() + place * self.width, self.values.begin() + (place + 1) * self.width)
            if not limits.hold_values(sample.data()):
                return False
        return True

    def published(self):
        """The samples whose predictions are to be published, by place in the batch: not those that a gap repeats."""
        cdef size_t i
        places = np.empty(self.pending.size(), np.int64)
        cdef int64_t[::1] view = places
        for i in range(self.pending.size()):
            view[i] = self.pending[i].sample
        return places

    def place_of(self, size_t number):
        """Stream and step of one of those predictions."""
        cdef SignalStream stream = <SignalStream>self.pending[number].stream
        return stream.name, self.pending[number].step

    def arrays(self):
        """samples (N, F), runs (N,), times (N,), lengths (B,), starts (B,), targets (B,), last (B,): copies.

        ``targets`` and ``last``: the stream of run b keeps in row targets[b] the state after run last[b]. A stream with
        several runs stands there several times, each time with its last one.
        """
        cdef Py_ssize_t i, count = len(self.streams)
        cdef SignalStream stream
        targets, last = np.empty(count, np.int64), np.empty(count, np.int64)
        cdef int64_t[::1] target_view = targets, last_view = last
        for i in range(count):
            stream = self.streams[i]
            target_view[i] = stream.row
            last_view[i] = stream.run
        samples = np.empty((self.runs.size(), self.width), np.float32)
        cdef float[:, ::1] sample_view = samples
        if self.runs.size():
            memcpy(&sample_view[0, 0], self.values.data(), self.values.size() * sizeof(float))
        arrays = [_copy(self.runs), _copy(self.times), _copy(self.lengths), _copy(self.starts)]
        return samples, *arrays, targets, last

    def encode(self, const double[:, ::1] numbers, dict outputs):
        """Write what is to be published to the `Outputs` of each partition, in the order of the samples.

        Args:
            numbers: (N, K), those of the outputs of each sample.
            outputs: partition -> its outputs.

        Returns how many records have a number that is not finite, and so is null, and which is the first, or -1.
        """
        cdef size_t i, size
        cdef char* at
        cdef Pending* pending
        cdef SignalStream stream
        cdef Outputs out = None
        cdef OutputRecord record
        cdef bytes head
        cdef Py_ssize_t missing = 0, first = -1
        if numbers.shape[0] != len(self) or numbers.shape[1] != self.writer.width:
            raise ValueError(f"{len(self)} samples have {self.writer.width} numbers each, got {numbers.shape}")
        for i in range(self.pending.size()):
            pending = &self.pending[i]
            stream = <SignalStream>pending.stream
            if out is None or out.partition != stream.partition:
                if stream.partition not in outputs:
                    outputs[stream.partition] = Outputs(stream.partition)
                out = outputs[stream.partition]
            record.step, record.timestamp_ms, record.gap = pending.step, pending.timestamp_ms, pending.gap
            record.numbers = &numbers[pending.sample, 0]
            head = <bytes>pending.head
            size = PyBytes_GET_SIZE(stream.key)
            at = out.put(
                pending.offset, pending.append_ms, size, PyBytes_GET_SIZE(head) + self.writer.native.room
            )
            memcpy(at, PyBytes_AS_STRING(stream.key), size)
            at += size
            out.shorten(self.writer.write(at, head, record) - at)
            if not _all_finite(record.numbers, numbers.shape[1]):
                missing += 1
                first = <Py_ssize_t>i if first < 0 else first
        return missing, first

    cdef release(self):
        cdef size_t i
        for i in range(self.pending.size()):
            Py_DECREF(<object>self.pending[i].head)
        self.pending.clear()


cdef _copy(vector[int64_t]& numbers):
    copy = np.empty(numbers.size(), np.int64)
    cdef int64_t[::1] view = copy
    if numbers.size():
        memcpy(&view[0], numbers.data(), numbers.size() * sizeof(int64_t))
    return copy


cdef inline bint _all_finite(const double* numbers, Py_ssize_t count) noexcept:
    cdef Py_ssize_t i
    for i in range(count):
        if not isfinite(numbers[i]):
            return False
    return True


cdef class SignalTurn(Turn):
    """A turn whose samples go into a batch.

    Args:
        chunk: its number.
        batch: where the samples go.
        rest: as `Turn` has them.
    """

    cdef int64_t chunk
    cdef SignalBatch batch

    def __init__(self, int64_t chunk, SignalBatch batch, *rest):
        Turn.__init__(self, *rest)
        self.chunk, self.batch = chunk, batch

    cdef int apply(self, LiveStream stream) except -1:
        cdef SignalStream signal = <SignalStream>stream
        if signal.chunk != self.chunk:
            signal.chunk = self.chunk
            self.batch.start(signal, signal.row)
        self.batch.add(signal)
        self.batch.publish(signal, 0)
        return 0
