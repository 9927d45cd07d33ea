"""Declared tasks without a broker: their feeds, their engines, and the audits of both."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from core.audit.partition import PartitionAudit
from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.steps import StepAudit
from core.audit.stored import state_problems
from core.engines.declared.stepper import StepModel
from core.engines.results import StreamRules
from core.engines.steps import StepEngine
from core.tasks.declaration import Declaration
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables
from stream_app.verify.audits import declared_steps
from tests import onnx_models as models
from tests.audits import ALL
from tests.changes import take_changed
from tests.reference import stream_rules
from tests.strategies import MSGPACK, Event, EventFeed, FakeRecord, MemoryTable

DECLARATION = b"""
name = "pump"
kind = "step"
[fields]
vibration = { length = 3, alias = ["vib"], overlap = 2 }
load = { missing = "hold", range = [0, 100] }
doors = { length = 2, missing = "hold", overlap = 1 }
[model]
file = "pump.onnx"
[outputs]
next = { tensor = "y", apply = "forecast", names = ["v", "w"], changes = true, least = [0.25, 0], publish = false }
expected = { of = "next", apply = "expected" }
surprise = { of = "next", apply = "surprise" }
ratio = { of = "next", apply = "likelihood_ratio", horizon = 3 }
leading = { of = "ratio", apply = "leading" }
unlikely = { of = "ratio", apply = "above", threshold = 1.0, clear = 0.25 }
plain = { tensor = "y", apply = "forecast", names = ["v", "w"] }
odds = { of = "plain", apply = "likelihood_ratio", publish = false }
first = { of = "odds", apply = "leading" }
sudden = { of = "plain", apply = "surprise" }
forecast = { tensor = "y", names = ["de", "nde", "x", "y"] }
score = { of = "forecast", apply = "forecast_error" }
alarm = { of = "score", apply = "above", threshold = 1.0, clear = 0.5 }
raw = { tensor = "y" }
chance = { tensor = "y", apply = "sigmoid", scale = 2.0, shift = -0.5 }
classes = { tensor = "y", apply = "softmax", labels = ["a", "b", "c", "d"] }
best = { of = "classes", apply = "label" }
error = { of = "chance", apply = "error" }
odd = { of = "error", apply = "above", threshold = 1.2 }
"""
"""Every kind of field, and every function of steps."""


@cache
def pump() -> tuple[Declaration, bytes]:
    """The task, and its model."""
    path = Path("pump.toml")
    task = declare(path, parse_tables(path, DECLARATION), need_files=False)
    return task, models.gru(features=task.width, outputs=4)


@cache
def _model() -> StepModel:
    return StepModel(*pump(), "any")


def engine(rules: StreamRules, table: Any = None) -> StepEngine:
    """As a worker runs it."""
    store = MemoryTable().recovered() if table is None else table
    return StepEngine(_model().task, _model().states(), rules, store)


@cache
def _audited() -> Any:
    return declared_steps(*pump(), "any")


def audit_of(
    records: Iterable[FakeRecord], scope: Scope | None = None, rules: StreamRules | None = None, now_ms: int = 0
) -> PartitionAudit:
    """The finished audit of a partition's records."""
    task, _ = pump()
    samples, scope = SampleReader.of(task), scope or Scope(committed=ALL)
    audit = StepAudit(task, samples, _audited(), rules or stream_rules(), scope)
    for record in records:
        if record.offset >= audit.scope.start:
            assert record.timestamp is not None
            audit.feed(record.offset, record.timestamp, record.key, record.value, record.headers)
    audit.finish(now_ms)
    return audit


def heads_of(table: MemoryTable, partition: int) -> dict[bytes, tuple[int, bytes]]:
    """Stream key -> source offset and value of a stored state."""
    rows = table.rows.get(partition, {}).items()
    return {key: (offset, blob) for key, (offset, blob) in rows if blob is not None}


def problems_of(audit: PartitionAudit, table: MemoryTable, partition: int) -> dict[bytes, Any]:
    return {
        key: state_problems(audit, key, offset, blob, lambda number: None)
        for key, (offset, blob) in heads_of(table, partition).items()
    }


def stored(records: list[FakeRecord]) -> tuple[PartitionAudit, MemoryTable]:
    """An audit of some records, and what an engine has stored of them."""
    worker, table = engine(stream_rules()), MemoryTable()
    worker.run(records)  # type: ignore[arg-type]
    table.apply(take_changed(worker, [0]))
    states = {key: offset for key, (offset, _) in heads_of(table, 0).items()}
    return audit_of(records, Scope(committed=ALL, states=states)), table


@dataclass
class PumpFeed(EventFeed):
    """As `EventFeed` draws them; fields that may be missing are, now and then."""

    def _good(self, partition: int, key: bytes, sequence: str, step: int | None, end: bool, counts_anew: bool) -> Event:
        event = super()._good(partition, key, sequence, step, end, counts_anew)
        packed = bool(event.record.headers)
        value = event.record.value
        assert value is not None
        told = msgspec.msgpack.decode(value) if packed else json.loads(value)
        common = ("sequence", "step", "timestamp_ms", "surplus", "end")
        fields = self._fields() | {name: told[name] for name in common if name in told}
        raw = msgspec.msgpack.encode(fields) if packed else json.dumps(fields).encode()
        headers = tuple(MSGPACK) if packed else ()
        return Event(FakeRecord(partition, event.record.offset, event.record.timestamp, key, raw, headers), sequence)

    def _fields(self) -> dict[str, Any]:
        head = self.draw(st.integers(-20, 20)) / 8
        found: dict[str, Any] = {self.draw(st.sampled_from(("vibration", "vib"))): [head, 0.5, -head]}
        if self.draw(st.sampled_from((True, True, True, False))):
            found["load"] = self.draw(st.sampled_from((1, 2.5, 100, True)))
        if self.draw(st.sampled_from((True, True, False))):
            found["doors"] = self.draw(st.sampled_from(([1, 0], [0.5, 2.0], [True, False])))
        return found


@st.composite
def feeds(draw: st.DrawFn, max_size: int = 50) -> list[Event]:
    """Records of pumps in the order of arrival, as `tests.strategies.feeds`."""
    feed = PumpFeed(draw, casts=True)
    return [feed.event() for _ in range(draw(st.integers(1, max_size)))]
