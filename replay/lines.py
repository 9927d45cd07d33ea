"""Lines of text -> records: JSON objects, or CSV with a header, one sample on each line.

The first line that is one of the two decides. Fields and columns have the names of the wire, or those that
``--column`` gives them; a CSV has the condition vector as the four columns c1, c2, c3 and c4. The field ``stream``
names the stream, which becomes the record's key. Unknown fields and columns change nothing, and are named once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from core.callbacks import OnNote, unheard
from core.data.csv.names import IgnoredFields, Renamed
from core.data.csv.numbers import Decimal, whole
from core.data.csv.table import Table
from core.data.csv.text import text_of
from core.data.csv.times import Times
from core.errors import RecordError
from core.firsts import Firsts
from core.tasks.declaration import Declaration
from core.wire.odd_bytes import HALF_A_PAIR
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS
from core.wire.records import stream_id
from core.wire.samples import sample_decoder
from replay.line_names import JsonNames, LineNames
from replay.sink import Pair

# A producer takes 1,000,000 bytes with key and headers, and ends at a larger record.
MAX_RECORD_BYTES = 999_000

# Around an object: programs in C send the NUL that ends a text, JSON text sequences (RFC 7464) begin with RS.
_AROUND = "\0\x1e \t\r\n"
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")
_TOPIC = re.compile(r"[^\s{\"]+ \{")


class LineParser:
    """Turns the lines of one feed into records.

    Args:
        task: of the records.
        stream: the stream of the lines that do not name one.
        renamed: names of fields in this feed.
        decimal: the decimal sign of a CSV, where somebody has said it.
        on_notice: told what a user should know and nothing was refused for.
        on_bad: told of lines before the first good one, by number, when it has come.
    """

    def __init__(
        self,
        task: Declaration,
        stream: str | None = None,
        *,
        renamed: Renamed | None = None,
        decimal: Decimal | None = None,
        on_notice: OnNote = unheard,
        on_bad: Callable[[int, str], None] = unheard,
    ) -> None:
        self._task = task
        self._check = sample_decoder(task)
        self._stream = stream
        self._renamed = renamed or {}
        self._names = LineNames.of(task)
        self._json_names = JsonNames(self._names, self._renamed, self._say)
        self._notice, self._on_bad = on_notice, on_bad
        self._table = Table(self._names.columns, self._renamed, decimal, on_notice)
        self._ignored = IgnoredFields(self._names.known, on_notice)
        self._times = Times()
        self._other_times = () if "timestamp_ms" in self._renamed else ("timestamp", "time")
        self._parse: Callable[[bytes | None], dict[str, Any] | None] = self._first
        self._number = 0
        self._firsts = Firsts()
        self._latest: tuple[str, int | None] = ("", None)

    def parse(self, line: bytes | None) -> Pair | None:
        """The record of one line, None being one that was too long; None for a line without a sample.

        Raises:
            RecordError: the line cannot be used; the next one may.
            StartupError: the input is neither JSON lines nor a CSV with the columns that are needed.
        """
        self._number += 1
        fields = self._parse(line)
        return None if fields is None else self._record(fields)

    def end(self) -> None:
        """Say that no more lines come.

        Raises:
            StartupError: none of them was a JSON object, nor a header.
        """
        if self._parse == self._first and self._table.before:
            self._table.refuse()

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
        if len(value) > MAX_RECORD_BYTES:
            raise RecordError("not_decodable", f"makes a record of {len(value):,} bytes: at most {MAX_RECORD_BYTES:,}")
        self._look_back(stream, fields.get("timestamp_ms"))
        return key, value

    def _look_back(self, stream: str, time_ms: int | None) -> None:
        """Tell where the lines of a stream go back in time, as exports that are newest first do."""
        before = self._latest
        self._latest = (stream, time_ms)
        if time_ms is not None and before[0] == stream and before[1] is not None and time_ms < before[1]:
            self._say("order", f"line {self._number} goes back in time: records are sent in the order of the lines")

    # Before it is known which of the two the input is.

    def _first(self, line: bytes | None) -> dict[str, Any] | None:
        text = _text_or_nothing(line)
        if text.startswith("{"):
            fields = _object_of(text)
            if isinstance(fields, dict):
                self._begin_json()
                return self._named(fields)
            self._table.hold(self._number, f"line {self._number} {_not_json_lines(text) or fields}")
        elif text and (why := _not_json_lines(text)):
            self._table.hold(self._number, f"line {self._number} {why}")
        elif self._table.begin(self._number, line):
            self._parse = self._csv
            self._names.tell_arrays(self._renamed, self._notice)
        return None

    def _begin_json(self) -> None:
        self._parse = self._json
        self._names.tell_columns(self._renamed, self._notice)
        for number, why in self._table.before:
            begin = f"line {number} "
            self._on_bad(number, why.removeprefix(begin) if why.startswith(begin) else "is no JSON object")

    # JSON.

    def _json(self, line: bytes | None) -> dict[str, Any] | None:
        text = text_of(line).strip(_AROUND)
        if not text:
            _refuse_nothing_but_nul(line)
            return None
        fields = _object_of(text)
        if isinstance(fields, dict):
            return self._named(fields)
        raise RecordError("not_decodable", _not_json_lines(text) or fields)

    def _named(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields under the names of the wire, times in milliseconds."""
        if self._renamed:
            self._json_names.put(fields)
        if self._other_times and fields.get("timestamp_ms") is None and isinstance(fields.get("timestamp"), str):
            self._take_timestamp(fields)
        elif isinstance(time := fields.get("timestamp_ms"), str):
            fields["timestamp_ms"] = self._milliseconds(time) or time
        if isinstance(step := fields.get("step"), float) and step.is_integer():
            fields["step"] = int(step)
        self._ignored.look(fields)
        return fields

    def _take_timestamp(self, fields: dict[str, Any]) -> None:
        if (time_ms := self._milliseconds(fields["timestamp"])) is not None:
            del fields["timestamp"]
            fields["timestamp_ms"] = time_ms

    # CSV.

    def _csv(self, line: bytes | None) -> dict[str, Any] | None:
        return self._table.read(self._number, line, self._fields)

    def _fields(self, cells: list[str]) -> dict[str, Any]:
        table = self._table
        samples = self._samples(cells)
        fields: dict[str, Any] = {name: text for name in ("stream", "sequence") if (text := table.name(cells, name))}
        if table.cell(cells, "step"):
            fields["step"] = table.whole(cells, "step")
        if (time_ms := self._time_ms(cells)) is not None:
            fields["timestamp_ms"] = time_ms
        if end := table.cell(cells, "end"):
            fields["end"] = _truth(end)
        return fields | samples

    def _samples(self, cells: list[str]) -> dict[str, Any]:
        table = self._table
        if not table.columns.held:
            return self._task.by_field(table.numbers(cells))
        numbers = table.held_numbers(cells)
        there = [field for field in self._task.fields if field.columns[0] in numbers]
        return {
            field.name: numbers[field.columns[0]] if field.length is None else [numbers[name] for name in field.columns]
            for field in there
        }

    def _time_ms(self, cells: list[str]) -> int | None:
        """The event time: of ``timestamp_ms``, else of a column ``timestamp`` or ``time`` that holds times."""
        if text := self._table.cell(cells, "timestamp_ms"):
            time_ms = self._milliseconds(text)
            return whole("timestamp_ms", text) if time_ms is None else time_ms
        for name in self._other_times:
            if text := self._table.cell(cells, name):
                return self._time_of(name, text)
        return None

    def _time_of(self, name: str, text: str) -> int | None:
        if (time_ms := self._milliseconds(text)) is not None:
            return time_ms
        if text.isascii() and text.isdigit() and MIN_TIME_MS <= int(text[:20]) <= MAX_TIME_MS:
            return int(text)
        self._say(name, f"the column {name} is not used: {text[:40]!r} is no time in ISO 8601, nor in milliseconds")
        return None

    def _milliseconds(self, text: str) -> int | None:
        time_us = self._times.microseconds(text)
        if self._times.without_zone:
            self._say("zone", "times without a zone are taken for UTC")
        return None if time_us is None else time_us // 1000

    def _say(self, about: str, text: str) -> None:
        """Notice something once."""
        if self._firsts.take(about):
            self._notice(text)


