"""Lines of text -> records: JSON objects, or CSV with a header, one sample on each line.

The first line that is not empty decides: it begins with ``{``, or it is the header of a CSV (comma, semicolon or tab).
Fields and columns have the names of the wire; a CSV has the condition vector as the four columns c1, c2, c3 and c4. The
field ``stream`` names the stream, which becomes the record's key. Unknown fields and columns change nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from core.errors import RecordError, StartupError
from core.records import SENSORS, decode_casting, decode_signal, stream_id
from replay.sink import Pair

CONDITION_COLUMNS = ("c1", "c2", "c3", "c4")
COLUMNS = {"signal": ("signal", *CONDITION_COLUMNS), "casting": SENSORS}
# A longer line is no sample: it is refused without being kept.
MAX_LINE_BYTES = 1 << 20

_CHECKS: dict[str, Callable[[bytes], object]] = {"signal": decode_signal, "casting": decode_casting}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class LineSplitter:
    """Cuts what arrives, in pieces of any length, into lines. A line that is too long comes as None."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The lines that ``chunk`` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield None if self._skipping or len(line) > MAX_LINE_BYTES else line
            self._skipping = False
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._skipping = b"", True

    def end(self) -> Iterator[bytes | None]:
        """The last line, where it has no line end."""
        if self._rest or self._skipping:
            yield None if self._skipping else self._rest


class LineParser:
    """Turns the lines of one feed into records of ``kind``, "signal" or "casting".

    ``stream`` is the stream of the lines that do not name one.
    """

    def __init__(self, kind: str, stream: str | None = None) -> None:
        self._check = _CHECKS[kind]
        self._columns = COLUMNS[kind]
        self._stream = stream
        self._parse: Callable[[str], dict[str, Any]] | None = None
        self._header: list[str] = []
        self._delimiter = ","

    def parse(self, line: bytes) -> Pair | None:
        """The record of one line; None for an empty line and for the header.

        Raises:
            RecordError: the line cannot be used; the next one may.
            StartupError: the first line is no JSON object, and no header with the columns that are needed.
        """
        try:
            text = line.decode("utf-8-sig" if self._parse is None else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise RecordError("not_decodable", f"is not UTF-8: {error.reason}") from error
        if not text.strip():
            return None
        if self._parse is None:
            if not text.lstrip().startswith("{"):
                self._read_header(text)
                return None
            self._parse = _json_fields
        return self._record(self._parse(text))

    def _record(self, fields: dict[str, Any]) -> Pair:
        stream = fields.pop("stream", None)
        if stream is None:
            stream = self._stream
        if stream is None:
            raise RecordError("no_key", "names no stream: give it as the field 'stream', or to all lines by --stream")
        if not isinstance(stream, str):
            raise RecordError("no_key", f"stream is {stream!r}: must be text")
        key = stream.encode()
        stream_id(key)
        value = msgspec.json.encode(fields)
        self._check(value)
        return key, value

    def _read_header(self, text: str) -> None:
        self._delimiter = max(",;\t", key=text.count)
        self._header = [name.strip() for name in next(csv.reader([text], delimiter=self._delimiter))]
        missing = [name for name in self._columns if name not in self._header]
        if missing:
            raise StartupError(
                f"the first line is neither a JSON object nor a CSV header: it lacks the columns {', '.join(missing)}"
            )
        self._parse = self._csv_fields

    def _csv_fields(self, text: str) -> dict[str, Any]:
        cells = next(csv.reader([text], delimiter=self._delimiter))
        if len(cells) != len(self._header):
            raise RecordError("wrong_type", f"has {len(cells)} cells, the header has {len(self._header)}")
        row = {name: cell.strip() for name, cell in zip(self._header, cells, strict=True) if cell.strip()}
        fields: dict[str, Any] = {name: row[name] for name in ("stream", "sequence") if name in row}
        fields |= {name: _number(name, row[name], int) for name in ("step", "timestamp_ms") if name in row}
        numbers = {name: _number(name, row[name], float) for name in self._columns if name in row}
        if "c1" in self._columns and all(name in numbers for name in CONDITION_COLUMNS):
            fields["condition_vector"] = [numbers.pop(name) for name in CONDITION_COLUMNS]
        if "end" in row and "c1" not in self._columns:
            fields["end"] = _truth(row["end"])
        return fields | numbers


def _json_fields(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError("not_decodable", str(error)) from error


def _number(name: str, cell: str, kind: Callable[[str], float]) -> float:
    try:
        number = kind(cell)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise RecordError("wrong_type", f"{name} is {cell[:40]!r}: must be {what}") from error
    if number - number != 0.0:  # NaN and infinity, which JSON cannot say
        raise RecordError("not_finite", f"{name} is {cell}: must be a finite number")
    return number


def _truth(cell: str) -> bool:
    if cell.lower() not in (*_TRUE, *_FALSE):
        raise RecordError("wrong_type", f"end is {cell[:40]!r}: must be true or false")
    return cell.lower() in _TRUE
