"""Table values of states, packed: what `core.engines.state.pack_state` describes, many at a time."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

import zlib

import numpy as np

from core.native.records cimport Records
from core.native.streams cimport SignalStream, StreamState


cdef extern from "Python.h":
    int PyBUF_READ

cdef extern from "state_head.hpp" namespace "caststream" nogil:
    cdef packed struct StateHead:
        uint8_t version, flags, sequence_bytes, previous_bytes
        int64_t offset, append_ms, step, timestamp_ms
        char model[12]
    cdef packed struct StateExtension:
        int64_t gap_first, gap_end, back_step, back_ms, applied_offset
    cdef enum:
        PLAIN_STATE
        EXTENDED_STATE
        WIDE_STATE
        CLOSED_STATE
        HAS_PREVIOUS_STATE
        HAS_EXTENSION_STATE
        PLAIN_WIDTH
    float MAX_PLAIN_VALUE

PLAIN_VERSION = int(PLAIN_STATE)
EXTENDED_VERSION = int(EXTENDED_STATE)
WIDE_VERSION = int(WIDE_STATE)
cdef Py_ssize_t PLAIN_SAMPLE_BYTES = PLAIN_WIDTH * sizeof(float)


cpdef bytes pack_head(StreamState state, bytes model):
    """A state's fixed head, the last sample, an extension where it has a gap or a step back, and both sequences;
    little-endian.

    Args:
        state: one that has an offset.
        model: fingerprint of the model that made what follows the head, 12 ASCII characters.
    """
    cdef StateHead head
    cdef StateExtension more
    cdef bytes extension = b""
    cdef bytes sequence = state._sequence.encode()
    cdef bytes previous = b"" if state.previous is None else state.previous.encode()
    cdef bint is_wide = not _is_plain(state)
    if len(model) != 12:
        raise ValueError(f"a fingerprint has 12 characters, got {model!r}")
    head.version, head.offset = WIDE_STATE if is_wide else PLAIN_STATE, state.offset
    head.flags = (CLOSED_STATE if state.closed else 0) | (0 if state.previous is None else HAS_PREVIOUS_STATE)
    if state.gap_end > 0 or state.back_step >= 0:
        head.offset = state.included
        if is_wide:
            head.flags |= HAS_EXTENSION_STATE
        else:
            head.version = EXTENDED_STATE
        more.gap_first, more.gap_end = state.gap_first, state.gap_end
        more.back_step, more.back_ms, more.applied_offset = state.back_step, state.back_ms, state.offset
        extension = (<char*>&more)[:sizeof(more)]
    head.sequence_bytes, head.previous_bytes = len(sequence), len(previous)
    head.append_ms = state.append_ms
    head.step, head.timestamp_ms = state.step, state.timestamp_ms
    memcpy(head.model, PyBytes_AS_STRING(model), 12)
    sample = _wide_sample(state) if is_wide else (<char*>state.values)[:PLAIN_SAMPLE_BYTES]
    return (<char*>&head)[:sizeof(head)] + sample + extension + sequence + previous


cdef bint _is_plain(StreamState state) noexcept:
    """Whether the last sample is one that versions 1 and 2 have room for."""
    cdef int i
    for i in range(state.width):
        if not -MAX_PLAIN_VALUE <= state.values[i] <= MAX_PLAIN_VALUE:
            return False
    return state.width == PLAIN_WIDTH


cdef bytes _wide_sample(StreamState state):
    cdef uint32_t numbers = state.width
    return (<char*>&numbers)[:sizeof(numbers)] + (<char*>state.values)[: numbers * sizeof(float)]


def read_head(bytes payload):
    """What `pack_head` wrote at the beginning of a table value, unchecked but for the version.

    Returns:
        (closed, has_previous), (sequence's bytes, previous one's bytes), (offset, append time, step, event time), model,
        the sample, the extension (gap's first step, the one after its last, step and event time of a step back,
        offset of the last good record), None where there is none, and where the sequences begin. None: too short, or of
        another version.
    """
    cdef StateHead head
    cdef StateExtension more
    cdef const char* at = PyBytes_AS_STRING(payload)
    cdef Py_ssize_t left = PyBytes_GET_SIZE(payload) - sizeof(head)
    cdef uint32_t numbers = PLAIN_WIDTH
    cdef object extension = None
    cdef float value
    if left < 0:
        return None
    memcpy(&head, at, sizeof(head))
    at += sizeof(head)
    if head.version not in (PLAIN_STATE, EXTENDED_STATE, WIDE_STATE):
        return None
    if head.version == WIDE_STATE:
        if left < <Py_ssize_t>sizeof(numbers):
            return None
        memcpy(&numbers, at, sizeof(numbers))
        at, left = at + sizeof(numbers), left - <Py_ssize_t>sizeof(numbers)
    left -= <Py_ssize_t>numbers * <Py_ssize_t>sizeof(float)
    if left < 0:
        return None
    sample = []
    for _ in range(numbers):
        memcpy(&value, at, sizeof(value))
        sample.append(value)
        at += sizeof(value)
    if head.version == EXTENDED_STATE or (head.version == WIDE_STATE and head.flags & HAS_EXTENSION_STATE):
        left -= <Py_ssize_t>sizeof(more)
        if left < 0:
            return None
        memcpy(&more, at, sizeof(more))
        extension = (more.gap_first, more.gap_end, more.back_step, more.back_ms, more.applied_offset)
    return (
        (bool(head.flags & CLOSED_STATE), bool(head.flags & HAS_PREVIOUS_STATE)),
        (head.sequence_bytes, head.previous_bytes),
        (head.offset, head.append_ms, head.step, head.timestamp_ms),
        (<char*>head.model)[:sizeof(head.model)],
        tuple(sample),
        extension,
        PyBytes_GET_SIZE(payload) - left,
    )


def peek_offset(bytes blob):
    """The offset that a stored state includes, unchecked; None if it is no state of a version that is known.

    Eviction looks at every state of a table: this is the part of the work that each of them costs.
    """
    cdef StateHead head
    cdef Py_ssize_t size = PyBytes_GET_SIZE(blob)
    if size < <Py_ssize_t>(sizeof(head) + sizeof(uint32_t)):
        return None
    memcpy(&head, PyBytes_AS_STRING(blob), sizeof(head))
    if head.version == WIDE_STATE:
        return head.offset
    is_known = head.version in (PLAIN_STATE, EXTENDED_STATE)
    return head.offset if is_known and size >= <Py_ssize_t>sizeof(head) + PLAIN_SAMPLE_BYTES else None


cdef class StatePacker:
    """States of signals for the table. The heads are as they are when added; h and c are filled in by `finish`.

    Args:
        model: fingerprint.
    """

    cdef bytes model
    cdef list entries

    def __init__(self, str model):
        self.model = model.encode("ascii")
        self.entries = []

    def __len__(self):
        return len(self.entries)

    def add(self, SignalStream stream):
        """Take a state's head now, before it changes."""
        head = pack_head(stream, self.model)
        self.entries.append((stream.partition, stream.key, stream.included, stream.row, head))

    def rows(self):
        """(n,), where the hidden states of the added streams stand."""
        return np.array([entry[3] for entry in self.entries], np.int64)

    def finish(self, const float[:, ::1] hidden, dict packed):
        """Append what was added to the `Records` of each partition, and begin again.

        Args:
            hidden: (n, 2*L*H), in the order of `rows`.
            packed: partition -> its records.
        """
        cdef Py_ssize_t i, size, body = hidden.shape[1] * sizeof(float)
        cdef char* at
        cdef char* first
        cdef uint32_t crc
        cdef Records records
        for i, (partition, key, offset, _, head) in enumerate(self.entries):
            records = packed.get(partition)
            if records is None:
                records = packed[partition] = Records(partition)
            size = len(head) + body
            at = records.put(offset, 0, len(key), size + sizeof(crc))
            memcpy(at, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            first = at = at + PyBytes_GET_SIZE(key)
            memcpy(at, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
            memcpy(at + PyBytes_GET_SIZE(head), &hidden[i, 0], body)
            crc = zlib.crc32(PyMemoryView_FromMemory(first, size, PyBUF_READ))
            memcpy(first + size, &crc, sizeof(crc))
        self.entries = []
