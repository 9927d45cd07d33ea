"""Samples -> records, in the order in which they are sent: the inner loop of a replay.

A record is mostly text that its sequence's records share; only the numbers are written for each.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

cdef extern from *:
    """
    #include <charconv>
    #include <cstdint>
    #include <cstring>

    constexpr int NUMBER_BYTES = 32;  // more than any number takes

    static inline char* put_integer(char* at, int64_t number) {
        return std::to_chars(at, at + NUMBER_BYTES, number).ptr;
    }

    // The fewest digits from which a reader gets the same float32, who reads a double first as JSON's readers do.
    // A float stays a float: 1.0, not 1.
    static inline char* put_float(char* at, float number) {
        char* end = std::to_chars(at, at + NUMBER_BYTES, number).ptr;
        double read = 0.0;
        std::from_chars(at, end, read);
        if (static_cast<float>(read) != number) {
            end = std::to_chars(at, at + NUMBER_BYTES, static_cast<double>(number)).ptr;
        }
        for (const char* digit = at; digit < end; ++digit) {
            if (*digit == '.' || *digit == 'e') return end;
        }
        std::memcpy(end, ".0", 2);
        return end + 2;
    }
    """
    const int NUMBER_BYTES
    char* put_integer(char* at, int64_t number)
    char* put_float(char* at, float number)


cdef inline char* put(char* at, bytes text):
    memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + PyBytes_GET_SIZE(text)


def encode_records(
    list keys,
    list names,
    const int64_t[:] lengths,
    list shared,
    const float[:, :, :] values,
    const int64_t[:] first_steps,
    const int64_t[:] skips,
    const int64_t[:, :] times_ms,
    const int64_t[:] last_steps=None,
):
    cdef Py_ssize_t rows = values.shape[0], steps = values.shape[1], columns = values.shape[2]
    cdef Py_ssize_t fields = len(names)
    cdef Py_ssize_t row, step, column, field, end, needed = 0
    cdef int64_t number
    cdef vector[char] room
    cdef char* at
    cdef list records = []
    if not (len(keys) == len(shared) == first_steps.shape[0] == skips.shape[0] == times_ms.shape[0] == rows):
        raise ValueError("not one key, shared text, first step, skip and row of times for each row")
    if last_steps is not None and last_steps.shape[0] != rows:
        raise ValueError("not one last step for each row")
    if lengths.shape[0] != fields:
        raise ValueError("not one length for each field")
    for field in range(fields):
        if lengths[field] < 0 or lengths[field] > columns:
            raise ValueError("a field is longer than a sample")
        needed += max(1, lengths[field])
    if needed != columns or times_ms.shape[1] != steps:
        raise ValueError("not one column for each number of the fields, or not one time for each step")
    room.resize(
        sum(map(len, names)) + 2 * fields + max(map(len, shared), default=0) + (columns + 2) * (NUMBER_BYTES + 1) + 64
    )
    for step in range(steps):
        for row in range(rows):
            if step < skips[row]:
                continue
            at = room.data()
            column = 0
            for field in range(fields):
                end = column + max(1, lengths[field])
                if values[row, step, column] != values[row, step, column]:
                    column = end
                    continue
                at = put(at, <bytes>names[field])
                if lengths[field]:
                    at[0] = b"["
                    at += 1
                while True:
                    at = put_float(at, values[row, step, column])
                    column += 1
                    if column == end:
                        break
                    at[0] = b","
                    at += 1
                if lengths[field]:
                    at[0] = b"]"
                    at += 1
            number = first_steps[row] + step
            at = put_integer(put(at, <bytes>shared[row]), number)
            at = put_integer(put(at, b',"timestamp_ms":'), times_ms[row, step])
            if last_steps is None:
                at = put(at, b"}")
            elif number == last_steps[row]:
                at = put(at, b',"end":true}')
            else:
                at = put(at, b',"end":false}')
            room[0] = b"{"  # every text begins with a comma, also the first
            records.append((keys[row], PyBytes_FromStringAndSize(room.data(), at - room.data())))
    return records
