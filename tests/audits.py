"""Audits of records that never saw a broker, and the states that an engine has stored of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.audit.partition import PartitionAudit
from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.shipped_models import DefectWindows, SignalSteps
from core.audit.steps import StepAudit
from core.audit.stored import state_problems
from core.audit.windows import WindowAudit
from core.engines.results import StreamRules
from core.engines.table_keys import HEAD, segment_key
from core.tasks.reading import shipped
from tests import test_scorer, test_stepper
from tests.changes import take_changed
from tests.reference import stream_rules
from tests.strategies import (
    Event,
    FakeRecord,
    MemoryTable,
    casting_value,
    defect_model,
    signal_model,
    signal_value,
)
from tests.test_scorer import WINDOWS

ALL = 2**60
"""A committed offset past everything."""

SAMPLE = (1.0, 2.0, 3.0, 4.0, 5.0)


def make_audit(kind: str, rules: StreamRules, scope: Scope) -> PartitionAudit:
    if kind == "signal":
        signals = shipped("signal")
        return StepAudit(signals, SampleReader.of(signals), SignalSteps(signal_model()), rules, scope)
    castings = shipped("casting")
    samples = SampleReader.of(castings)
    return WindowAudit(castings, samples, DefectWindows(defect_model()), rules, WINDOWS, scope)


def audit_of(
    kind: str, records: list[FakeRecord], scope: Scope | None = None, rules: StreamRules | None = None, now_ms: int = 0
) -> PartitionAudit:
    """The finished audit of a partition's records."""
    audit = make_audit(kind, rules or stream_rules(), scope or Scope(committed=ALL))
    for record in records:
        if record.offset >= audit.scope.start:
            assert record.timestamp is not None
            audit.feed(record.offset, record.timestamp, record.key, record.value, record.headers)
    audit.finish(now_ms)
    return audit


def in_partition(events: list[Event], partition: int) -> list[FakeRecord]:
    return [event.record for event in events if event.record.partition == partition]


def expected_of(audit: PartitionAudit, partition: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """All rows, named as the slow workers name them."""
    found = {}
    for row in range(len(audit)):
        fields = msgspec.to_builtins(audit.expected(row))
        identity = (partition, audit.key(row), audit.offset(row), fields.get("final"))
        assert audit.row(audit.offset(row), bool(fields.get("final"))) == row
        found[identity] = fields
    return found


def engine(kind: str, rules: StreamRules, table: Any = None) -> Any:
    return test_stepper.make(table, rules) if kind == "signal" else test_scorer.make(table, rules)


def heads_of(kind: str, table: MemoryTable, partition: int) -> dict[bytes, tuple[int, bytes]]:
    """Stream key -> source offset and value of a stored state."""
    rows = table.rows.get(partition, {}).items()
    found = {key: (offset, blob) for key, (offset, blob) in rows if blob is not None}
    if kind == "signal":
        return found
    return {key[1:]: row for key, row in found.items() if key[:1] == HEAD}


def problems_of(kind: str, audit: PartitionAudit, table: MemoryTable, partition: int) -> dict[bytes, Any]:
    return {
        key: state_problems(
            audit, key, offset, blob, lambda number, key=key: table.get(partition, segment_key(key, number))
        )
        for key, (offset, blob) in heads_of(kind, table, partition).items()
    }


def assert_loosely_same(want: dict[str, Any], got: dict[str, Any]) -> None:
    for name in ("prediction", "probability"):
        if want.get(name) is not None:
            assert want.pop(name) == pytest.approx(got.pop(name), abs=1e-6)
    assert want == got


def signal(offset: int, ms: int | None = None, key: bytes = b"a", **fields: Any) -> FakeRecord:
    return FakeRecord(0, offset, offset if ms is None else ms, key, signal_value(SAMPLE, **fields))


def cast(offset: int, ms: int | None = None, key: bytes = b"a", **fields: Any) -> FakeRecord:
    return FakeRecord(0, offset, offset if ms is None else ms, key, casting_value(SAMPLE, **fields))


def stored(kind: str, records: list[FakeRecord], committed: int = ALL) -> tuple[PartitionAudit, MemoryTable]:
    """An audit of some records, and what an engine has stored of them."""
    worker, table = engine(kind, stream_rules()), MemoryTable()
    worker.run(records)
    table.apply(take_changed(worker, [0]))
    states = {key: offset for key, (offset, _) in heads_of(kind, table, 0).items()}
    return audit_of(kind, records, Scope(committed=committed, states=states)), table


def segments(table: MemoryTable) -> Any:
    return lambda number: table.get(0, segment_key(b"a", number))
