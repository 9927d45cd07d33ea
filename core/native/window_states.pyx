"""Table values of windows, packed: a head for each stream, and a segment for each run of samples."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

import zlib

from core.native.records cimport Records
from core.native.states cimport pack_head
from core.native.windows cimport CastStream, CastWindow, Segment


cdef extern from "window_body.hpp" namespace "caststream" nogil:
    cdef packed struct SegmentStart:
        uint8_t version
        uint8_t unused[3]
        uint32_t samples
    cdef packed struct WindowBody:
        int64_t count
        uint32_t segments
    cdef enum:
        SEGMENT_VERSION


cpdef bytes segment_payload(Segment segment):
    """Version and number of samples, steps int64, samples float32; little-endian, without the checksum."""
    cdef SegmentStart start
    cdef size_t steps = segment._steps.size() * sizeof(int64_t), samples = segment._samples.size() * sizeof(float)
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, sizeof(start) + steps + samples)
    cdef char* at = PyBytes_AS_STRING(payload)
    start.version, start.samples = SEGMENT_VERSION, segment._steps.size()
    start.unused[0] = start.unused[1] = start.unused[2] = 0
    memcpy(at, &start, sizeof(start))
    memcpy(at + sizeof(start), segment._steps.data(), steps)
    memcpy(at + sizeof(start) + steps, segment._samples.data(), samples)
    return payload


cpdef bytes window_body(CastWindow window):
    """The part of a head about its window: the count of samples, and the numbers of the segments that it needs."""
    cdef WindowBody body
    cdef Segment segment
    body.count, body.segments = window.count, len(window.segments)
    packed = (<char*>&body)[:sizeof(body)]
    for segment in window.segments:
        packed += (<char*>&segment.number)[:sizeof(int64_t)]
    return packed


cdef bytes _seal(bytes payload):
    cdef uint32_t crc = zlib.crc32(payload)
    return payload + (<char*>&crc)[:sizeof(crc)]


cdef class WindowPacker:
    """States of casts for the table: what changed of a stream, in the order in which it has to be written.

    Args:
        model: fingerprint.
        head_key, segment_key: where a stream's head and its segments stand in the table.
    """

    cdef bytes model
    cdef object head_key, segment_key

    def __init__(self, str model, head_key, segment_key):
        self.model = model.encode("ascii")
        self.head_key, self.segment_key = head_key, segment_key

    def pack(self, CastStream stream, Records packed):
        """Append the table records of a stream, as it stands now. They go to the broker together or not at all."""
        entries = []
        if stream.stale:
            needed = set(stream.window.numbers())
            entries = [(self.segment_key(stream.key, number), None) for number in sorted(set(stream.stale) - needed)]
            stream.stale = []
        if stream.changed:
            self._changed(stream, entries)
        cdef Py_ssize_t left = len(entries)
        for key, value in entries:
            left -= 1
            packed.append(key, value, stream.included, 0, left > 0)

    def _changed(self, CastStream stream, list entries):
        cdef Segment segment
        stream.changed = False
        for segment in stream.window.segments:
            if segment.changed:
                entries.append((self.segment_key(stream.key, segment.number), _seal(segment_payload(segment))))
                segment.changed = False
        entries.append((self.head_key(stream.key), _seal(pack_head(stream, self.model) + window_body(stream.window))))
        stream.stale, stream.retired = stream.retired, []
