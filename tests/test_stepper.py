"""SignalStepper against one record at a time, and through crashes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import ChunkResult, StreamRules
from core.engines.state import StreamState, unpack_state
from core.engines.stepper import SignalStepper
from core.models.fingerprint import fingerprint
from stream_app.flow.tables import PartitionedStore
from tests.changes import evict_all, take_changed
from tests.changes import plain as lists
from tests.reference import (
    CrashingWorker,
    SlowState,
    SlowWorker,
    assert_same_head,
    read_outputs,
    stored_rows,
    stream_rules,
)
from tests.strategies import (
    IDLE_TIMEOUT_MS,
    Event,
    FakeRecord,
    MemoryTable,
    cuts,
    feeds,
    relaxed,
    signal_model,
    signal_value,
)

SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)
POLICIES = st.sampled_from(("step", "hold", "reset"))


class SlowStepper(SlowWorker):
    """One nn.LSTM step per sample."""

    def blank(self) -> Any:
        return signal_model().init_hidden(1)

    def step(self, state: SlowState, sample: tuple[float, ...], event: Event | None, gap: int) -> None:
        model = signal_model()
        with torch.no_grad():
            output, state.memory = model.lstm(torch.tensor([[sample]]), state.memory)
            prediction = model.fc(output).item()
        if event is None:
            return
        fields = {"stream": event.stream[1].decode(), "sequence": state.sequence, "step": state.step}
        fields |= {"timestamp_ms": state.timestamp_ms, "prediction": prediction, "model": fingerprint(model)}
        self.outputs[*event.stream, state.offset, None] = fields | ({"gap": gap} if gap else {})


def make(
    table: MemoryTable | PartitionedStore | None = None, rules: StreamRules | None = None, **options: Any
) -> SignalStepper:
    """A stepper; of a changelog it gets what a recovery reads."""
    store = table if isinstance(table, PartitionedStore) else (table or MemoryTable()).recovered()
    return SignalStepper(signal_model(), rules or stream_rules(), store, **options)


def slowly(events: list[Event], rules: StreamRules) -> SlowStepper:
    slow = SlowStepper(rules)
    for event in events:
        slow.feed(event)
    return slow


def assert_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    assert expected | {"prediction": 0} == found | {"prediction": 0}
    assert expected["prediction"] == pytest.approx(found["prediction"], abs=1e-6)


def assert_same_states(slow: SlowWorker, table: MemoryTable) -> None:
    for place, blob in stored_rows(table).items():
        found, expected = StreamState(), slow.streams[place]
        _, body = unpack_state(blob, found)
        assert_same_head(expected, found)
        hidden = torch.stack(expected.memory).reshape(-1).numpy()
        np.testing.assert_allclose(hidden, np.frombuffer(body, "<f4"), atol=1e-6)


@relaxed
@given(data=st.data(), events=feeds(), policy=POLICIES)
def test_any_chunking_gives_what_one_record_at_a_time_gives(data: Any, events: list[Event], policy: str) -> None:
    rules, table = stream_rules(policy), MemoryTable()
    slow, stepper = slowly(events, rules), make(table, rules)

    results = [stepper.run([event.record for event in chunk]) for chunk in data.draw(cuts(events))]
    table.apply(take_changed(stepper, [0, 1]))

    found = [output for result in results for output in read_outputs(result.outputs)]
    assert sorted(slow.outputs) == sorted(output.identity for output in found)
    for output in found:
        assert_same(slow.outputs[output.identity], output.fields)
    assert_same_states(slow, table)
    assert len(slow.streams) == len(stored_rows(table)) == stepper.active()
    assert_same_counts(slow, results)


def assert_same_counts(slow: SlowWorker, results: list[ChunkResult]) -> None:
    def total(name: str) -> int:
        return sum(getattr(result.counts, name) for result in results)

    resets = sum((slow.resets.__class__(result.counts.resets) for result in results), slow.resets.__class__())
    assert slow.counts["processed"] == total("processed")
    assert slow.counts["late"] == total("late")
    assert slow.counts["gaps"] == total("gaps")
    assert slow.counts["duplicate"] == sum(result.counts.duplicates["step"] for result in results)
    assert slow.counts["dead"] == sum(len(result.dead_letters) for result in results)
    assert slow.resets == resets


@relaxed
@given(data=st.data(), events=feeds(), policy=POLICIES)
def test_crashes_lose_nothing_and_step_nothing_twice(data: Any, events: list[Event], policy: str) -> None:
    rules = stream_rules(policy)
    slow, worker = slowly(events, rules), CrashingWorker(lambda table: make(table, rules))

    worker.live(events, data.draw)

    assert slow.outputs.keys() == {output.identity for output in worker.published}
    for output in worker.published:
        assert_same(slow.outputs[output.identity], output.fields)
    assert_same_states(slow, worker.log)
    worker.end()
    assert stored_rows(worker.log) == {}
    assert worker.engine.active() == 0


@relaxed
@given(events=feeds(max_size=30))
def test_outputs_of_a_partition_stand_in_source_order(events: list[Event]) -> None:
    result = make().run([event.record for event in events])

    for rows in result.outputs.values():
        offsets = [offset for _, _, offset, _ in rows]
        assert sorted(offsets) == offsets
    assert {event.record.partition: event.record.offset + 1 for event in events} == result.ends


# What follows are single cases.


def plain(
    offset: int, key: bytes | None = b"a", partition: int = 0, ms: int | None = None, **fields: Any
) -> FakeRecord:
    return FakeRecord(partition, offset, offset if ms is None else ms, key, signal_value(SAMPLE, **fields))


def steps_of(result: ChunkResult) -> list[int]:
    return [output.fields["step"] for output in read_outputs(result.outputs)]


def test_a_dead_letter_keeps_key_value_and_headers_as_they_came() -> None:
    bad = FakeRecord(1, 7, None, b"\xff", b"value", (("content-type", b"text/csv"), ("trace", b"1")))

    (letter,) = make().run([bad]).dead_letters

    assert (1, 7, b"\xff", b"value", bad.headers) == (
        letter.partition,
        letter.offset,
        letter.key,
        letter.value,
        letter.headers,
    )
    assert letter.reason == "key_not_utf8"
    assert letter.timestamp_ms == -1


def test_a_stream_of_bad_records_only_leaves_nothing_behind() -> None:
    stepper = make()

    for offset in range(200):
        stepper.run([FakeRecord(0, offset, 0, b"garbage-%d" % offset, b"{")])

    assert stepper.active() == 0
    assert take_changed(stepper, [0]) == []
    assert stepper._used - 1 == len(stepper._free) == 1


def test_duplicates_and_dead_letters_do_not_touch_the_state() -> None:
    """Otherwise a wrong counter would keep its stream awake, and never heal."""
    stepper, table = make(), MemoryTable()
    stepper.run([plain(0, step=5, ms=0)])
    table.apply(take_changed(stepper, [0]))

    counts = stepper.run([plain(1, step=5, ms=400), plain(2, step=900, ms=900)]).counts

    assert counts.duplicates == {"offset": 0, "step": 1}
    assert take_changed(stepper, [0]) == []
    assert steps_of(stepper.run([plain(3, step=1, ms=IDLE_TIMEOUT_MS + 1)])) == [1]


def test_a_changed_state_is_taken_once() -> None:
    stepper = make()
    stepper.run([plain(0), plain(1, b"b", partition=1), plain(2)])

    (change,) = take_changed(stepper, [0])

    assert (change.partition, change.source_offset, [key for key, _ in change.records]) == (0, 2, [b"a"])
    assert take_changed(stepper, [0]) == []
    assert len(take_changed(stepper, [1])) == 1


def test_dropped_partitions_are_read_from_the_table_again() -> None:
    table, store = MemoryTable(), PartitionedStore()
    stepper = make(store)
    stepper.run([plain(0, step=0), plain(1, step=1), plain(1, b"b", 1, step=0)])
    table.apply(take_changed(stepper, [0, 1]))
    stepper.run([plain(2, step=2)])

    stepper.drop([0])
    table.fill(store)

    assert stepper.active() == 1
    assert {stream.partition for streams in stepper._streams.values() for stream in streams.values()} == {1}
    assert take_changed(stepper, [0]) == []
    again = stepper.run([plain(1, step=1), plain(2, step=2)])
    assert again.counts.duplicates["offset"] == 1
    assert steps_of(again) == [2]


def test_memory_of_hidden_states_grows_and_is_used_again() -> None:
    stepper, slow = make(), SlowStepper(stream_rules())
    events = [Event(plain(i, b"%d" % (i % 200), step=i // 200), "", i // 200, i, SAMPLE) for i in range(600)]
    for event in events:
        slow.feed(event)

    found = []
    for start in range(0, 600, 150):
        found += read_outputs(stepper.run([event.record for event in events[start : start + 150]]).outputs)

    for output in found:
        assert_same(slow.outputs[output.identity], output.fields)
    assert stepper._used == 201
    stepper.drop([0])
    stepper.run([event.record for event in events])
    assert stepper._used == 201


def test_one_long_backlog_beside_many_short_ones() -> None:
    records = [plain(i, b"long", step=i) for i in range(3_000)]
    records[100:100] = [plain(i, b"%d" % i, 1, step=0) for i in range(300)]

    result = make().run(records)

    alone = read_outputs(make().run([plain(0, b"7", step=0)]).outputs)[0].fields["prediction"]
    short = [output.fields["prediction"] for output in read_outputs({1: result.outputs[1]})]
    assert result.counts.batch_streams == 301
    assert result.counts.batch_steps == 3_300
    np.testing.assert_allclose(short, alone, atol=1e-6)


def test_a_key_in_a_second_partition_is_counted_once_and_has_a_state_of_its_own() -> None:
    stepper = make()

    first = stepper.run([plain(0, step=0), plain(0, partition=1, step=0), plain(1, step=1)])
    second = stepper.run([plain(2, step=2), plain(1, partition=1, step=1), plain(0, partition=2, step=0)])

    assert first.moved == [(b"a", 0, 1)]
    assert (first.counts.moved, second.counts.moved) == (1, 0)
    assert stepper.active() == 3
    predictions = [output.fields["prediction"] for output in read_outputs(first.outputs)]
    assert predictions[0] == pytest.approx(predictions[2], abs=1e-6)


@pytest.mark.parametrize(
    ("damage", "reason"), [(lambda blob: blob[:-1] + b"\x00\x01", "corrupt_state"), (lambda blob: b"", "corrupt_state")]
)
def test_a_damaged_state_counts_as_none(damage: Any, reason: str) -> None:
    table = MemoryTable()
    stepper = make(table)
    stepper.run([plain(0, step=0), plain(1, step=1)])
    table.apply(take_changed(stepper, [0]))
    table.rows[0][b"a"] = (1, damage(table.rows[0][b"a"][1]))

    result = make(table).run([plain(2, step=2)])

    fresh = make().run([plain(2, step=2)])
    assert {reason: 1} == result.counts.resets
    assert lists(fresh) == lists(result)
    assert evict_all(make(table), 0, 99).tombstones == []


def test_another_model_s_state_keeps_its_place_but_not_its_memory() -> None:
    table = MemoryTable()
    old = SignalStepper(signal_model(seed=1), stream_rules(), PartitionedStore())
    old.run([plain(0, step=0, sequence="A"), plain(1, step=1, sequence="A")])
    table.apply(take_changed(old, [0]))

    stepper = make(table)
    stepper.run([plain(0, b"z", partition=1)])
    stepper.drop([1])  # its row of hidden states is used again, and is not zero
    result = stepper.run([plain(1, step=1, sequence="A"), plain(2, step=2, sequence="A")])

    assert result.counts.resets == {"model": 1}
    assert result.counts.duplicates["offset"] == 1
    (fields,) = [output.fields for output in read_outputs(result.outputs)]
    at_zeros = read_outputs(make().run([plain(0, step=0)]).outputs)[0].fields["prediction"]
    assert (fields["step"], fields["sequence"]) == (2, "A")
    assert "gap" not in fields
    assert fields["prediction"] == pytest.approx(at_zeros, abs=1e-6)


def test_a_stream_is_evicted_where_its_last_record_is_old_enough() -> None:
    table = MemoryTable()
    stepper = make(table)
    stepper.run([plain(0, b"a"), plain(1, b"b"), plain(2, b"c"), plain(3, b"a", step=1)])
    table.apply(take_changed(stepper, [0]))

    assert evict_all(stepper, 0, before=1).tombstones == []
    evicted = evict_all(stepper, 0, before=2)

    assert [(change.source_offset, change.records) for change in evicted.tombstones] == [(1, [(b"b", None)])]
    assert evicted.outputs == {}
    assert stepper.active() == 2
    assert [change.records[0][0] for change in evict_all(stepper, 0, before=4).tombstones] == [b"c", b"a"]
    assert take_changed(stepper, [0]) == []


def test_a_state_in_the_table_alone_is_evicted_too() -> None:
    table = MemoryTable()
    before = make(table)
    before.run([plain(0, b"a"), plain(1, b"b")])
    table.apply(take_changed(before, [0]))
    stepper = make(table)

    assert evict_all(stepper, 0, before=0).tombstones == []
    assert [change.records[0][0] for change in evict_all(stepper, 0, before=1).tombstones] == [b"a"]
    assert evict_all(stepper, 0, before=1).tombstones == []
    assert [change.records[0][0] for change in evict_all(stepper, 0, before=2).tombstones] == [b"b"]


def test_the_table_is_not_read_while_nothing_in_it_can_be_due() -> None:
    class CountingStore(PartitionedStore):
        reads = 0

        def keys(self, partition: int) -> Any:
            self.reads += 1
            return super().keys(partition)

    table, store = MemoryTable(), CountingStore()
    engine = make()
    engine.run([plain(7)])
    table.apply(take_changed(engine, [0]))
    table.fill(store)
    stepper = make(store)

    for before in range(8):
        evict_all(stepper, 0, before)

    assert store.reads == 1
    stepper.drop([0])
    evict_all(stepper, 0, 0)
    assert store.reads == 2


def test_a_stream_that_is_met_after_a_look_at_an_empty_partition_is_evicted_in_its_turn() -> None:
    """Where nobody can be idle nobody is looked at: streams that come later must not be forgotten for ever."""
    stepper = make()
    assert evict_all(stepper, 0, before=5).tombstones == []

    stepper.run([plain(5, b"a")])

    assert evict_all(stepper, 0, before=5).tombstones == []
    assert [change.records[0][0] for change in evict_all(stepper, 0, before=6).tombstones] == [b"a"]


def test_a_stream_that_comes_back_before_its_tombstone_is_stored_starts_anew() -> None:
    table = MemoryTable()
    stepper = make(table)
    stepper.run([plain(0, step=0, ms=0), plain(1, step=1, ms=1)])
    table.apply(take_changed(stepper, [0]))
    tombstones = evict_all(stepper, 0, 2).tombstones

    result = stepper.run([plain(2, step=0, ms=2)])

    assert steps_of(result) == [0]
    table.apply([*tombstones, *take_changed(stepper, [0])])
    assert steps_of(make(table).run([plain(3, step=1, ms=3)])) == [1]


def test_msgpack_outputs_hold_the_same_fields() -> None:
    (packed,) = make(output_format="msgpack").run([plain(0)]).outputs[0]
    (text,) = make().run([plain(0)]).outputs[0]

    expected, found = msgspec.json.decode(text[1]), msgspec.msgpack.decode(packed[1])
    # JSON has the shortest text that gives the same float32 again.
    assert expected | {"prediction": float(np.float32(expected["prediction"]))} == found


def test_stage_times_come_from_the_clock_of_the_shell() -> None:
    ticks = iter(range(100))

    result = make(clock=lambda: float(next(ticks))).run([plain(0)])

    assert (result.decode_s, result.infer_s) == (1.0, 1.0)
    assert make().run([plain(0)]).infer_s == 0.0


def test_a_record_without_timestamp_is_stepped() -> None:
    record = FakeRecord(0, 0, None, b"a", signal_value(SAMPLE))

    (output,) = read_outputs(make().run([record]).outputs)

    assert output.fields["timestamp_ms"] == -1


def test_warming_up_changes_nothing() -> None:
    warm = make()
    warm.warm_up()

    assert lists(make().run([plain(0)])) == lists(warm.run([plain(0)]))


def test_an_empty_chunk_gives_nothing() -> None:
    result = make().run([])

    assert (result.outputs, result.dead_letters, result.ends) == ({}, [], {})
