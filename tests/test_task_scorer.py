"""A declared window task: any chunks and crashes give what one sample after the other gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.engines.results import ChunkResult, StreamRules, WindowRules
from core.engines.window_engine import WindowEngine
from core.native.records import Record
from stream_app.flow.tables import PartitionedStore
from tests.changes import evict_all, take_changed
from tests.motion import DECLARATION, LABELS, WINDOW, SlowMotion, assert_same, model_of, window_outputs, write_motion
from tests.reference import LAST_OF_ALL_MS, CrashingWorker, Published, read_outputs, stored_rows, stream_rules
from tests.strategies import IDLE_TIMEOUT_MS, Event, MemoryTable, cuts, examples, feeds

POLICIES = st.sampled_from(("step", "hold", "reset"))


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion(tmp_path_factory.mktemp("motion"))


def scorer_of(
    path: Path,
    table: MemoryTable | PartitionedStore | None = None,
    rules: StreamRules | None = None,
    output_format: str = "json",
    windows: WindowRules = WINDOW,
    deferred: bool = False,
) -> WindowEngine:
    store = table if isinstance(table, PartitionedStore) else (table or MemoryTable()).recovered()
    return WindowEngine(model_of(path).task, rules or stream_rules(), windows, store, output_format, deferred=deferred)


def of_motion(event: Event) -> Event:
    """The same event of a wearable: six numbers, now and then under another name."""
    if event.sample is None:
        return event
    head, *rest = event.sample
    sample = (head, rest[0], rest[1], rest[2], rest[3], 2 * head)
    codec: Any = msgspec.msgpack if event.record.headers else msgspec.json
    fields = {
        name: value
        for name, value in codec.decode(event.record.value).items()
        if name in ("sequence", "step", "timestamp_ms", "end", "surplus")
    }
    name = "acc" if event.record.offset % 5 == 0 else "acceleration"
    fields |= {name: sample[:3], "rotation": sample[3:5], "load": sample[5]}
    return replace(event, sample=sample, record=replace(event.record, value=codec.encode(fields)))


motions = feeds(casts=True).map(lambda events: [of_motion(event) for event in events])


def slowly(path: Path, events: list[Event], rules: StreamRules) -> SlowMotion:
    slow = SlowMotion(path, rules)
    for event in events:
        slow.feed(event)
    return slow


def assert_same_outputs(slow: SlowMotion, found: list[Published]) -> None:
    for output in found:
        assert_same(output.fields, slow.outputs[output.identity])


@examples(25)
@given(data=st.data(), events=motions, policy=POLICIES)
def test_any_chunking_gives_what_one_record_at_a_time_gives(
    path: Path, data: st.DataObject, events: list[Event], policy: str
) -> None:
    rules = stream_rules(policy)
    slow, scorer = slowly(path, events, rules), scorer_of(path, rules=rules)

    found = []
    for chunk in data.draw(cuts(events)):
        found += read_outputs(scorer.run([event.record for event in chunk]).outputs)

    assert sorted(slow.outputs) == sorted(output.identity for output in found)
    assert_same_outputs(slow, found)


@examples(25)
@given(data=st.data(), events=motions, policy=POLICIES)
def test_crashes_lose_no_sample_and_no_output(
    path: Path, data: st.DataObject, events: list[Event], policy: str
) -> None:
    rules = stream_rules(policy)
    slow, worker = slowly(path, events, rules), CrashingWorker(lambda table: scorer_of(path, table, rules))

    worker.live(events, data.draw)

    worker.end()
    for stream, state in slow.streams.items():
        if not state.closed:
            slow.conclude(stream, state)
    assert slow.outputs.keys() == {output.identity for output in worker.published}
    assert_same_outputs(slow, worker.published)
    assert stored_rows(worker.log) == {}, "something would stay in the table for ever"


# What follows are single cases.


def record(offset: int, step: int, level: float = 1.0, key: bytes = b"wrist", **more: Any) -> Record:
    sample = {"acceleration": [level, 0.5, step / 16], "rotation": [0.25, 0], "load": 2.0, "step": step}
    value = json.dumps({name: each for name, each in (sample | more).items() if each is not None}).encode()
    return Record(0, offset, 1_700_000_000_000 + offset, key, value)


def outputs_of(result: ChunkResult) -> list[dict[str, Any]]:
    assert not result.dead_letters
    return [output.fields for output in read_outputs(result.outputs)]


def test_an_output_published_twice_is_the_same_in_any_company(path: Path) -> None:
    """The second time other windows are scored with it, as after a crash."""
    alone = scorer_of(path).run([record(step, step, 1.5) for step in range(9)]).outputs[0]
    others = [record(9 * n + step, step, n / 7, b"wrist-%d" % n) for n in range(1, 40) for step in range(9)]

    together = scorer_of(path).run([*(record(step, step, 1.5) for step in range(9)), *others]).outputs[0]

    assert [row for row in together if row[0] == b"wrist"] == list(alone)


def test_messagepack_holds_the_same_fields(path: Path) -> None:
    records = [record(step, step, end=step == 8) for step in range(9)]

    (_, *_, (_, packed, _, _)) = scorer_of(path, output_format="msgpack").run(records).outputs[0]
    expected = outputs_of(scorer_of(path).run(records))[-1]

    found = msgspec.msgpack.decode(packed)
    assert found["final"] is True
    assert_same(found, expected)


def test_a_missing_field_is_held_in_the_window(path: Path) -> None:
    result = scorer_of(path).run([record(step, step, load=None if step else 3.0) for step in range(4)])

    samples = [(1.0, 0.5, step / 16, 0.25, 0.0, 3.0) for step in range(4)]
    (found,) = outputs_of(result)
    assert {name: found[name] for name in ("activity", "peak", "alarm")} == {
        name: value
        for name, value in window_outputs(path, samples, range(4)).items()
        if name in ("activity", "peak", "alarm")
    }
    assert result.counts.held == {"load": 3}


def test_what_is_outside_of_normal_is_counted_and_told_once(path: Path) -> None:
    result = scorer_of(path).run([record(step, step, 2.5) for step in range(3)])

    assert result.counts.far_outside == {"acceleration": 3}
    assert len(result.notes) == 1
    assert result.notes[0].startswith("acceleration of stream 'wrist' at step 0 is [2.5, 0.5, 0]")


def test_a_model_that_gives_no_number_is_published_as_null_with_a_reason(tmp_path: Path) -> None:
    """The model overflows on what its fields allow."""
    text = DECLARATION.replace("normal = [-2, 2]", "range = [-1e38, 1e38]")
    path = write_motion(tmp_path, declaration=text, size=4.0)

    result = scorer_of(path).run([record(step, step, 1e38 if step == 3 else 1.0) for step in range(4)])

    (found,) = outputs_of(result)
    assert found["reason"] == "not_finite"
    assert found["odds"] == dict.fromkeys(LABELS)
    assert (found["activity"], found["apart"], found["peak"]) == (None, None, None)
    assert (result.counts.not_finite, result.counts.scores) == (1, {False: 1, True: 0})
    assert [note.split(" of ")[0] for note in result.notes] == ["the odds"]


def test_windows_go_on_under_another_model(path: Path, tmp_path: Path) -> None:
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step) for step in range(3)])
    table.apply(take_changed(old, [0]))
    other = write_motion(tmp_path, declaration=DECLARATION.replace("threshold = 1.0", "threshold = 2.0"))

    result = scorer_of(other, table).run([record(3, 3)])

    (found,) = outputs_of(result)
    assert (found["start"], found["length"], result.counts.resets) == (0, 4, {})
    assert found["model"] == model_of(other).fingerprint != model_of(path).fingerprint


def wider(folder: Path) -> Path:
    """The task with one more number in its samples."""
    return write_motion(folder, declaration=DECLARATION.replace("[model]", "[fields.more]\n[model]"), features=7)


def test_a_window_of_as_many_numbers_of_other_fields_begins_anew(path: Path, tmp_path: Path) -> None:
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step) for step in range(5)])
    table.apply(take_changed(old, [0]))
    renamed = write_motion(tmp_path, declaration=DECLARATION.replace("load = {", "weight = {"))

    result = scorer_of(renamed, table).run([record(5 + step, 5 + step, weight=1.0) for step in range(4)])

    assert result.counts.resets == {"model": 1}
    assert [(found["start"], found["length"]) for found in outputs_of(result)] == [(5, 4)]


@pytest.mark.parametrize("ended", [False, True])
def test_a_window_of_other_fields_begins_anew_and_is_counted(path: Path, tmp_path: Path, ended: bool) -> None:
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step, end=ended and step == 4) for step in range(5)])
    table.apply(take_changed(old, [0]))
    changed = scorer_of(wider(tmp_path), table)

    first = changed.run([record(4, 4, more=1.0), record(5, 5, more=1.0, sequence="B" if ended else "")])
    table.apply(take_changed(changed, [0]))
    again = scorer_of(wider(tmp_path), table)
    rest = again.run([record(step, step, more=1.0, sequence="B" if ended else "") for step in range(6, 9)])

    assert first.counts.duplicates["offset"] == 1  # what was applied is not applied again
    assert first.counts.resets["model"] == 1
    assert [(found["start"], found["length"]) for found in outputs_of(rest)] == [(5, 4)]
    table.apply(take_changed(again, [0]))
    assert [table.get(0, key) is None for key, _ in table.items(0)].count(True) == 0


def test_a_stream_that_lost_its_window_to_other_fields_ends_without_samples(path: Path, tmp_path: Path) -> None:
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step) for step in range(5)])
    table.apply(take_changed(old, [0]))

    gone = evict_all(scorer_of(wider(tmp_path), table), 0, 5, LAST_OF_ALL_MS)

    ((_, value, offset, _),) = gone.outputs[0]
    found = json.loads(value)
    assert (found["step"], found["start"], found["length"], offset) == (4, 4, 0, 4)
    assert (found["final"], found["reason"]) == (True, "too_short")
    table.apply(gone.tombstones)
    assert stored_rows(table) == {}


def test_longer_windows_than_were_kept_wait_until_they_are_full(path: Path, tmp_path: Path) -> None:
    """A graph of one length could not take the shorter ones."""
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step) for step in range(20)])
    table.apply(take_changed(old, [0]))
    longer = WindowRules(window_length=14, window_min=14, hop=1)
    fixed = write_motion(tmp_path, longer, time=14)

    found = outputs_of(scorer_of(fixed, table, windows=longer).run([record(step, step) for step in range(20, 28)]))

    assert [each["length"] for each in found] == [11, 12, 13, 14, 14, 14, 14, 14]
    assert [each.get("reason") for each in found] == ["too_short"] * 3 + [None] * 5


def test_a_narrower_range_refuses_no_window_that_was_kept(path: Path, tmp_path: Path) -> None:
    table = MemoryTable()
    old = scorer_of(path, table)
    old.run([record(step, step, 9.0) for step in range(3)])
    table.apply(take_changed(old, [0]))
    narrow = write_motion(tmp_path, declaration=DECLARATION.replace("normal = [-2, 2]", "range = [-2, 2]"))

    result = scorer_of(narrow, table).run([record(3, 3)])

    assert result.counts.resets == {}
    assert outputs_of(result)[0]["length"] == 4


def test_deferred_outputs_are_those_of_their_chunk(path: Path) -> None:
    records = [record(step, step, end=step == 7) for step in range(8)]
    expected = scorer_of(path).run(records)

    result = scorer_of(path, deferred=True).run(records)
    deferred = result.deferred
    assert deferred is not None
    assert (deferred.windows, result.outputs) == (3, {})
    deferred.compute()
    deferred.finish(result)

    assert list(result.outputs[0]) == list(expected.outputs[0])


def test_warming_up_takes_the_shortest_and_the_longest_windows(path: Path) -> None:
    scorer_of(path).warm_up()


def test_an_idle_stream_gives_its_final_output(path: Path) -> None:
    scorer = scorer_of(path)
    scorer.run([record(step, step) for step in range(5)])

    gone = evict_all(scorer, 0, 5, 1_700_000_000_004 + IDLE_TIMEOUT_MS + 5_001)

    ((_, value, _, _),) = gone.outputs[0]
    assert json.loads(value)["final"] is True
    assert np.isfinite(json.loads(value)["apart"])
