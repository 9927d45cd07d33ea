"""Zigzag varints, in which Kafka writes lengths and differences."""

from libc.stdint cimport int64_t, uint64_t


cdef inline bint read_varint(const char** at, const char* end, int64_t* number) noexcept nogil:
    """Read a number and go behind it; False where none can be read before ``end``."""
    cdef uint64_t zigzag = 0
    cdef int shift = 0
    cdef unsigned char byte
    while at[0] < end and shift < 64:
        byte = <unsigned char>at[0][0]
        at[0] += 1
        zigzag |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            number[0] = <int64_t>(zigzag >> 1) ^ -<int64_t>(zigzag & 1)
            return True
        shift += 7
    return False


cdef inline char* put_varint(char* at, int64_t number) noexcept nogil:
    """Write a number, in 10 bytes at most; the place behind it."""
    cdef uint64_t zigzag = (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)
    while zigzag > 0x7F:
        at[0] = <char>(zigzag & 0x7F | 0x80)
        at += 1
        zigzag >>= 7
    at[0] = <char>zigzag
    return at + 1
