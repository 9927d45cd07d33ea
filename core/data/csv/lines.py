"""Bytes that arrive in pieces -> lines.

Lines end with LF, CRLF or CR: the first line end decides. Where it has an LF, a CR inside a line is content of that
line, so that a stray CR costs one line and numbers agree with those of an editor. UTF-16 with a byte order mark becomes
UTF-8.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

# A longer line is no sample: it is refused without being kept.
MAX_LINE_BYTES = 1 << 20

_LINE_END = re.compile(rb"\r*\n|\r+(?=[^\r\n])")
# A byte order mark and a character below U+0100, with which every header begins.
_UTF_16 = re.compile(rb"\xff\xfe[^\0]\0|\xfe\xff\0[^\0]", re.DOTALL)


class LineSplitter:
    """Cuts what arrives, in pieces of any length, into lines without their ends. One that is too long comes as None."""

    def __init__(self) -> None:
        self._utf_8 = _ToUtf8()
        self._rest = b""
        self._skipping = False
        self._ends_with_cr: bool | None = None  # not known before the first line end
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The lines that ``chunk`` completes."""
        return self._complete(self._utf_8.feed(chunk))

    def _complete(self, data: bytes) -> Iterator[bytes | None]:
        searched = len(self._rest.rstrip(b"\r"))  # without a line end: else a long first line is read again and again
        data = self._rest + data
        if self._ends_with_cr is None and (end := _LINE_END.search(data, searched)):
            self._ends_with_cr = not end[0].endswith(b"\n")
        lines, self._rest = self._cut(data)
        for line in lines:
            yield None if self._skipping or len(line) > MAX_LINE_BYTES else line
            self._skipping = False
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._skipping = b"", True

    def end(self) -> Iterator[bytes | None]:
        """The last line, where it has no line end."""
        yield from self._complete(self._utf_8.end())
        self._rest = self._rest.rstrip(b"\r")
        if self._rest or self._skipping:
            yield None if self._skipping else self._rest

    def _cut(self, data: bytes) -> tuple[list[bytes], bytes]:
        if self._ends_with_cr is None or not data:
            return [], data
        if not self._ends_with_cr:
            *lines, rest = data.split(b"\n")
            return [line.rstrip(b"\r") for line in lines], rest
        if self._after_cr and data.startswith(b"\n"):  # of a CRLF that was cut in two
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        return lines, b"" if data.endswith((b"\r", b"\n")) else lines.pop() if lines else b""


class _ToUtf8:
    """Turns UTF-16 with a byte order mark into UTF-8; other bytes pass as they are."""

    def __init__(self) -> None:
        self._begin: bytes | None = b""  # the first bytes, while they may be a byte order mark
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, chunk: bytes) -> bytes:
        if self._begin is not None:
            chunk, self._begin = self._begin + chunk, None
            if len(chunk) < 4 and any(mark.startswith(chunk[:2]) for mark in (b"\xff\xfe", b"\xfe\xff")):
                self._begin = chunk
                return b""
            if _UTF_16.match(chunk):
                # A half of a pair passes, and is no UTF-8 afterwards: it costs its line.
                self._decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        return chunk if self._decoder is None else self._decoder.decode(chunk).encode("utf-8", "surrogatepass")

    def end(self) -> bytes:
        """Give the rest of the input: half a character of UTF-16 becomes a byte that is no text."""
        if self._begin:
            begin, self._begin = self._begin, None
            return begin
        return b"\xff" if self._decoder is not None and self._decoder.getstate()[0] else b""
