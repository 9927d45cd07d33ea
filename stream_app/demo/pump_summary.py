"""The verdict on the pumps' demo: nothing lost, equal to offline, and which faults the alarms found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from core.data.pump.faults import Fault
from stream_app.demo.pump_watch import DECODER, PumpOutput, PumpsWatched, StreamKey
from stream_app.demo.verdict import figure, for_json, median_and_p99, problems_of


@dataclass(frozen=True)
class PumpSummary:
    """One run. ``faults`` are those in the data; ``led`` of the found ones had the right sensor at an alarm's begin."""

    sent: int
    scored: int
    lost: int
    repeated: int
    dead_letters: int
    max_abs_diff: float | None
    p50_latency_ms: float | None
    p99_latency_ms: float | None
    faults: int
    found: int
    led: int
    alarms: int
    false_alarms: int

    @property
    def problems(self) -> list[str]:
        """The reasons why the run is no success; empty if it is one."""
        return problems_of(self.lost, "outputs", self.max_abs_diff)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return for_json(self)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as a person reads them."""
        return [
            ("samples sent", f"{self.sent:,}"),
            ("scored", f"{self.scored:,}"),
            ("lost", f"{self.lost:,}"),
            ("repeated", f"{self.repeated:,}"),
            ("dead letters", f"{self.dead_letters:,}"),
            ("latency p50, sample to score in Kafka", figure(self.p50_latency_ms, "{:.1f} ms")),
            ("latency p99", figure(self.p99_latency_ms, "{:.1f} ms")),
            ("faults in the data", f"{self.faults}"),
            ("found by an alarm", f"{self.found}, {self.led} of them led by the right sensor"),
            ("alarms", f"{self.alarms}, {self.false_alarms} of them false"),
            ("largest difference to the offline run", figure(self.max_abs_diff, "{:.1e}")),
        ]


def read_lines(text: bytes) -> dict[StreamKey, bytes]:
    """The outputs of an offline run, as lines, by sequence and step."""
    return {DECODER.decode(line).key: line for line in text.splitlines()}


def summarise_pumps(
    watched: PumpsWatched, reference: Mapping[StreamKey, bytes], events: Mapping[str, Sequence[Fault]]
) -> PumpSummary:
    """Compare everything that was seen with the offline run and the truth."""
    p50, p99 = median_and_p99(watched.latencies_ms())
    begins = {stream: alarm_begins(found) for stream, found in watched.alarms.items()}
    met = [
        (fault, [one for one in begins.get(stream, []) if fault.begin <= one.step < fault.end])
        for stream, fault in _faults(events)
    ]
    under = {stream: {one.step for one in found} for stream, found in watched.alarms.items()}
    return PumpSummary(
        sent=watched.sent,
        scored=len(watched.values),
        lost=len(reference.keys() - watched.values.keys()),
        repeated=watched.repeated,
        dead_letters=watched.dead_letters,
        max_abs_diff=largest_difference(watched.values, reference),
        p50_latency_ms=p50,
        p99_latency_ms=p99,
        faults=len(met),
        found=sum(
            not under.get(stream, set()).isdisjoint(range(one.begin, one.end)) for stream, one in _faults(events)
        ),
        led=sum(any(one.leading == fault.channel for one in found) for fault, found in met),
        alarms=sum(map(len, begins.values())),
        false_alarms=sum(
            not any(fault.begin <= one.step < fault.end for fault in events.get(stream, ()))
            for stream, found in begins.items()
            for one in found
        ),
    )


def alarm_begins(outputs: Sequence[PumpOutput]) -> list[PumpOutput]:
    """The outputs at which alarms begin, of a stream's outputs under alarm in order."""
    before = [None, *outputs]
    return [
        one
        for last, one in zip(before, outputs, strict=False)
        if last is None or (last.sequence, last.step + 1) != (one.sequence, one.step)
    ]


def largest_difference(found: Mapping[StreamKey, bytes], expected: Mapping[StreamKey, bytes]) -> float | None:
    """Over all numbers of all outputs; infinite where anything else differs, None where nothing was seen."""
    if found.keys() - expected.keys():
        return math.inf
    largest = 0.0
    for key, value in found.items():
        if value != expected[key]:
            largest = max(largest, _difference(msgspec.json.decode(value), msgspec.json.decode(expected[key])))
    return largest if found else None


def _difference(one: Any, other: Any) -> float:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_difference(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, float | int) and isinstance(other, float | int) and bool not in (type(one), type(other)):
        return abs(one - other)
    return 0.0 if one == other else math.inf


def _faults(events: Mapping[str, Sequence[Fault]]) -> list[tuple[str, Fault]]:
    return [(stream, fault) for stream, faults in events.items() for fault in faults]
