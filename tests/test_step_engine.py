"""The step engine with fields, outputs and a model of a task's own, against one record at a time in plain Python."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.arrays import Float32s, Int64s
from core.engines.base import Engine
from core.engines.steps import StepEngine, StepTask
from core.native.fields import FieldList
from core.native.records import Record, Records
from core.step_batch import StepBatch
from core.tasks.declaration import Field
from core.wire.codecs import SampleCodec
from core.wire.outputs import OutputField
from core.wire.sample_types import sample_type
from stream_app.flow.tables import PartitionedStore
from tests.both_ways import assert_same_engines
from tests.changes import plain as lists
from tests.changes import take_changed
from tests.reference import stream_rules
from tests.strategies import FakeRecord, MemoryTable, relaxed

FIELDS = (
    Field("vibration", 2, aliases=("vib",), low=-10.0, high=10.0, overlap=1),
    Field("rpm", missing="hold", aliases=("speed",), high=5_000.0),
)
OUTPUTS = (OutputField("sums", ("a", "b", "c", "d")), OutputField("steps"))
WIDTH = 4  # one number that overlaps, two of the record, and rpm


class Sums:
    """A `StateBank` whose state is the sums of all numbers of a sample, and how many there were."""

    def __init__(self) -> None:
        self._rows = np.zeros((64, WIDTH + 1), np.float32)

    capacity = 64

    def grow(self) -> None:
        raise NotImplementedError

    def step(self, batch: StepBatch) -> Float32s:
        now, outputs = self._rows[batch.starts], np.empty((len(batch.samples), WIDTH + 1), np.float32)
        for place in np.lexsort((batch.times, batch.runs)):
            now[batch.runs[place]] += [*batch.samples[place], 1]
            outputs[place] = now[batch.runs[place]]
        self._rows[batch.targets] = now[batch.last]
        return outputs

    def read(self, rows: Int64s) -> Float32s:
        found: Float32s = self._rows[rows]
        return found

    def write(self, row: int, state: Float32s) -> None:
        self._rows[row] = state

    def clear(self, row: int) -> None:
        self._rows[row] = 0

    def warm_up(self) -> None:
        return None


class OneByOneSteps(StepEngine):
    """Takes no record the compiled way."""

    def _take_part(self, part: Records) -> None:
        Engine._take_part(self, part)


class CountedSteps(StepEngine):
    """Counts the records that do not go the compiled way."""

    not_plain = 0

    def _take_one(self, record: Record) -> None:
        self.not_plain += 1
        super()._take_one(record)


def make(kind: type[StepEngine] = StepEngine, policy: str = "step", store: Any = None) -> StepEngine:
    codec = SampleCodec(sample_type("Pump", FIELDS, has_end=True), FIELDS)
    task = StepTask("0123456789ab", FieldList(FIELDS, end=True), codec.decode, OUTPUTS, WIDTH + 1)
    return kind(task, Sums(), stream_rules(policy), store or PartitionedStore())


def records(*samples: dict[str, Any], key: bytes = b"a", first: int = 0) -> list[FakeRecord]:
    return [FakeRecord(0, first + n, first + n, key, json.dumps(one).encode(), ()) for n, one in enumerate(samples)]


def outputs_of(engine: StepEngine, chunk: list[FakeRecord]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(value) for _, value, _, _ in lists(engine.run(chunk)).get(0, [])]


def test_fields_that_overlap_and_fields_that_are_held_reach_the_model_as_declared() -> None:
    engine = make(CountedSteps)

    found = outputs_of(
        engine, records({"vib": [1, 2], "rpm": 100}, {"vibration": [3, 4]}, {"vib": [5, 6], "speed": 200})
    )

    assert [list(one["sums"].values()) for one in found] == [[0, 1, 2, 100], [2, 4, 6, 200], [6, 9, 12, 400]]
    assert [one["steps"] for one in found] == [1, 2, 3]
    assert list(found[0]) == ["stream", "sequence", "step", "timestamp_ms", "sums", "steps", "model"]
    assert engine.not_plain == 1  # the first, which makes the stream


def test_what_is_held_is_counted_and_the_first_sample_of_a_sequence_must_have_it() -> None:
    engine = make()

    result = engine.run(
        records(
            {"vib": [1, 2]},
            {"vib": [1, 2], "rpm": 1},
            {"vib": [1, 2]},
            {"vib": [1, 2], "sequence": "B"},
            {"vib": [1, 2], "rpm": None},
        )
    )

    assert result.counts.held == {"rpm": 2}
    assert [(letter.offset, letter.reason) for letter in result.dead_letters] == [
        (0, "missing_field"),
        (3, "missing_field"),
    ]
    assert result.counts.processed == 3


def test_the_end_of_a_sequence_closes_it() -> None:
    engine = make()
    one = {"vib": [1, 1], "rpm": 1}

    result = engine.run(records(one, one | {"end": True}, one, one | {"sequence": "B"}))

    assert [letter.reason for letter in result.dead_letters] == ["late"]
    found = [msgspec.json.decode(value) for _, value, _, _ in lists(result)[0]]
    assert [(output["sequence"], output["steps"]) for output in found] == [("", 1), ("", 2), ("B", 1)]


SAMPLES = st.fixed_dictionaries(
    {"vib": st.lists(st.integers(-12, 12), min_size=2, max_size=2)},
    optional={
        "rpm": st.integers(0, 9),
        "speed": st.none() | st.integers(0, 9),
        "step": st.integers(0, 12),
        "sequence": st.sampled_from(("", "", "B")),
        "end": st.sampled_from((False, False, True)),
    },
)


@relaxed
@given(
    samples=st.lists(SAMPLES, max_size=25), chunk=st.integers(1, 9), policy=st.sampled_from(("step", "hold", "reset"))
)
def test_both_ways_agree(samples: list[dict[str, Any]], chunk: int, policy: str) -> None:
    feed = records(*samples)
    chunks = [feed[start : start + chunk] for start in range(0, len(feed), chunk)]

    assert_same_engines(make(OneByOneSteps, policy), make(StepEngine, policy), chunks)


@relaxed
@given(
    samples=st.lists(SAMPLES, min_size=1, max_size=25),
    cut=st.integers(0, 25),
    policy=st.sampled_from(("step", "hold", "reset")),
)
def test_a_restart_anywhere_changes_no_output(samples: list[dict[str, Any]], cut: int, policy: str) -> None:
    feed, table, store = records(*samples), MemoryTable(), PartitionedStore()
    expected = lists(make(policy=policy).run(feed)).get(0, [])
    before = make(policy=policy)
    found = lists(before.run(feed[:cut])).get(0, [])
    table.apply(take_changed(before, [0]))
    table.fill(store)

    found += lists(make(policy=policy, store=store).run(feed[cut:])).get(0, [])

    assert found == expected


def test_a_stream_may_be_stored_without_a_sample() -> None:
    """As after a change of the fields, when a step back comes first: it is stored, and no sample yet."""
    engine = make()
    engine.run(records({"vib": [1, 2], "rpm": 1}))
    (stream,) = engine._streams[0].values()
    stream.sample = ()
    table, store = MemoryTable(), PartitionedStore()
    table.apply(take_changed(engine, [0]))
    table.fill(store)

    result = make(store=store).run(records({"vib": [1, 2], "rpm": 1}, first=1))

    assert (result.counts.resets, result.counts.processed) == ({}, 1)


@pytest.mark.parametrize("width", [3, 5])
def test_a_stored_sample_of_another_width_is_damage(width: int) -> None:
    engine = make()
    engine.run(records({"vib": [1, 2], "rpm": 1}))
    (stream,) = engine._streams[0].values()
    stream.sample = (0.5,) * width
    table, store = MemoryTable(), PartitionedStore()
    table.apply(take_changed(engine, [0]))
    table.fill(store)

    result = make(store=store).run(records({"vib": [1, 2], "rpm": 1}, first=1))

    assert result.counts.resets == {"corrupt_state": 1}
