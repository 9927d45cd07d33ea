"""Kafka's record batches, format 2, as they stand on the wire: read from fetches, written for produce requests.

aiokafka reads and writes them record by record, with an object for each; here a record costs a copy of its bytes. The
format: https://kafka.apache.org/documentation/#recordbatch
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aiokafka.errors import CorruptRecordException

from core.native.records import raw_headers
from stream_app.native.checksum import crc32c

from core.native.records cimport Records, Span
from core.native.varint cimport put_varint, read_varint


cdef extern from "byte_order.hpp" namespace "caststream" nogil:
    T load[T](const char* at)
    void store[T](char* at, T number)


# Places in a batch's header, and its size.
cdef enum:
    LENGTH_AT = 8
    MAGIC_AT = 16
    CRC_AT = 17
    ATTRIBUTES_AT = 21
    LAST_OFFSET_DELTA_AT = 23
    FIRST_TIMESTAMP_AT = 27
    MAX_TIMESTAMP_AT = 35
    PRODUCER_ID_AT = 43
    PRODUCER_EPOCH_AT = 51
    BASE_SEQUENCE_AT = 53
    RECORD_COUNT_AT = 57
    HEADER_BYTES = 61

    LENGTH_OVERHEAD = 12  # what the length does not count: base offset and the length itself

cdef enum:
    CODEC_MASK = 0x07
    APPEND_TIME = 0x08
    TRANSACTIONAL = 0x10
    CONTROL = 0x20

cdef enum:
    MAX_RECORD_OVERHEAD = 32  # lengths, attributes and deltas of a record


cdef struct Cursor:
    const char* at
    const char* end
    bint failed


cdef inline int64_t next_number(Cursor* cursor) noexcept nogil:
    cdef int64_t number = 0
    if not read_varint(&cursor.at, cursor.end, &number):
        cursor.failed = True
    return number


cdef inline const char* skip(Cursor* cursor, int64_t size) noexcept nogil:
    """The bytes at the cursor, which goes behind them; a size of -1 is null and takes none."""
    cdef const char* at = cursor.at
    if size > cursor.end - cursor.at or size < -1:
        cursor.failed = True
        return at
    if size > 0:
        cursor.at += size
    return at


cdef class BatchHeader:
    """The header of a batch."""

    cdef readonly int64_t base_offset, first_timestamp, max_timestamp, producer_id
    cdef readonly int magic, attributes, records
    cdef readonly int32_t last_offset_delta
    cdef readonly uint32_t crc
    cdef readonly Py_ssize_t start, end  # in what was fetched

    @property
    def next_offset(self):
        """After the batch, also where compaction has taken its last records."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self):
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & CODEC_MASK

    @property
    def timestamp_type(self):
        """0 the producer's, 1 the append time."""
        return 1 if self.attributes & APPEND_TIME else 0

    @property
    def is_transactional(self):
        """Whether it belongs to a transaction, which may have been aborted."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self):
        """Whether it holds markers instead of records."""
        return bool(self.attributes & CONTROL)


def next_header(const unsigned char[::1] fetched, Py_ssize_t start):
    """The header of the batch at ``start``; None where no whole batch stands.

    An old format has only its magic. A batch that is shorter than its header has -1 records: `check_crc` and
    `read_records` refuse it.
    """
    cdef const char* at = <const char*>&fetched[0] + start
    cdef Py_ssize_t left = len(fetched) - start, size
    if left < MAGIC_AT + 1:
        return None
    size = <Py_ssize_t>LENGTH_OVERHEAD + load[int32_t](at + LENGTH_AT)
    if size > left or size < MAGIC_AT + 1:
        return None
    cdef BatchHeader header = BatchHeader()
    header.start, header.end = start, start + size
    header.magic = at[MAGIC_AT]
    header.records = -1
    if header.magic != 2 or size < HEADER_BYTES:
        return header
    header.base_offset = load[int64_t](at)
    header.crc = load[uint32_t](at + CRC_AT)
    header.attributes = load[int16_t](at + ATTRIBUTES_AT)
    header.last_offset_delta = load[int32_t](at + LAST_OFFSET_DELTA_AT)
    header.first_timestamp = load[int64_t](at + FIRST_TIMESTAMP_AT)
    header.max_timestamp = load[int64_t](at + MAX_TIMESTAMP_AT)
    header.producer_id = load[int64_t](at + PRODUCER_ID_AT)
    header.records = load[int32_t](at + RECORD_COUNT_AT)
    return header


def check_crc(bytes fetched, BatchHeader header):
    """Raises CorruptRecordException when the batch is not what its producer wrote."""
    if header.end - header.start < HEADER_BYTES:
        raise CorruptRecordException(f"a batch of {header.end - header.start} bytes is shorter than its header")
    if crc32c(memoryview(fetched)[header.start + ATTRIBUTES_AT : header.end]) != header.crc:
        raise CorruptRecordException(f"the checksum of the batch at offset {header.base_offset} does not fit")


def payload(bytes fetched, BatchHeader header):
    """The batch's records as they stand there, compressed where its codec says so."""
    return memoryview(fetched)[header.start + HEADER_BYTES : header.end]


