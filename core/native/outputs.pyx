"""Writes the outputs of a task: K named ones, of one number or several, in JSON or MessagePack."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libcpp.string cimport string

import msgspec

KINDS = {
    "float32": FLOAT32_NUMBER,
    "float64": FLOAT64_NUMBER,
    "whole": WHOLE_NUMBER,
    "text": TEXT_NUMBER,
    "distance": DISTANCE,
    "awaited": AWAITED,
}


cdef class NamedOutputs:
    """The outputs of one task in one format.

    Args:
        outputs: each has ``name``; ``names``, of its numbers, or ``length`` where they have none; ``kind``, one of
            ``float32``, ``float64``, ``whole``, ``text``, ``distance``, ``awaited``; and ``texts``: the number of a text
            is its place in them.
            A single number stands alone, several are an object by their names, else an array.
        output_format: ``json`` or ``msgpack``.
        model: its fingerprint.
    """

    def __init__(self, outputs, str output_format, str model):
        self.msgpack = output_format == "msgpack"
        self.native.model = model.encode()
        self.native.outputs = len(outputs)
        for output in outputs:
            self._add(output)
        self.native.after = self.prefix
        self.native.room += self.prefix.size() + OUTPUT_ROOM + self.native.model.size()

    @property
    def width(self):
        """Numbers of one record, K."""
        return self.native.numbers.size()

    def _add(self, output):
        self._say(b"" if self.msgpack else b",")
        self._name(output.name)
        if output.names:
            self._open(len(output.names), b"{", 0x80, 0xDE)
        elif output.length > 1:
            self._open(output.length, b"[", 0x90, 0xDC)
        for place, name in enumerate(output.names or ("",) * output.length):
            if place and not self.msgpack:
                self._say(b",")
            if output.names:
                self._name(name)
            self._number(output)
        if not self.msgpack and (output.names or output.length > 1):
            self._say(b"}" if output.names else b"]")

    def _say(self, bytes text):
        self.prefix.append(<string>text)

    def _name(self, str name):
        self._say(msgspec.msgpack.encode(name) if self.msgpack else msgspec.json.encode(name) + b":")

    def _open(self, int items, bytes bracket, int short_tag, int long_tag):
        if self.msgpack:
            bracket = bytes([short_tag | items]) if items < 16 else bytes([long_tag]) + items.to_bytes(2, "big")
        self._say(bracket)

    def _number(self, output):
        cdef OutputNumber number
        encode = msgspec.msgpack.encode if self.msgpack else msgspec.json.encode
        number.before = self.prefix
        number.kind = KINDS[output.kind]
        texts = [encode(text) for text in output.texts]
        number.texts = texts
        self.native.room += self.prefix.size() + max(NUMBER_ROOM, max(map(len, texts), default=0))
        self.native.numbers.push_back(number)
        self.prefix.clear()

    def lines(self, str stream, str sequence, int64_t first, const int64_t[::1] times, const double[:, ::1] numbers):
        """The outputs of consecutive steps in JSON, a line for each.

        Args:
            first: the first step.
            times: (n,), of the samples, in ms.
            numbers: (n, K).
        """
        cdef OutputRecord record
        cdef Py_ssize_t i
        cdef char* end
        cdef string found, room
        cdef bytes head = self.head(stream, sequence)
        if self.msgpack or numbers.shape[0] != times.shape[0] or numbers.shape[1] != self.width:
            raise ValueError(f"lines of {self.width} numbers, got {numbers.shape[0]} x {numbers.shape[1]}")
        room.resize(PyBytes_GET_SIZE(head) + self.native.room + 1)
        for i in range(numbers.shape[0]):
            record.step, record.timestamp_ms, record.gap = first + i, times[i], 0
            record.numbers = &numbers[i, 0]
            end = self.write(&room[0], head, record)
            end[0] = b"\n"
            found.append(&room[0], end + 1 - &room[0])
        return <bytes>found

    cdef bytes head(self, str stream, str sequence):
        """All that stands before the step in an output of a stream and sequence."""
        if not self.msgpack:
            text = msgspec.json.encode({"stream": stream, "sequence": sequence})
            return text[: len(text) - 1] + b',"step":'
        return b"".join(map(msgspec.msgpack.encode, ("stream", stream, "sequence", sequence, "step")))

    cdef char* write(self, char* out, bytes head, const OutputRecord& record):
        """Write one record where there is room for the head and `native.room`; its end."""
        cdef const char* text = PyBytes_AS_STRING(head)
        cdef size_t size = PyBytes_GET_SIZE(head)
        if self.msgpack:
            return write_msgpack(out, text, size, self.native, record)
        return write_json(out, text, size, self.native, record)

    def of_window(
        self,
        str stream,
        str sequence,
        int64_t step,
        int64_t start,
        int64_t length,
        int64_t timestamp_ms,
        const double[::1] numbers,
        bint is_final,
        bytes reason=b"",
    ):
        """The output of one window.

        Args:
            numbers: (K,); what is none is null. Whole ones are steps, counted from ``start``: those of a stream may lie
                beyond what a float64 counts.
            reason: why they are null, up to 31 characters; empty where they are not.
        """
        cdef OutputRecord record
        cdef WindowPart window
        cdef bytes head = self.head(stream, sequence)
        cdef bytes room = PyBytes_FromStringAndSize(NULL, len(head) + self.native.room)
        cdef char* at = PyBytes_AS_STRING(room)
        if numbers.shape[0] != self.width:
            raise ValueError(f"an output has {self.width} numbers, got {numbers.shape[0]}")
        if len(reason) > 31:
            raise ValueError(f"a reason has up to 31 characters, got {reason!r}")
        record.step, record.timestamp_ms, record.gap = step, timestamp_ms, 0
        record.numbers, record.window = &numbers[0], &window
        window.start, window.length, window.is_final = start, length, is_final
        window.reason = PyBytes_AS_STRING(reason)
        return room[: self.write(at, head, record) - at]
