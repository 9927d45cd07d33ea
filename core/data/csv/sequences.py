"""Samples of an import, by the sequences that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from core.callbacks import OnNote
from core.data.csv.numbers import SHOWN, is_number, whole
from core.data.csv.order import By, Order, Sorted
from core.data.csv.samples import Samples
from core.data.csv.table import Table
from core.data.csv.times import Times
from core.errors import RecordError
from core.wire.records import MAX_SEQUENCE_BYTES

TIME_COLUMNS = ("timestamp_ms", "timestamp", "time")
ORDER_COLUMNS = ("stream", "step", *TIME_COLUMNS)
# Numbers in a time column below this count in some larger unit: they are kept to a billionth of it.
_LARGE = 1e9


class LinePlace(NamedTuple):
    """To which sequence a line belongs, and its step or time there; None: behind the line before."""

    stream: str
    sequence: str
    key: int | None
    time_us: int | None


class Sequences:
    """Collects samples: their values go to disk, what belongs to whole sequences stays in memory.

    Args:
        table: where the lines come from.
        samples: takes the values.
        what: what a sequence is called in messages.
        notice: told what a user should know.
    """

    def __init__(self, table: Table, samples: Samples, what: str, notice: OnNote) -> None:
        self._table, self._samples, self.what, self._notice = table, samples, what, notice
        self._numbers: dict[tuple[str, str], int] = {}
        self._order: Order | None = None
        self._times = Times()
        self._scale: float | None = None
        self._last = -1
        self._span = (0, 0, 0)  # of the first sequence: its samples, its earliest and latest time

    def place(self, cells: list[str]) -> LinePlace:
        """Find where a row belongs; raises RecordError."""
        stream, sequence = self._table.name(cells, "stream"), self._table.name(cells, "sequence")
        for name, text in (("stream", stream), ("sequence", sequence)):
            if len(text) * 4 > MAX_SEQUENCE_BYTES and len(text.encode()) > MAX_SEQUENCE_BYTES:
                raise RecordError(
                    "sequence_too_long", f"{name} is {text[:SHOWN]!r}...: at most {MAX_SEQUENCE_BYTES} bytes"
                )
        by = self._order.by if self._order else self._first_order(cells)
        step = self._table.whole(cells, "step") if by == "step" else None
        time_us = self._time_us(cells) if by == "time" else self._instant_us(cells)
        if by == "time" and time_us is None:
            name, text = self._time_cell(cells)
            raise RecordError("wrong_type", f"{name} is {text[:SHOWN]!r}: must be a time in ISO 8601")
        if by == "step" and step is None:
            raise RecordError("missing_field", "has no step, the lines above have")
        return LinePlace(stream, sequence, step if by == "step" else time_us if by == "time" else None, time_us)

    def known(self, place: LinePlace) -> int | None:
        """The number of a sequence that has samples already."""
        return self._numbers.get((place.stream, place.sequence))

    def add(self, line: int, place: LinePlace, values: list[float]) -> int:
        """Take a sample in; the number of its sequence. Raises RecordError: it contradicts an earlier line."""
        name = (place.stream, place.sequence)
        number = self._numbers.get(name)
        if self._order is None:
            self._order = Order(self._by(place))
        if number is not None and place.key is None and number != self._last:
            raise RecordError(
                "wrong_type",
                f"{self.what} {place.sequence or place.stream!r} goes on after another: keep its lines together, or "
                "give a column step",
            )
        known = len(self._numbers) if number is None else number
        self._order.add(known, self._samples.count if place.key is None else place.key, line)
        self._samples.add(values)
        self._numbers[name] = self._last = known
        if known == 0 and place.time_us is not None:
            self._widen(place.time_us)
        return known

    def sort(self) -> Sorted:
        """All samples in order."""
        assert self._order is not None
        done = self._order.sort()
        if done.turned:
            self._notice("the lines stand newest first: they were turned round")
        if self._times.without_zone and self._order.by == "time":
            self._notice("times without a zone are taken for UTC")
        return done

    @property
    def by(self) -> By:
        """The column that decides the order, or "line"."""
        return self._order.by if self._order else "line"

    @property
    def has_instants(self) -> bool:
        """True if the times that were read are instants, not numbers of an unknown unit."""
        return self._scale is None

    def pairs(self, numbers: Iterable[int]) -> list[tuple[str, str]]:
        """The streams and names of sequences, as the table has them."""
        held = list(self._numbers)
        return [held[number] for number in numbers]

    def names(self, numbers: Iterable[int]) -> list[str]:
        """The names of sequences: with their stream, where several streams have one of this name."""
        pairs = list(self._numbers)
        times = Counter(sequence for _, sequence in pairs)
        return [
            sequence if sequence and times[sequence] == 1 else "/".join(filter(None, (stream, sequence)))
            for stream, sequence in (pairs[number] for number in numbers)
        ]

    def rate_hz(self) -> float | None:
        """Samples per second by the times of the first sequence; None where they do not say."""
        count, earliest_us, latest_us = self._span
        if self._scale is not None or latest_us <= earliest_us:
            return None
        return float(f"{(count - 1) * 1e6 / (latest_us - earliest_us):.6g}")

    def _by(self, place: LinePlace) -> By:
        if self._table.has("step"):
            return "step"
        return "line" if place.key is None else "time"

    def _first_order(self, cells: list[str]) -> By:
        """Choose what decides the order, while no line has been taken."""
        if self._table.has("step"):
            return "step"
        name, text = self._time_cell(cells)
        if not name:
            return "line"
        if self._time_us(cells) is None and any(sign.isdigit() for sign in text):
            self._notice(
                f"the column {name} is not used: {text[:SHOWN]!r} is no time in ISO 8601; the order of the lines counts"
            )
            return "line"
        return "time"

    def _time_cell(self, cells: list[str]) -> tuple[str, str]:
        """The name and text of the time of a row; empty where there is no such column."""
        name = next((name for name in TIME_COLUMNS if self._table.has(name)), "")
        return name, self._table.cell(cells, name) if name else ""

    def _instant_us(self, cells: list[str]) -> int | None:
        """The time of a row whose place does not depend on it."""
        name, text = self._time_cell(cells)
        if name == "timestamp_ms" and text.isascii() and text.isdigit() and len(text) < 16:
            return int(text) * 1000
        return self._times.microseconds(text)

    def _time_us(self, cells: list[str]) -> int | None:
        """The time of a row, or a number that rises with it; raises RecordError."""
        name, text = self._time_cell(cells)
        if (time_us := self._times.microseconds(text)) is not None or not text:
            return time_us
        if name == "timestamp_ms":
            return whole(name, text) * 1000
        return self._counted(text) if is_number(text) and "," not in text else None

    def _counted(self, text: str) -> int:
        """A number in a time column: its unit is not known, its order is."""
        number = float(text)
        if not abs(number) < 9e18:
            raise RecordError("wrong_type", f"{text[:SHOWN]!r} is no time")
        if self._scale is None:
            self._scale = 1.0 if abs(number) >= _LARGE else 1e9
        return round(max(-9e18, min(9e18, number * self._scale)))

    def _widen(self, time_us: int) -> None:
        count, earliest_us, latest_us = self._span
        self._span = (count + 1, min(earliest_us, time_us), max(latest_us, time_us)) if count else (1, time_us, time_us)
