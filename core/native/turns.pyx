"""What happens once per sample of any task: read it, judge the plain case, move its stream on.

The plain case is a record written as most producers write it, which is the next step of a stream in memory. Every
other record goes to the engine's own `_take_one`, one by one and in its place, so the rules stand in one place only
(`core.engines.state.decide`).
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp

from core.native.fields cimport FieldList, NearMisses, Sample, fill, scan_json, scan_msgpack
from core.native.records cimport Records, Span
from core.native.streams cimport LiveStream


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    PyObject* PyDict_GetItemWithError(object mapping, object key) except? NULL


cdef extern from "media_type.hpp" namespace "caststream" nogil:
    int JSON_VALUE
    int MSGPACK_VALUE
    int OTHER_VALUE
    int media_type(const char* text, size_t size)


cdef class Turn:
    """What a chunk is taken under; a kind of task says in `apply` what becomes of a sample.

    Args:
        fields: of the task.
        listing: the commit that will write what changes now.
        idle_timeout_ms: a longer pause ends a stream's state.
        take_one: the engine's way for a record that is not plain.
        pack_early: the engine's way to save a stream's state for the commit that is being written, before it changes.

    ``processed``: plain records. ``near_misses``: by name, how many of them have it in the place of an optional field.
    ``held``: by field, how many of them lack it, so that the stream's last value was held.
    """

    def __init__(self, FieldList fields, int64_t listing, int64_t idle_timeout_ms, take_one, pack_early):
        self.fields = fields
        self.sample.prepare(fields.native)
        self.listing, self.idle_timeout_ms = listing, idle_timeout_ms
        self.take_one, self.pack_early = take_one, pack_early
        self.processed = 0
        self.near_misses, self.held = {}, {}

    def take(self, Records records, dict streams, list listed):
        """Apply records of one partition in order.

        Args:
            records: of a source topic.
            streams: of this partition, by key.
            listed: of this partition, the streams that the next commit will write.
        """
        cdef Py_ssize_t i
        for i in range(records.end - records.start):
            if not self._take_plain(records, i, streams, listed):
                self.take_one(records.record_at(i))

    cdef bint _take_plain(self, Records records, Py_ssize_t index, dict streams, list listed) except *:
        cdef Span* span = records.span(index)
        if span.key_bytes <= 0 or span.value_bytes < 0:
            return False
        cdef PyObject* found = PyDict_GetItemWithError(streams, records.key_at(index))
        if found == NULL:
            return False
        cdef LiveStream stream = <LiveStream>found
        cdef Sample* sample = &self.sample
        if span.offset <= stream.offset or stream.offset < 0 or stream.closed or stream.back_step >= 0:
            return False
        if stream.width != self.fields.native.width or _is_past(span.timestamp, stream.append_ms, self.idle_timeout_ms):
            return False
        if not _scan(records, span, self.fields, sample[0]) or sample.end:
            return False
        if (sample.step >= 0 and sample.step != stream.step + 1) or not _same_sequence(stream, sample[0]):
            return False
        self._touch(stream, listed)
        if sample.lacking or self.fields.native.overlaps:
            self._fill(stream)
        stream.step += 1
        stream.offset = span.offset
        stream.append_ms = span.timestamp
        stream.timestamp_ms = sample.timestamp_ms if sample.has_timestamp else span.timestamp
        _keep(stream, sample.values.data())
        self.apply(stream)
        self.processed += 1
        if sample.near.fields:
            self._count_near(sample.near)
        return True

    cdef int _touch(self, LiveStream stream, list listed) except -1:
        """Before a stream changes: its old state is saved for the commit that is being written, its new one listed."""
        if stream.listed != self.listing:
            if stream.listed:
                self.pack_early(stream)
        if stream.listed != self.listing:  # packing lists a stream that has more to write
            stream.listed = self.listing
            listed.append(stream)
        return 0

    cdef int _fill(self, LiveStream stream) except -1:
        """Put in what comes from the sample before: values that are held, and those that overlap."""
        cdef int number
        for number in fill(self.fields.native, stream.values, self.sample):
            name = self.fields.fields[number].name
            self.held[name] = self.held.get(name, 0) + 1
        return 0

    cdef int apply(self, LiveStream stream) except -1:
        """A stream has moved to its next sample, which stands in the turn in full precision."""
        raise NotImplementedError

    cdef int _count_near(self, NearMisses& near) except -1:
        cdef int place
        for place in range(4):
            if near.fields & (1 << place):
                name = near.names[place][: near.sizes[place]]
                self.near_misses[name] = self.near_misses.get(name, 0) + 1
        return 0


cdef inline void _keep(LiveStream stream, const double* values) noexcept:
    cdef int i
    for i in range(stream.width):
        stream.values[i] = <float>values[i]


cdef inline bint _is_past(int64_t time, int64_t before, int64_t pause) noexcept:
    """Whether more than ``pause`` lies between two times. Producers may write any: the difference may be no int64."""
    return time > before and <uint64_t>time - <uint64_t>before > <uint64_t>pause


cdef bint _scan(Records records, Span* span, FieldList fields, Sample& sample):
    cdef const char* value = records.data() + span.at + span.key_bytes
    if span.headers == 0:
        return scan_json(value, span.value_bytes, fields.native, sample)
    cdef int content = _content_type(value + span.value_bytes, span.header_bytes, span.headers)
    if content == JSON_VALUE:
        return scan_json(value, span.value_bytes, fields.native, sample)
    return content == MSGPACK_VALUE and scan_msgpack(value, span.value_bytes, fields.native, sample)


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


cdef bint _same_sequence(LiveStream stream, Sample& sample) except *:
    cdef Py_ssize_t size
    cdef const char* name = PyUnicode_AsUTF8AndSize(stream._sequence, &size)
    return size == sample.sequence_bytes and memcmp(name, sample.sequence, size) == 0
