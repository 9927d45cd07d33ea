"""Changelog records, read many at a time: of each key the one to keep."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.string cimport memcmp

from core.native.records cimport Records, Span
from core.native.varint cimport read_varint

cdef enum:
    NOT_OURS = -1

cdef const char* NAME = b"source-offset"
cdef Py_ssize_t NAME_BYTES = 13


def keep_winners(Records records, dict rows, set overtaken):
    """Take changelog records into account, in changelog order.

    Args:
        records: with their headers.
        rows: key -> (value, source offset) of the record to keep: the highest source offset, of equal ones the later.
            A value of None is a tombstone.
        overtaken: the keys after whose record to keep an older one stands.

    Returns:
        The changelog offset of the first record without a source offset, where it stops; None if there is none.
    """
    cdef Py_ssize_t i
    cdef Span* span
    cdef int64_t source_offset
    for i in range(len(records)):
        span = records.span(i)
        source_offset = source_offset_of(records, span)
        if source_offset == NOT_OURS or span.key_bytes < 0:
            return span.offset
        key = records.key_at(i)
        best = rows.get(key)
        if best is not None and source_offset < <int64_t>best[1]:
            overtaken.add(key)
            continue
        value = None
        if span.value_bytes >= 0:
            value = PyBytes_FromStringAndSize(records.data() + span.at + span.key_bytes, span.value_bytes)
        rows[key] = (value, source_offset)
        if overtaken:
            overtaken.discard(key)
    return None


cdef int64_t source_offset_of(Records records, Span* span) noexcept:
    """The header ``source-offset``, a decimal number; `NOT_OURS` where it is missing or no number."""
    cdef const char* at = records.data() + span.at + max(span.key_bytes, 0) + max(span.value_bytes, 0)
    cdef const char* end = at + span.header_bytes
    cdef int64_t name_bytes, value_bytes
    cdef const char* name
    cdef int header
    for header in range(span.headers):
        name_bytes = length(&at, end)
        if name_bytes < 0 or name_bytes > end - at:
            return NOT_OURS
        name = at
        at += name_bytes
        value_bytes = length(&at, end)
        if value_bytes > end - at:
            return NOT_OURS
        if name_bytes == NAME_BYTES and memcmp(name, NAME, NAME_BYTES) == 0:
            return decimal(at, value_bytes)
        at += max(value_bytes, 0)
    return NOT_OURS


cdef int64_t length(const char** at, const char* end) noexcept:
    """A length; -1 for null and for what cannot be read."""
    cdef int64_t number
    return number if read_varint(at, end, &number) else -1


cdef int64_t decimal(const char* digits, int64_t count) noexcept:
    cdef int64_t number = 0, i
    if count < 1 or count > 18:
        return NOT_OURS
    for i in range(count):
        if digits[i] < 48 or digits[i] > 57:
            return NOT_OURS
        number = 10 * number + (digits[i] - 48)
    return number
