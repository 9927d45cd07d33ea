"""The audit of a declared task: against its engine through crashes, and every kind of damage is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.audit.applied import NEAR
from core.audit.functions import applied
from core.audit.partition import PartitionAudit
from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.steps import StepAudit
from core.audit.stored import state_problems
from core.engines.state import pack_state, unpack_state
from core.native.streams import StreamState
from core.tasks.declaration import Output
from core.tasks.reading import declare
from stream_app.verify.audits import declared_steps
from stream_app.verify.outputs import TOLERANCE
from stream_app.verify.scales import scales_of_steps
from tests.audits import ALL, in_partition
from tests.changes import take_changed
from tests.declared_audits import audit_of, engine, feeds, heads_of, problems_of, pump, stored
from tests.recurrent_files import safetensors, weights
from tests.reference import LAST_OF_ALL_MS, CrashingWorker, Published, stream_rules
from tests.strategies import IDLE_TIMEOUT_MS, FakeRecord, MemoryTable, relaxed
from tests.test_scorer import POLICIES


def differences(audit: PartitionAudit, output: Published) -> dict[str, float]:
    """What of an output is off by more than two machines may differ."""
    row = audit.row(output.source_offset, False)
    found = msgspec.convert(output.fields, audit.output_type)  # type: ignore[attr-defined]
    return {name: off for name, off in audit.differences(row, found).items() if off > TOLERANCE}


@relaxed
@given(data=st.data(), policy=POLICIES)
def test_a_worker_of_a_declared_task_passes_an_audit_at_any_commit(data: Any, policy: str) -> None:
    rules, events = stream_rules(policy), data.draw(feeds())
    worker = CrashingWorker(lambda table: engine(rules, table))
    worker.live(events, data.draw)
    now_ms = max(event.record.timestamp or 0 for event in events)
    if data.draw(st.booleans()):
        worker.end()
        now_ms = LAST_OF_ALL_MS

    for partition in (0, 1):
        states = {key: offset for key, (offset, _) in heads_of(worker.log, partition).items()}
        scope = Scope(committed=worker.committed[partition], states=states)
        audit = audit_of(in_partition(events, partition), scope, rules, now_ms)

        published = [output for output in worker.published if output.partition == partition]
        assert [differences(audit, output) for output in published] == [{}] * len(published)
        required = {audit.offset(row) for row in range(len(audit)) if audit.required[row]}
        assert required <= {output.source_offset for output in published}
        assert {key: [] for key in states} == problems_of(audit, worker.log, partition)
        assert [stream.key for stream in audit.missing_states(now_ms)] == []


@relaxed
@given(data=st.data(), policy=POLICIES)
def test_an_audit_expects_the_dead_letters_of_a_declared_task(data: Any, policy: str) -> None:
    rules, events = stream_rules(policy), data.draw(feeds())
    letters = engine(rules).run([event.record for event in events]).dead_letters

    for partition in (0, 1):
        audit = audit_of(in_partition(events, partition), rules=rules)

        want = {letter.offset: (letter.reason, letter.key) for letter in letters if letter.partition == partition}
        assert want == {offset: (letter.reason, letter.key) for offset, letter in audit.letters.items()}


@relaxed
@given(data=st.data(), policy=POLICIES)
def test_behind_any_cut_an_audit_of_a_declared_task_says_only_what_the_whole_log_says(data: Any, policy: str) -> None:
    """A record that lacks a field begins nothing, so it settles nothing either."""
    rules, events = stream_rules(policy), data.draw(feeds())
    worker, table = engine(rules), MemoryTable()
    worker.run([event.record for event in events])
    table.apply(take_changed(worker, [0, 1]))

    for partition in (0, 1):
        records = in_partition(events, partition)
        if not records:
            continue
        start = data.draw(st.integers(1, records[-1].offset + 1))
        states = {key: offset for key, (offset, _) in heads_of(table, partition).items()}
        whole = audit_of(records, Scope(committed=ALL), rules)
        part = audit_of(records, Scope(start, committed=ALL, states=states), rules)

        for offset in (record.offset for record in records if record.offset >= start):
            if part.is_judged(offset):
                assert whole.letter(offset) == part.letter(offset)
                row = part.row(offset, False)
                assert (row >= 0) == (whole.row(offset, False) >= 0)
                if row >= 0:
                    off = whole.differences(whole.row(offset, False), part.expected(row))
                    assert all(value <= TOLERANCE for value in off.values()), off
        for problems in problems_of(part, table, partition).values():
            assert problems in ([], None)


# What follows are single cases.


def sample(offset: int, ms: int | None = None, key: bytes = b"a", **fields: Any) -> FakeRecord:
    told = {"vibration": [offset / 8, 0.5, -1.0], "load": 2.0, "doors": [1, 0], **fields}
    value = json.dumps({name: value for name, value in told.items() if value is not None}).encode()
    return FakeRecord(0, offset, offset if ms is None else ms, key, value)


def offsets_of(audit: PartitionAudit) -> list[int]:
    return [audit.offset(row) for row in range(len(audit))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("forecast", {"de": 0.1, "nde": 0.2, "x": 0.3, "y": 0.4}),
        ("forecast", {"de": 0.1}),
        ("forecast", None),
        ("score", 9.0),
        ("score", None),
        ("alarm", None),
        ("raw", [0.1, 0.2, 0.3, 0.4]),
        ("raw", [np.nan, np.nan, np.nan, np.nan]),
        ("score", np.nan),
        ("raw", 0.1),
        ("classes", {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}),
        ("best", "z"),
        ("step", 7),
        ("timestamp_ms", 7),
        ("sequence", "other"),
        ("model", "0123456789ab"),
        ("gap", 3),
    ],
)
def test_an_output_that_was_altered_is_found(name: str, value: Any) -> None:
    audit = audit_of([sample(at) for at in range(4)])
    found = audit.expected(2)
    assert audit.differences(2, found) == {}

    off = audit.differences(2, msgspec.structs.replace(found, **{name: value}))

    assert list(off) == [name]
    assert off[name] > TOLERANCE


def test_an_alarm_that_was_altered_is_found() -> None:
    audit = audit_of([sample(at) for at in range(4)])
    found: Any = audit.expected(2)

    assert audit.differences(2, msgspec.structs.replace(found, alarm=not found.alarm)) == {"alarm": np.inf}


@pytest.mark.parametrize("name", ["load", "doors"])
def test_a_sequence_that_begins_without_a_held_field_gives_a_dead_letter_and_no_stream(name: str) -> None:
    audit = audit_of(
        [sample(0, **{name: None}), sample(1), sample(2, **{name: None}), sample(3, sequence="B", **{name: None})]
    )

    assert {at: letter.reason for at, letter in audit.letters.items()} == {0: "missing_field", 3: "missing_field"}
    assert offsets_of(audit) == [1, 2]


def test_a_record_that_lacks_a_field_leaves_a_stream_in_doubt_and_a_later_one_settles_it() -> None:
    names = "abbcd"
    records = [sample(10 + at, sequence=name, load=None if at == 2 else 1.0) for at, name in enumerate(names)]

    audit = audit_of(records, Scope(start=10, committed=ALL))

    assert [audit.is_judged(10 + at) for at in range(5)] == [False, False, False, False, True]


def test_a_record_that_lacks_a_field_settles_nothing_although_its_name_is_new() -> None:
    """It is refused, and the next record goes on with the sequence before it."""
    names = "aabbccdc"
    records = [sample(10 + at, sequence=name, load=None if at == 6 else 1.0) for at, name in enumerate(names)]

    audit = audit_of(records, Scope(start=10, committed=ALL))

    assert not any(audit.is_judged(10 + at) for at in range(len(names)))


def test_after_end_a_step_is_late() -> None:
    audit = audit_of([sample(0, sequence="A"), sample(1, sequence="A", end=True), sample(2, sequence="A")])

    assert {at: letter.reason for at, letter in audit.letters.items()} == {2: "late"}


def test_a_state_of_a_declared_task_that_differs_is_found() -> None:
    audit, table = stored([sample(at, step=at) for at in range(5)])
    offset, blob = heads_of(table, 0)[b"a"]
    state = StreamState()
    model, body = unpack_state(blob, state)
    assert blob[0] == 3, "a sample of another width than five"

    def problems(body: bytes = body, model: str = model, **fields: Any) -> list[str]:
        other = StreamState()
        unpack_state(blob, other)
        for name, value in fields.items():
            setattr(other, name, value)
        return state_problems(audit, b"a", offset, pack_state(other, model, body), lambda number: None) or []

    assert problems() == []
    for place in range(len(body) // 4):  # h, and what the outputs keep
        numbers = np.frombuffer(body, "<f4").copy()
        numbers[place] += 1.0
        assert f"at {place}: " in "".join(problems(numbers.tobytes()))
    assert problems(body[:-4])[0].startswith("its hidden state has ")
    assert problems(model="0123456789ab")[0].startswith("it was written by model ")
    for place in range(len(state.sample)):
        assert problems(sample=(*state.sample[:place], 0.125, *state.sample[place + 1 :]))[0].startswith("sample is ")
    assert problems(step=9)[0].startswith("step is 9")
    assert problems(closed=True)[0].startswith("closed is True")


def test_a_long_run_of_a_declared_task_is_stepped_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [sample(at, key=b"ab"[at % 2 : at % 2 + 1], step=at // 2) for at in range(40)]
    whole, table = stored(records)
    monkeypatch.setattr("core.audit.steps.BATCH_NUMBERS", 6 * pump()[0].width)

    parts, _ = stored(records)

    assert [whole.expected(row) for row in range(len(whole))] == [parts.expected(row) for row in range(len(parts))]
    assert problems_of(parts, table, 0) == {b"a": [], b"b": []}


# The functions.


ABOVE = Output("alarm", "y", apply="above", threshold=1.0, clear=0.5)


def test_an_alarm_right_at_its_threshold_may_be_on_or_off_on_another_machine_until_that_is_certain() -> None:
    numbers = np.array([0.0, 1.0 - NEAR / 2, 0.7, 0.4, 1.5, np.nan, 0.7])[:, None]

    found = applied(ABOVE, numbers, np.zeros((7, 1), np.float32))

    assert found.numbers[:, 0].tolist()[:5] == [0, 0, 0, 0, 1]
    assert np.isnan(found.numbers[5, 0])
    assert found.others is not None
    assert np.isnan(found.others[:, 0]).tolist() == [True, False, False, True, True, True, True]
    assert found.kept is not None
    assert found.kept[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.kept_others is not None
    np.testing.assert_array_equal(found.kept_others[:, 0], [np.nan, 1, 1, np.nan, np.nan, np.nan, np.nan])


def test_how_near_a_threshold_is_near_follows_the_scale_of_the_number() -> None:
    small = Output("alarm", "y", apply="above", threshold=1e-6, clear=1e-6)
    numbers = np.array([[2e-6]])

    found = [applied(small, numbers, np.zeros((1, 1), np.float32), scale).others for scale in (1.0, 1e-6)]

    assert [np.isnan(others).all() for others in found if others is not None] == [False, True]


def test_a_stored_alarm_may_be_either_where_its_number_is_right_at_the_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.audit.functions.NEAR", 1e3)  # so that every number is
    audit, table = stored([sample(at, step=at) for at in range(5)])
    offset, blob = heads_of(table, 0)[b"a"]
    state = StreamState()
    model, body = unpack_state(blob, state)

    def problems(place: int, value: float) -> list[str] | None:
        numbers = np.frombuffer(body, "<f4").copy()
        numbers[place] = value
        return state_problems(audit, b"a", offset, pack_state(state, model, numbers.tobytes()), lambda number: None)

    for alarm in (-1, -2):
        assert problems(alarm, 0.0) == problems(alarm, 1.0) == []
        assert problems(alarm, 0.5) != []


def test_outputs_of_a_millionth_are_judged_by_their_own_scale() -> None:
    arrays = weights(features=3, hidden=8, layers=1, outputs=1)
    arrays |= {name: arrays[name] * np.float32(1e-6) for name in ("fc.weight", "fc.bias")}
    values = {"name": "tiny", "kind": "step", "fields": {"x": {"length": 3}}, "model": {"file": "tiny.safetensors"}}
    task = declare(Path("tiny.toml"), values | {"outputs": {"y": {}}}, need_files=False)
    model = declared_steps(task, safetensors(arrays), "any")

    scales = scales_of_steps(task, model)

    assert 1e-7 < scales.tensors["y"] < 1e-5
    assert 0.1 < scales.state <= 1
    audit = StepAudit(task, SampleReader.of(task), model, stream_rules(), Scope(committed=ALL), scales)
    for at in range(3):
        audit.feed(at, at, b"a", json.dumps({"x": [at, 0.5, -at]}).encode(), ())
    audit.finish(9)
    found: Any = audit.expected(1)
    for factor, is_off in ((1.0, False), (1 + 1e-7, False), (1.05, True)):
        off = audit.differences(1, msgspec.structs.replace(found, y=found.y * factor))
        assert any(difference > TOLERANCE for difference in off.values()) == is_off


def test_either_of_two_labels_that_tie_is_right() -> None:
    label = Output("best", "y", apply="label", labels=("a", "b", "c"))
    numbers = np.array([[0.1, 2.0, 2.0 + 1e-7], [1.0, 2.0, 3.0], [np.nan, 1.0, 2.0]])

    found = applied(label, numbers, np.zeros((3, 1), np.float32))

    assert found.numbers[:2, 0].tolist() == [2, 2]
    assert np.isnan(found.numbers[2, 0])
    assert found.others is not None
    assert found.others[0, 0] == 1
    assert np.isnan(found.others[1, 0])


def test_no_other_label_is_right_beside_one_whose_number_is_infinite() -> None:
    label = Output("best", "y", apply="label", labels=("a", "b", "c"))

    found = applied(label, np.array([[np.inf, 1.0, 2.0]]), np.zeros((1, 1), np.float32))

    assert found.numbers.tolist() == [[0]]
    assert found.others is not None
    assert np.isnan(found.others).all()


def test_idle_streams_of_a_declared_task_begin_again() -> None:
    audit = audit_of([sample(0, 0, step=5), sample(1, IDLE_TIMEOUT_MS + 1, step=6)])

    assert [audit.expected(row).gap for row in range(2)] == [5, 6]  # type: ignore[attr-defined]
    assert [audit.expected(row).score for row in range(2)] == [None, None]  # type: ignore[attr-defined]