def read_records(const unsigned char[::1] body, BatchHeader header, Records into, int64_t from_offset):
    """Append a batch's records to ``into``, those before ``from_offset`` left out.

    Args:
        body: uncompressed.

    Raises:
        CorruptRecordException: it does not hold what its header says.
    """
    cdef Cursor cursor
    cdef int i = 0
    cdef bint append_time = header.attributes & APPEND_TIME
    if header.records < 0 or bool(header.records) != bool(len(body)):
        raise CorruptRecordException(
            f"the batch at offset {header.base_offset} has {header.records} records in {len(body)} bytes"
        )
    if not header.records:
        return
    cursor.at = <const char*>&body[0]
    cursor.end, cursor.failed = cursor.at + len(body), False
    with nogil:
        for i in range(header.records):
            read_record(&cursor, header, into, from_offset, append_time)
            if cursor.failed:
                break
    if cursor.failed:
        raise CorruptRecordException(f"the batch at offset {header.base_offset}: record {i} cannot be read")
    if cursor.at != cursor.end:
        raise CorruptRecordException(f"the batch at offset {header.base_offset} goes on after its last record")


cdef int read_record(
    Cursor* cursor, BatchHeader header, Records into, int64_t from_offset, bint append_time
) except -1 nogil:
    cdef int64_t size = next_number(cursor)
    if cursor.failed or size < 0 or size > cursor.end - cursor.at:
        cursor.failed = True
        return 0
    cdef Cursor record
    record.at, record.end, record.failed = cursor.at, cursor.at + size, False
    cursor.at += size
    skip(&record, 1)  # attributes: none are defined
    cdef int64_t timestamp = header.first_timestamp + next_number(&record)
    cdef int64_t offset = header.base_offset + next_number(&record)
    cdef int64_t key_bytes = next_number(&record)
    cdef const char* key = skip(&record, key_bytes)
    cdef int64_t value_bytes = next_number(&record)
    cdef const char* value = skip(&record, value_bytes)
    cdef int64_t headers = next_number(&record)
    cdef const char* first_header = record.at
    cdef int64_t header_bytes = record.end - record.at
    skip_headers(&record, headers)
    if record.failed or record.at != record.end:
        cursor.failed = True
        return 0
    if offset < from_offset:
        return 0
    if append_time:
        timestamp = header.max_timestamp
    cdef char* at = into.put(offset, timestamp, key_bytes, value_bytes, header_bytes, <int>headers, False)
    if key_bytes > 0:
        memcpy(at, key, key_bytes)
        at += key_bytes
    if value_bytes > 0:
        memcpy(at, value, value_bytes)
        at += value_bytes
    if header_bytes > 0:
        memcpy(at, first_header, header_bytes)
    return 0


