"""What happens once per signal sample: read it, judge the plain case, put it into the batch; write the prediction.

The plain case is a record written as most producers write it, which is the next step of a stream in memory. Every
other record goes to the engine's own `_take_one`, one by one and in its place, so the rules stand in one place only
(`core.engines.state.decide`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

import msgspec
import numpy as np

from core.native.limits cimport Limits
from core.native.records cimport Outputs, Records, Span
from core.native.streams cimport SignalStream


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    PyObject* PyDict_GetItemWithError(object mapping, object key) except? NULL


cdef extern from "media_type.hpp" namespace "caststream" nogil:
    int JSON_VALUE
    int MSGPACK_VALUE
    int OTHER_VALUE
    int media_type(const char* text, size_t size)

cdef extern from "near_names.hpp" namespace "caststream" nogil:
    cdef cppclass NearMisses:
        unsigned fields
        const char* names[4]
        size_t sizes[4]

cdef extern from "sample_scan.hpp" namespace "caststream" nogil:
    cdef cppclass Sample:
        double values[5]
        const char* sequence
        int sequence_bytes
        int64_t step
        int64_t timestamp_ms
        cbool has_timestamp
        NearMisses near
    cbool scan_json(const char* text, size_t size, Sample& sample)
    cbool scan_msgpack(const char* data, size_t size, Sample& sample)


cdef extern from "prediction_write.hpp" namespace "caststream" nogil:
    cdef struct Prediction:
        int64_t step
        int64_t timestamp_ms
        int64_t gap
        float value
    size_t PREDICTION_ROOM
    char* write_json(char* out, const char* head, size_t size, const Prediction& prediction, const char* model, size_t)
    char* write_msgpack(
        char* out, const char* head, size_t size, const Prediction& prediction, const char* model, size_t
    )


cdef enum:
    FEATURES = 5


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
        model: fingerprint of the model.
        output_format: ``json`` or ``msgpack``.
    """

    cdef vector[float] values     # FEATURES per sample
    cdef vector[int64_t] runs     # of each sample
    cdef vector[int64_t] times    # its place in the run
    cdef vector[int64_t] lengths  # of each run
    cdef vector[int64_t] starts   # the row of hidden states with which it begins
    cdef vector[Pending] pending  # the predictions to publish
    cdef list streams             # of each run
    cdef bytes model
    cdef bint msgpack

    def __init__(self, str model, str output_format):
        self.model = model.encode()
        self.msgpack = output_format == "msgpack"
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
        cdef int i
        self.runs.push_back(stream.run)
        self.times.push_back(self.lengths[stream.run])
        self.lengths[stream.run] += 1
        for i in range(FEATURES):
            self.values.push_back(<float>stream.values[i])

    cpdef publish(self, SignalStream stream, int64_t gap):
        """The sample added last gets its prediction published, as the stream stands now."""
        cdef Pending pending
        if stream.head is None:
            stream.head = self._head(stream)
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

    cdef bytes _head(self, SignalStream stream):
        """All that stands before the step in an output of this stream and sequence."""
        names = {"stream": stream.name, "sequence": stream._sequence}
        if not self.msgpack:
            text = msgspec.json.encode(names)
            return text[: len(text) - 1] + b',"step":'
        body = b"".join(map(msgspec.msgpack.encode, ("stream", stream.name, "sequence", stream._sequence, "step")))
        return b"\x86" + body

    def is_within(self, Limits limits):
        """Whether all samples lie within limits."""
        cdef double values[FEATURES]
        cdef size_t first
        cdef int i
        for first in range(0, self.values.size(), FEATURES):
            for i in range(FEATURES):
                values[i] = self.values[first + i]
            if not limits.hold_values(values):
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
        samples = np.empty((self.runs.size(), FEATURES), np.float32)
        cdef float[:, ::1] sample_view = samples
        if self.runs.size():
            memcpy(&sample_view[0, 0], self.values.data(), self.values.size() * sizeof(float))
        arrays = [_copy(self.runs), _copy(self.times), _copy(self.lengths), _copy(self.starts)]
        return samples, *arrays, targets, last

    def encode(self, const float[::1] predictions, dict outputs):
        """Write what is to be published to the `Outputs` of each partition, in the order of the samples.

        Returns how many of them are not finite, and so have no number, and which is the first, or -1.
        """
        cdef size_t i, size
        cdef char* at
        cdef char* end
        cdef Pending* pending
        cdef SignalStream stream
        cdef Outputs out = None
        cdef Prediction prediction
        cdef const char* model = PyBytes_AS_STRING(self.model)
        cdef size_t model_bytes = PyBytes_GET_SIZE(self.model)
        cdef const char* head
        cdef size_t head_bytes
        cdef Py_ssize_t missing = 0, first = -1
        for i in range(self.pending.size()):
            pending = &self.pending[i]
            stream = <SignalStream>pending.stream
            if out is None or out.partition != stream.partition:
                if stream.partition not in outputs:
                    outputs[stream.partition] = Outputs(stream.partition)
                out = outputs[stream.partition]
            prediction.step, prediction.timestamp_ms = pending.step, pending.timestamp_ms
            prediction.gap, prediction.value = pending.gap, predictions[pending.sample]
            head, head_bytes = PyBytes_AS_STRING(<object>pending.head), PyBytes_GET_SIZE(<object>pending.head)
            size = PyBytes_GET_SIZE(stream.key)
            at = out.put(pending.offset, pending.append_ms, size, head_bytes + model_bytes + PREDICTION_ROOM)
            _copy_bytes(at, stream.key)
            at += size
            if self.msgpack:
                end = write_msgpack(at, head, head_bytes, prediction, model, model_bytes)
            else:
                end = write_json(at, head, head_bytes, prediction, model, model_bytes)
            out.shorten(end - at)
            if not isfinite(prediction.value):
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


