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
        float sample[5]
    cdef packed struct StateExtension:
        int64_t gap_first, gap_end, back_step, back_ms, applied_offset

cdef enum:
    PLAIN_VERSION = 1
    EXTENDED_VERSION = 2
    CLOSED = 1
    HAS_PREVIOUS = 2


cpdef bytes pack_head(StreamState state, bytes model):
    """A state's fixed head, its extension where it has a gap or a step back, and both sequences; little-endian.

    Args:
        state: one that has an offset.
        model: fingerprint of the model that made what follows the head, 12 ASCII characters.
    """
    cdef StateHead head
    cdef StateExtension more
    cdef bytes extension = b""
    cdef bytes sequence = state._sequence.encode()
    cdef bytes previous = b"" if state.previous is None else state.previous.encode()
    cdef int i
    if len(model) != 12:
        raise ValueError(f"a fingerprint has 12 characters, got {model!r}")
    head.version, head.offset = PLAIN_VERSION, state.offset
    if state.gap_end > 0 or state.back_step >= 0:
        head.version, head.offset = EXTENDED_VERSION, state.included
        more.gap_first, more.gap_end = state.gap_first, state.gap_end
        more.back_step, more.back_ms, more.applied_offset = state.back_step, state.back_ms, state.offset
        extension = (<char*>&more)[:sizeof(more)]
    head.flags = (CLOSED if state.closed else 0) | (0 if state.previous is None else HAS_PREVIOUS)
    head.sequence_bytes, head.previous_bytes = len(sequence), len(previous)
    head.append_ms = state.append_ms
    head.step, head.timestamp_ms = state.step, state.timestamp_ms
    memcpy(head.model, PyBytes_AS_STRING(model), 12)
    for i in range(5):
        head.sample[i] = <float>state.values[i]
    return (<char*>&head)[:sizeof(head)] + extension + sequence + previous


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
        """Append what was added to the `Records` of each partition, and begin anew.

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