def _text_or_nothing(line: bytes | None) -> str:
    try:
        return text_of(line).strip(_AROUND)
    except RecordError:
        return ""


def _refuse_nothing_but_nul(line: bytes | None) -> None:
    if line is not None and b"\0" in line:
        raise RecordError("not_decodable", "holds NUL bytes only: its writer was interrupted")


def _object_of(text: str) -> dict[str, Any] | str:
    """The object that a line holds, or why it holds none."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        if HALF_A_PAIR.search(text.encode()):
            return "holds half of a surrogate pair (such as \\ud83d), which is no text"
        return str(error)


def _not_json_lines(text: str) -> str | None:
    """Say what to do about JSON that is not one object on each line; None for any other text."""
    if text == "{":
        return "is an object that goes on below: one object on each line is needed: jq -c ."
    if text.startswith("["):
        return "begins with [: one object on each line is needed: jq -c '.[]'"
    if _TOPIC.match(text) and text.endswith("}"):
        return "has a topic before its object: one object on each line is needed, so leave out -v of mosquitto_sub"
    return None


def _truth(cell: str) -> bool:
    if cell.lower() not in (*_TRUE, *_FALSE):
        raise RecordError("wrong_type", f"end is {cell[:40]!r}: must be true or false")
    return cell.lower() in _TRUE