cdef inline void skip_headers(Cursor* cursor, int64_t count) noexcept nogil:
    """They are kept as they stand, and read without a second look."""
    cdef int64_t size
    if count < 0:
        cursor.failed = True
    while count > 0 and not cursor.failed:
        size = next_number(cursor)
        if size < 0:  # a name is never null
            cursor.failed = True
        skip(cursor, size)
        skip(cursor, next_number(cursor))
        count -= 1


cdef inline int varint_bytes(int64_t number) noexcept nogil:
    cdef uint64_t zigzag = (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)
    cdef int size = 1
    while zigzag > 0x7F:
        zigzag >>= 7
        size += 1
    return size


cdef inline char* put_bytes(char* at, const char* source, int64_t size) noexcept nogil:
    """A length and the bytes; -1 is null."""
    at = put_varint(at, size)
    if size > 0:
        memcpy(at, source, size)
        at += size
    return at


cdef class BatchBuilder:
    """A batch under construction; aiokafka's producer takes it in place of its own `BatchBuilder`.

    Args:
        max_bytes: a record that would make it longer is not taken, except the first.
        transactional: part of the producer's transaction.
    """

    cdef bytearray _buffer
    cdef Py_ssize_t _size, _max_bytes
    cdef int _records
    cdef int64_t _first_timestamp, _max_timestamp
    cdef bint _closed, _built, _transactional
    cdef int64_t _producer_id
    cdef int _producer_epoch, _base_sequence

    def __init__(self, Py_ssize_t max_bytes, bint transactional=False):
        self._buffer = bytearray(4096)
        self._size = HEADER_BYTES
        self._max_bytes = max_bytes
        self._transactional = transactional
        self._producer_id, self._producer_epoch, self._base_sequence = -1, -1, 0

    cdef char* _room(self, Py_ssize_t size) except NULL:
        """A place for ``size`` more bytes at the end."""
        cdef Py_ssize_t needed = self._size + size
        if needed > len(self._buffer):
            self._buffer.extend(bytes(max(needed - len(self._buffer), len(self._buffer))))
        return <char*>self._buffer + self._size

    cdef bint _fits(self, Py_ssize_t size):
        return not self._closed and (self._records == 0 or self._size + size <= self._max_bytes)

    cdef _put(
        self, int64_t timestamp, const char* key, int64_t key_bytes, const char* value, int64_t value_bytes,
        const char* headers, Py_ssize_t header_bytes, int header_count, int64_t source_offset,
    ):
        """Write one record. A ``source_offset`` of 0 or more becomes its first header."""
        cdef char digits[24]
        cdef int digit_count = 0
        cdef Py_ssize_t own_bytes = 0
        if source_offset >= 0:
            digit_count = decimal(digits, source_offset)
            own_bytes = 1 + 13 + 1 + digit_count
            header_count += 1
        if self._records == 0:
            self._first_timestamp = self._max_timestamp = timestamp
        self._max_timestamp = max(self._max_timestamp, timestamp)
        cdef int64_t delta = timestamp - self._first_timestamp
        cdef Py_ssize_t size = (
            1 + varint_bytes(delta) + varint_bytes(self._records)
            + varint_bytes(key_bytes) + max(key_bytes, 0) + varint_bytes(value_bytes) + max(value_bytes, 0)
            + varint_bytes(header_count) + own_bytes + header_bytes
        )
        cdef char* first = self._room(size + 10)
        cdef char* at = put_varint(first, size)
        at[0] = 0
        at = put_varint(at + 1, delta)
        at = put_varint(at, self._records)
        at = put_bytes(at, key, key_bytes)
        at = put_bytes(at, value, value_bytes)
        at = put_varint(at, header_count)
        if source_offset >= 0:
            at = put_bytes(at, b"source-offset", 13)
            at = put_bytes(at, digits, digit_count)
        if header_bytes:
            memcpy(at, headers, header_bytes)
            at += header_bytes
        self._size += at - first
        self._records += 1

    def append(self, int64_t timestamp, bytes key, bytes value, headers):
        """Add one record with its headers; False when it has no room."""
        raw = raw_headers(headers)
        cdef int64_t key_bytes = -1 if key is None else len(key)
        cdef int64_t value_bytes = -1 if value is None else len(value)
        if not self._fits(max(key_bytes, 0) + max(value_bytes, 0) + len(raw) + MAX_RECORD_OVERHEAD):
            self._closed = True
            return False
        self._put(
            timestamp, PyBytes_AS_STRING(key or b""), key_bytes, PyBytes_AS_STRING(value or b""), value_bytes,
            PyBytes_AS_STRING(raw), len(raw), len(headers), -1,
        )
        return True

    def extend(self, Records records, Py_ssize_t start, int64_t timestamp, bytes headers, int header_count):
        """Add records, each with its source offset as header and others that all share; as many as have room.

        Tied records are added together or not at all.

        Args:
            records: what to take them from, beginning at ``start``.
            timestamp: of all of them.
            headers: as `raw_headers` gives them.

        Returns:
            The index after the last that was added.
        """
        cdef Py_ssize_t i = start, last, count = len(records)
        cdef Py_ssize_t fixed = len(headers) + MAX_RECORD_OVERHEAD + 36, size
        cdef Span* span
        cdef const char* at
        while i < count:
            last, size = i, 0
            while True:
                span = records.span(last)
                size += max(span.key_bytes, 0) + max(span.value_bytes, 0) + fixed
                if not span.tied or last + 1 == count:
                    break
                last += 1
            if not self._fits(size):
                self._closed = True
                break
            while i <= last:
                span = records.span(i)
                at = records.data() + span.at
                self._put(
                    timestamp, at, span.key_bytes, at + max(span.key_bytes, 0), span.value_bytes,
                    PyBytes_AS_STRING(headers), len(headers), header_count, span.offset,
                )
                i += 1
        return i

    def size(self):
        """Bytes so far."""
        return self._size

    def record_count(self):
        """Records so far."""
        return self._records

    def closed(self):
        """Whether it takes no more."""
        return self._closed

    def close(self):
        """Take no more."""
        self._closed = True

    # What aiokafka's sender asks for.

    def _set_producer_state(self, producer_id, producer_epoch, base_sequence):
        self._producer_id, self._producer_epoch, self._base_sequence = producer_id, producer_epoch, base_sequence

    def _build(self):
        if self._built:  # sent again after a failure
            return self._buffer
        self._closed = self._built = True
        del self._buffer[self._size:]
        cdef char* at = <char*>self._buffer
        store[int64_t](at, 0)
        store[int32_t](at + LENGTH_AT, <int32_t>(self._size - LENGTH_OVERHEAD))
        store[int32_t](at + LENGTH_AT + 4, -1)  # the leader's epoch is the broker's to fill in
        at[MAGIC_AT] = 2
        store[int16_t](at + ATTRIBUTES_AT, TRANSACTIONAL if self._transactional else 0)
        store[int32_t](at + LAST_OFFSET_DELTA_AT, self._records - 1)
        store[int64_t](at + FIRST_TIMESTAMP_AT, self._first_timestamp)
        store[int64_t](at + MAX_TIMESTAMP_AT, self._max_timestamp)
        store[int64_t](at + PRODUCER_ID_AT, self._producer_id)
        store[int16_t](at + PRODUCER_EPOCH_AT, <int16_t>self._producer_epoch)
        store[int32_t](at + BASE_SEQUENCE_AT, self._base_sequence)
        store[int32_t](at + RECORD_COUNT_AT, self._records)
        store[uint32_t](at + CRC_AT, crc32c(memoryview(self._buffer)[ATTRIBUTES_AT:]))
        return self._buffer


cdef int decimal(char* out, int64_t number) noexcept nogil:
    cdef char reversed_digits[24]
    cdef int count = 0, i
    while True:
        reversed_digits[count] = <char>(48 + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    for i in range(count):
        out[i] = reversed_digits[count - 1 - i]
    return count
