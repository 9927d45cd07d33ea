"""Many records of one partition in one piece of memory, so that inner loops meet no Python object per record.

Sources come in and outputs and states go out in this form. One by one they are `Record` objects: the rare cases, the
casts, and tests.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

import numpy as np

from core.native.varint cimport put_varint, read_varint


cdef class Store:
    """The memory behind `Records` and all slices of it."""


cdef class Record:
    """One record, taken out."""

    def __init__(self, int partition, int64_t offset, int64_t timestamp, key, value, headers=()):
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = tuple(headers)

    def __repr__(self):
        return (
            f"Record(partition={self.partition}, offset={self.offset}, timestamp={self.timestamp}, "
            f"key={self.key!r}, value={self.value!r}, headers={self.headers!r})"
        )


cdef class Records:
    """A sequence of records, in offset order where they come from a source. Slices share its memory.

    Args:
        partition: of all of them.
        timestamp_type: Kafka's: 0 for the producer's time, 1 for the append time; -1 where it is not known.
    """

    def __cinit__(self, int partition=0, int timestamp_type=-1):
        self.partition = partition
        self.timestamp_type = timestamp_type
        self.store = Store()
        self.start = 0
        self.end = 0

    def __len__(self):
        return self.end - self.start

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("records are sliced without steps")
            return self._view(self.start + start, self.start + max(start, stop))
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._item(index % len(self))

    def __iter__(self):
        return (self._item(index) for index in range(len(self)))

    def _item(self, Py_ssize_t index):
        return self.record_at(index)

    def _view(self, Py_ssize_t start, Py_ssize_t end):
        cdef Records part = type(self)(self.partition, self.timestamp_type)
        part.store, part.start, part.end = self.store, start, end
        return part

    @property
    def first_offset(self):
        """Of the first record; IndexError where there is none."""
        return self._offset_at(0)

    @property
    def last_offset(self):
        """Of the last record; IndexError where there is none."""
        return self._offset_at(len(self) - 1)

    def _offset_at(self, Py_ssize_t index):
        if len(self) == 0:
            raise IndexError("there are no records")
        return self.span(index).offset

    def since(self, int64_t offset):
        """The records at ``offset`` and later, of records in offset order."""
        cdef Py_ssize_t low = 0, high = len(self), middle
        while low < high:
            middle = (low + high) // 2
            if self.span(middle).offset < offset:
                low = middle + 1
            else:
                high = middle
        return self._view(self.start + low, self.end)

    def groups(self):
        """The records that must not be parted, as lists; most stand alone."""
        cdef Py_ssize_t i
        group = []
        for i in range(len(self)):
            group.append(self._item(i))
            if not self.span(i).tied:
                yield group
                group = []

    def timestamps(self):
        """Of all records: int64 (n,), a copy."""
        cdef Py_ssize_t i, count = len(self)
        found = np.empty(count, np.int64)
        cdef int64_t[::1] times = found
        for i in range(count):
            times[i] = self.span(i).timestamp
        return found

    cpdef append(self, key, value, int64_t offset, int64_t timestamp, bint tied=False):
        """Add a record at the end. ``tied``: the next one must go in the same batch."""
        cdef bytes key_text = key, value_text = value  # TypeError for anything else: its memory is copied
        cdef Py_ssize_t key_bytes = -1 if key is None else len(key_text)
        cdef Py_ssize_t value_bytes = -1 if value is None else len(value_text)
        cdef char* at = self.put(offset, timestamp, key_bytes, value_bytes, 0, 0, tied)
        if key_bytes > 0:
            memcpy(at, PyBytes_AS_STRING(key_text), key_bytes)
            at += key_bytes
        if value_bytes > 0:
            memcpy(at, PyBytes_AS_STRING(value_text), value_bytes)

    def add(self, record):
        """Add a `Record`, or anything with its fields. A timestamp of None is -1."""
        headers = tuple(record.headers or ())
        raw = raw_headers(headers)
        timestamp = -1 if record.timestamp is None else record.timestamp
        cdef bytes key = record.key, value = record.value, part
        cdef Py_ssize_t key_bytes = -1 if key is None else len(key)
        cdef Py_ssize_t value_bytes = -1 if value is None else len(value)
        cdef char* at = self.put(record.offset, timestamp, key_bytes, value_bytes, len(raw), len(headers))
        for part in (key or b"", value or b"", raw):
            memcpy(at, PyBytes_AS_STRING(part), len(part))
            at += len(part)

    def extend(self, Records other):
        """Add all records of another one, headers left out."""
        cdef Py_ssize_t i, size
        cdef Span span
        cdef char* at
        for i in range(len(other)):
            span = other.span(i)[0]
            size = max(span.key_bytes, 0) + max(span.value_bytes, 0)
            at = self.put(span.offset, span.timestamp, span.key_bytes, span.value_bytes, 0, 0, span.tied)
            memcpy(at, other.data() + span.at, size)

    # For compiled callers.

    cdef char* data(self) noexcept nogil:
        return self.store.data.data()

    cdef Span* span(self, Py_ssize_t index) noexcept nogil:
        return &self.store.spans[self.start + index]

    cdef char* put(
        self,
        int64_t offset,
        int64_t timestamp,
        Py_ssize_t key_bytes,
        Py_ssize_t value_bytes,
        Py_ssize_t header_bytes=0,
        int headers=0,
        bint tied=False,
    ) except? NULL nogil:
        """Add a record and give the place for its key, value and headers, to be filled by the caller at once.

        The place moves with the next call. Only at the end of the whole: not on a slice.
        """
        cdef Span span
        span.offset = offset
        span.timestamp = timestamp
        span.at = self.store.data.size()
        span.key_bytes = <int32_t>key_bytes
        span.value_bytes = <int32_t>value_bytes
        span.header_bytes = <int32_t>header_bytes
        span.headers = headers
        span.tied = tied
        self.store.data.resize(span.at + max(key_bytes, 0) + max(value_bytes, 0) + header_bytes + 1)
        self.store.spans.push_back(span)
        self.end += 1
        return self.store.data.data() + span.at

    cdef void shorten(self, Py_ssize_t value_bytes) noexcept nogil:
        """The value of the record put last turned out shorter than the room asked for; it has no headers."""
        cdef Span* span = &self.store.spans.back()
        span.value_bytes = <int32_t>value_bytes
        self.store.data.resize(span.at + max(span.key_bytes, 0) + value_bytes)

    cdef bytes key_at(self, Py_ssize_t index):
        cdef Span* span = self.span(index)
        if span.key_bytes < 0:
            return None
        return PyBytes_FromStringAndSize(self.data() + span.at, span.key_bytes)

    cdef Record record_at(self, Py_ssize_t index):
        cdef Span* span = self.span(index)
        cdef Record record = Record.__new__(Record)
        cdef char* at = self.data() + span.at
        record.partition = self.partition
        record.offset = span.offset
        record.timestamp = span.timestamp
        record.key = self.key_at(index)
        at += max(span.key_bytes, 0)
        record.value = None if span.value_bytes < 0 else PyBytes_FromStringAndSize(at, span.value_bytes)
        at += max(span.value_bytes, 0)
        record.headers = _headers(at, at + span.header_bytes, span.headers)
        return record


cdef class Outputs(Records):
    """What was published or is to be: (key, value, source offset, append time in ms), one by one a tuple of these."""

    def _item(self, Py_ssize_t index):
        record = self.record_at(index)
        return record.key, record.value, record.offset, record.timestamp

    def __repr__(self):
        return repr(list(self))


def parts_of(records):
    """Records of any partitions as `Records`, one for each run of the same partition. `Records` are passed on."""
    cdef Records part = None
    parts = []
    for record in records:
        if isinstance(record, Records):
            parts.append(record)
            part = None
            continue
        if part is None or part.partition != record.partition:
            part = Records(record.partition)
            parts.append(part)
        part.add(record)
    return parts


# Headers as they stand in Kafka's record format 2: for each the length of its name and of its value as zigzag varints.


def raw_headers(headers):
    """Record headers as they stand in a record, without their number."""
    cdef char number[10]
    cdef bytes part  # nothing else is taken: a TypeError says so
    raw = bytearray()
    for text, value in headers:
        for part in (text.encode(), value):
            raw += number[: put_varint(number, -1 if part is None else len(part)) - number]
            raw += part or b""
    return bytes(raw)


cdef object _next_part(const char** at, const char* end):
    """A length and so many bytes; None for null, and where there is no more."""
    cdef int64_t size
    if not read_varint(at, end, &size) or size < 0 or size > end - at[0]:
        return None
    part = at[0][:size]
    at[0] += size
    return part


cdef tuple _headers(const char* at, const char* end, int count):
    found = []
    for _ in range(count):
        name = _next_part(&at, end) or b""
        found.append((name.decode("utf-8", "replace"), _next_part(&at, end)))
    return tuple(found)