cdef inline void _copy_bytes(char* at, bytes source):
    memcpy(at, PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source))


cdef class Turn:
    """What a chunk is taken under.

    Args:
        chunk: its number.
        listing: the commit that will write what changes now.
        idle_timeout_ms: a longer pause ends a stream's state.
        take_one: the engine's way for a record that is not plain.
        pack_early: the engine's way to save a stream's state for the commit that is being written, before it changes.
    """

    cdef int64_t chunk, listing, idle_timeout_ms
    cdef object take_one, pack_early
    cdef readonly int64_t processed
    cdef readonly dict near_misses  # by name, how many records have it in the place of an optional field

    def __init__(self, int64_t chunk, int64_t listing, int64_t idle_timeout_ms, take_one, pack_early):
        self.chunk, self.listing, self.idle_timeout_ms = chunk, listing, idle_timeout_ms
        self.take_one, self.pack_early = take_one, pack_early
        self.processed = 0
        self.near_misses = {}

    def take(self, Records records, dict streams, list listed, SignalBatch batch):
        """Take the records of one partition in.

        Args:
            records: in offset order.
            streams: of this partition, by key.
            listed: of this partition, the streams that the next commit will write.
            batch: where the samples go.
        """
        cdef Py_ssize_t i
        for i in range(records.end - records.start):
            if not self._take_plain(records, i, streams, listed, batch):
                self.take_one(records.record_at(i))

    cdef bint _take_plain(self, Records records, Py_ssize_t index, dict streams, list listed, SignalBatch batch) except *:
        cdef Span* span = records.span(index)
        if span.key_bytes <= 0 or span.value_bytes < 0:
            return False
        cdef PyObject* found = PyDict_GetItemWithError(streams, records.key_at(index))
        if found == NULL:
            return False
        cdef SignalStream stream = <SignalStream>found
        if span.offset <= stream.offset or stream.offset < 0 or stream.closed or stream.back_step >= 0:
            return False
        if _is_past(span.timestamp, stream.append_ms, self.idle_timeout_ms):
            return False
        cdef Sample sample
        if not _scan(records, span, sample):
            return False
        if (sample.step >= 0 and sample.step != stream.step + 1) or not _same_sequence(stream, sample):
            return False
        if stream.listed != self.listing:
            if stream.listed:
                self.pack_early(stream)
            stream.listed = self.listing
            listed.append(stream)
        stream.step += 1
        stream.offset = span.offset
        stream.append_ms = span.timestamp
        stream.timestamp_ms = sample.timestamp_ms if sample.has_timestamp else span.timestamp
        stream.values = sample.values
        if stream.chunk != self.chunk:
            stream.chunk = self.chunk
            batch.start(stream, stream.row)
        batch.add(stream)
        batch.publish(stream, 0)
        self.processed += 1
        if sample.near.fields:
            self._count_near(sample.near)
        return True

    cdef _count_near(self, NearMisses& near):
        cdef int place
        for place in range(4):
            if near.fields & (4 << place):
                name = near.names[place][: near.sizes[place]]
                self.near_misses[name] = self.near_misses.get(name, 0) + 1


cdef inline bint _is_past(int64_t time, int64_t before, int64_t pause) noexcept:
    """Whether more than ``pause`` lies between two times. Producers may write any: the difference may be no int64."""
    return time > before and <uint64_t>time - <uint64_t>before > <uint64_t>pause


cdef bint _scan(Records records, Span* span, Sample& sample):
    cdef const char* value = records.data() + span.at + span.key_bytes
    if span.headers == 0:
        return scan_json(value, span.value_bytes, sample)
    cdef int content = _content_type(value + span.value_bytes, span.header_bytes, span.headers)
    if content == JSON_VALUE:
        return scan_json(value, span.value_bytes, sample)
    return content == MSGPACK_VALUE and scan_msgpack(value, span.value_bytes, sample)


cdef int _content_type(const char* at, Py_ssize_t left, int headers) noexcept:
    """What a single header ``content-type`` says. Short headers only: longer ones are rare, and read elsewhere.

    Lengths are zigzag varints: below 64 they are one byte, twice the number.
    """
    cdef int name_bytes, value_bytes
    if headers != 1 or left < 2:
        return OTHER_VALUE
    name_bytes = (<unsigned char>at[0]) >> 1
    if name_bytes != 12 or left < 2 + name_bytes or memcmp(at + 1, b"content-type", 12) != 0:
        return OTHER_VALUE
    value_bytes = <unsigned char>at[1 + name_bytes]
    at += 2 + name_bytes
    left -= 2 + name_bytes
    if value_bytes & 0x81 or value_bytes >> 1 != left:  # below 0 (null), or longer than one byte can say
        return OTHER_VALUE
    return media_type(at, left)


cdef bint _same_sequence(SignalStream stream, Sample& sample) except *:
    cdef Py_ssize_t size
    cdef const char* name = PyUnicode_AsUTF8AndSize(stream._sequence, &size)
    return size == sample.sequence_bytes and memcmp(name, sample.sequence, size) == 0
