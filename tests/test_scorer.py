"""CastScorer against one record at a time, and its windows through crashes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import ChunkResult, StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.state import StreamState, unpack_state
from core.engines.table_keys import HEAD, segment_key
from core.engines.windows import unpack_body
from core.models.fingerprint import fingerprint
from stream_app.flow.tables import PartitionedStore
from tests.changes import evict_all, take_changed
from tests.reference import (
    LAST_OF_ALL_MS,
    CrashingWorker,
    SlowState,
    SlowWorker,
    WatchedTable,
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
    casting_value,
    cuts,
    defect_model,
    feeds,
    relaxed,
)

WINDOWS = WindowRules(window_length=9, window_min=4, hop=3, segment=2)
POLICIES = st.sampled_from(("step", "hold", "reset"))


class SlowScorer(SlowWorker):
    """Keeps every sample of a cast and runs the model on one window at a time."""

    def blank(self) -> Any:
        return []

    def step(self, state: SlowState, sample: tuple[float, ...], event: Event | None, gap: int) -> None:
        state.memory.append((state.step, sample))
        if event is None:
            return
        count = len(state.memory)
        if event.end:
            self.conclude(event.stream, state)
            state.closed = True
        elif count >= WINDOWS.window_min and (count - WINDOWS.window_min) % WINDOWS.hop == 0:
            self.score(event.stream, state, final=False)

    def conclude(self, stream: tuple[int, bytes], state: SlowState) -> None:
        self.score(stream, state, final=True)

    def score(self, stream: tuple[int, bytes], state: SlowState, final: bool) -> None:
        window = state.memory[-WINDOWS.window_length :]
        fields = {"stream": stream[1].decode(), "sequence": state.sequence, "step": state.step}
        fields |= {"start": window[0][0], "length": len(window), "timestamp_ms": state.timestamp_ms, "final": final}
        fields |= {"probability": None, "attention_peak": None, "model": fingerprint(defect_model())}
        if len(state.memory) < WINDOWS.window_min:
            fields["reason"] = "too_short"
        else:
            model = defect_model()
            with torch.no_grad():
                logit = model(torch.tensor([[sample for _, sample in window]]))
                attention = model.get_attention_weights()[0]
            fields["probability"] = torch.sigmoid(logit).item()
            fields["attention_peak"] = {
                step: float(weight) for (step, _), weight in zip(window, attention, strict=True)
            }
        self.outputs[*stream, state.offset, final] = fields


def make(
    table: MemoryTable | PartitionedStore | None = None,
    rules: StreamRules | None = None,
    windows: WindowRules = WINDOWS,
) -> CastScorer:
    """A scorer; of a changelog it gets what a recovery reads."""
    store = table if isinstance(table, PartitionedStore) else (table or MemoryTable()).recovered()
    return CastScorer(defect_model(), rules or stream_rules(), windows, store)


def slowly(events: list[Event], rules: StreamRules) -> SlowScorer:
    slow = SlowScorer(rules)
    for event in events:
        slow.feed(event)
    return slow


def assert_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    loose = {"probability": 0, "attention_peak": 0}
    assert expected | loose == found | loose
    assert expected["probability"] == pytest.approx(found["probability"], abs=1e-6)
    weights = expected["attention_peak"]
    if weights is None:
        assert found["attention_peak"] is None
    else:
        assert weights[found["attention_peak"]] == pytest.approx(max(weights.values()), abs=1e-5)


def assert_same_states(slow: SlowScorer, table: MemoryTable) -> None:
    for (partition, table_key), blob in stored_rows(table).items():
        if table_key[:1] != HEAD:
            continue
        key = table_key[1:]
        found, expected = StreamState(), slow.streams[partition, key]
        _, body = unpack_state(blob, found)
        assert_same_head(expected, found)
        window = unpack_body(body, found.step, WINDOWS, segments_of(table, partition, key))
        if expected.closed:
            assert window.segments == []
        else:
            samples = expected.memory[-WINDOWS.window_length :]
            assert len(expected.memory) == window.count
            assert [step for step, _ in samples] == window.view().steps.tolist()
            assert [sample for _, sample in samples] == [tuple(row) for row in window.view().samples.tolist()]


def segments_of(table: MemoryTable, partition: int, key: bytes) -> Any:
    return lambda number: table.get(partition, segment_key(key, number))


@relaxed
@given(data=st.data(), events=feeds(casts=True), policy=POLICIES)
def test_any_chunking_gives_what_one_record_at_a_time_gives(data: Any, events: list[Event], policy: str) -> None:
    rules, table = stream_rules(policy), MemoryTable()
    slow, scorer = slowly(events, rules), make(table, rules)

    found = []
    for chunk in data.draw(cuts(events)):
        result = scorer.run([event.record for event in chunk])
        found += read_outputs(result.outputs)
        assert len(result.counts.probabilities) == result.counts.batch_streams
    table.apply(take_changed(scorer, [0, 1]))

    assert sorted(slow.outputs) == sorted(output.identity for output in found)
    for output in found:
        assert_same(slow.outputs[output.identity], output.fields)
    assert_same_states(slow, table)


@relaxed
@given(events=feeds(casts=True))
def test_scores_of_a_stream_stand_in_step_order(events: list[Event]) -> None:
    result = make().run([event.record for event in events])

    places: dict[tuple[int, bytes], tuple[int, bool]] = {}
    for output in read_outputs(result.outputs):
        place = (output.source_offset, output.fields["final"])
        assert place > places.get((output.partition, output.key), (-1, False))
        places[output.partition, output.key] = place
    assert sum(result.counts.scores.values()) == sum(map(len, result.outputs.values()))


@relaxed
@given(data=st.data(), events=feeds(casts=True), policy=POLICIES)
def test_crashes_lose_no_sample_and_no_score(data: Any, events: list[Event], policy: str) -> None:
    rules = stream_rules(policy)
    slow, worker = slowly(events, rules), CrashingWorker(lambda table: make(table, rules))
    worker.log = WatchedTable()

    worker.live(events, data.draw)

    assert_same_states(slow, worker.log)
    worker.end()
    for stream, state in slow.streams.items():
        if not state.closed:
            slow.conclude(stream, state)
    assert slow.outputs.keys() == {output.identity for output in worker.published}
    for output in worker.published:
        assert_same(slow.outputs[output.identity], output.fields)
    assert stored_rows(worker.log) == {}, "something would stay in the table for ever"


# What follows are single cases.

SAMPLE = (1.0, 2.0, 3.0, 4.0, 5.0)


def plain(offset: int, key: bytes = b"a", partition: int = 0, ms: int | None = None, **fields: Any) -> FakeRecord:
    return FakeRecord(partition, offset, offset if ms is None else ms, key, casting_value(SAMPLE, **fields))


def cast(samples: int, sequence: str = "A", first_offset: int = 0, end: bool = False) -> list[FakeRecord]:
    """Records of one cast, steps from 0."""
    records = [plain(first_offset + step, sequence=sequence, step=step) for step in range(samples)]
    if end:
        last = first_offset + samples - 1
        records[-1] = plain(last, sequence=sequence, step=samples - 1, end=True)
    return records


def brief(result: ChunkResult) -> list[tuple[str, int, int, bool]]:
    return [
        (output.fields["sequence"], output.fields["start"], output.fields["step"], output.fields["final"])
        for output in read_outputs(result.outputs)
    ]


def test_scores_come_at_the_minimum_every_hop_and_at_the_end() -> None:
    """Window 9, first at 4 samples, hop 3.

    step   0 1 2 3 4 5 6 7 8 9 10 11
    score        x     x     x     F
    """
    assert brief(make().run(cast(12, end=True))) == [
        ("A", 0, 3, False),
        ("A", 0, 6, False),
        ("A", 1, 9, False),
        ("A", 3, 11, True),
    ]


def test_a_final_score_replaces_the_hop_score_of_its_step() -> None:
    result = make().run(cast(7, end=True))

    assert brief(result) == [("A", 0, 3, False), ("A", 0, 6, True)]
    assert result.counts.scores == {False: 1, True: 1}


def test_a_new_sequence_gives_the_final_score_also_after_a_hop_score() -> None:
    result = make().run([*cast(4), *cast(1, "B", 10)])

    assert brief(result) == [("A", 0, 3, False), ("A", 0, 3, True)]
    (_, final) = result.outputs[0]
    assert (final[2], final[3]) == (3, 10)  # its own source offset; the append time of the record that caused it


def test_a_short_cast_says_that_it_is_too_short() -> None:
    (output,) = read_outputs(make().run(cast(3, end=True)).outputs)

    assert tuple(output.fields[name] for name in ("probability", "attention_peak", "reason")) == (
        None,
        None,
        "too_short",
    )
    assert tuple(output.fields[name] for name in ("start", "length", "step")) == (0, 3, 2)


def test_what_follows_an_ended_cast_is_late_until_another_begins() -> None:
    result = make().run([*cast(5, end=True), plain(5, sequence="A", step=5), *cast(1, "B", 6), plain(7, sequence="A")])

    assert [letter.reason for letter in result.dead_letters] == ["late", "late"]
    assert result.counts.late == 2
    assert result.counts.scores[True] == 1


def test_an_idle_cast_is_concluded_by_its_next_record_with_its_own_last_sample() -> None:
    scorer = make()
    scorer.run(cast(5))

    result = scorer.run([plain(9, sequence="A", step=5, ms=4 + IDLE_TIMEOUT_MS + 1)])

    assert brief(result) == [("A", 0, 4, True)]
    assert result.outputs[0][0][2] == 4
    assert result.counts.resets == {"idle": 1}
    assert result.counts.gaps == 1  # as a stream without state: the cast begins anew at step 5


def test_held_samples_fill_the_window_and_publish_nothing() -> None:
    scorer = make(rules=stream_rules("hold"))

    result = scorer.run([*cast(2), plain(2, sequence="A", step=5), plain(3, sequence="A", step=6)])

    # Counts 3, 4, 5 were held samples and the record of step 5: the score due at 4 is not published.
    assert brief(result) == [("A", 0, 6, False)]
    assert read_outputs(result.outputs)[0].fields["length"] == 7


def test_a_gap_that_resets_empties_the_window() -> None:
    scorer = make(rules=stream_rules("reset"))

    result = scorer.run([*cast(5), *(plain(5 + i, sequence="A", step=10 + i) for i in range(4))])

    assert brief(result) == [("A", 0, 3, False), ("A", 10, 13, False)]
    assert result.counts.resets == {"gap": 1}


def test_a_commit_writes_the_head_and_the_changed_segments_together() -> None:
    scorer = make()
    scorer.run(cast(5))
    (first,) = take_changed(scorer, [0])
    scorer.run([plain(5, sequence="A", step=5)])
    (second,) = take_changed(scorer, [0])

    keys = [segment_key(b"a", 0), segment_key(b"a", 2), segment_key(b"a", 4), b"ha"]
    assert keys == [key for key, _ in first.records]
    assert [segment_key(b"a", 4), b"ha"] == [key for key, _ in second.records]
    assert (first.source_offset, second.source_offset) == (4, 5)


def test_a_segment_s_tombstone_follows_one_commit_after_the_head_without_it() -> None:
    scorer = make()
    scorer.run(cast(4))
    take_changed(scorer, [0])

    scorer.run([plain(4, sequence="A", step=4, end=True)])
    (closing,) = take_changed(scorer, [0])
    (after,) = take_changed(scorer, [0])

    assert [key for key, _ in closing.records] == [b"ha"]
    tombstones = [(segment_key(b"a", 0), None), (segment_key(b"a", 2), None), (segment_key(b"a", 4), None)]
    # Segment 4 was never written: its sample came and went between two commits. A tombstone too many does no harm.
    assert tombstones[:2] == after.records[:2]
    assert after.source_offset == 4
    assert take_changed(scorer, [0]) == []


def test_segments_that_no_head_names_are_cleared_away() -> None:
    """A crash between the commit that wrote a head and the one with the tombstones leaves some."""
    table = MemoryTable()
    scorer = make(table)
    scorer.run(cast(4))
    table.apply(take_changed(scorer, [0]))
    scorer.run([plain(4, sequence="A", step=4, end=True)])
    table.apply(take_changed(scorer, [0]))

    scorer = make(table)
    scorer.run(cast(1, "B", 5))
    table.apply(take_changed(scorer, [0]))
    assert len(stored_rows(table)) == 4  # head, its new segment, two of the old cast
    table.apply(take_changed(scorer, [0]))

    assert {(0, b"ha"), (0, segment_key(b"a", 5))} == stored_rows(table).keys()


def test_a_long_cast_leaves_only_its_window_in_the_table() -> None:
    table = WatchedTable()
    scorer = make(table)
    for record in cast(60):
        scorer.run([record])
        table.apply(take_changed(scorer, [0]))
        # Window 9 in segments of 2: at most five that it needs, the one just left, and the head.
        assert len(stored_rows(table)) <= 7

    table.apply(evict_all(scorer, 0, 99).tombstones)

    assert stored_rows(table) == {}


def test_a_segment_made_again_after_a_lost_head_is_not_cleared_away() -> None:
    table = MemoryTable()
    scorer = make(table)
    scorer.run(cast(5))
    table.apply(take_changed(scorer, [0]))
    table.rows[0][b"ha"] = (4, b"damaged")

    scorer = make(table)
    scorer.run(cast(5))  # nothing was committed: the same records again
    for _ in range(3):
        table.apply(take_changed(scorer, [0]))

    assert brief(make(table).run(cast(7))) == [("A", 0, 6, False)]


def test_a_missing_segment_makes_the_state_count_as_none() -> None:
    table = MemoryTable()
    scorer = make(table)
    scorer.run(cast(5))
    table.apply(take_changed(scorer, [0]))
    del table.rows[0][segment_key(b"a", 2)]

    scorer = make(table)
    result = scorer.run([plain(5, sequence="A", step=5)])

    assert result.counts.resets == {"corrupt_state": 1}
    assert result.counts.gaps == 1  # nothing is left of the steps before
    table.apply(take_changed(scorer, [0]))
    table.apply(take_changed(scorer, [0]))
    assert {(0, b"ha"), (0, segment_key(b"a", 5))} == stored_rows(table).keys()


def test_another_model_goes_on_with_the_same_window() -> None:
    table = MemoryTable()
    old = CastScorer(defect_model(seed=1), stream_rules(), WINDOWS, PartitionedStore())
    old.run(cast(5))
    table.apply(take_changed(old, [0]))

    result = make(table).run([plain(5, sequence="A", step=5), plain(6, sequence="A", step=6)])

    expected = make().run(cast(7))
    assert read_outputs(expected.outputs)[-1].fields == pytest.approx(read_outputs(result.outputs)[-1].fields, abs=1e-6)
    assert result.counts.resets == {}


def test_an_open_cast_in_the_table_alone_is_concluded_on_eviction() -> None:
    table = MemoryTable()
    scorer = make(table)
    scorer.run([*cast(5), *(plain(5 + i, b"b", sequence="B", end=i == 1) for i in range(2))])
    table.apply(take_changed(scorer, [0]))

    evicted = evict_all(make(table), 0, 99, LAST_OF_ALL_MS)

    (final,) = read_outputs(evicted.outputs)
    assert (*(final.fields[name] for name in ("sequence", "step", "final")), final.source_offset) == ("A", 4, True, 4)
    assert evicted.outputs[0][0][3] == LAST_OF_ALL_MS
    assert evicted.scores == {False: 0, True: 1}
    table.apply(evicted.tombstones)
    assert stored_rows(table) == {}


def test_windows_of_the_contract_s_size() -> None:
    records = cast(560, end=True)

    results = [make(windows=WindowRules()).run(records)]
    places = [(start, step) for _, start, step, _ in brief(results[0])]

    hops = [(max(0, count - 500), count - 1) for count in range(100, 560, 30)]
    assert [*hops, (60, 559)] == places


def test_warming_up_changes_nothing() -> None:
    warm = make()
    warm.warm_up()

    assert brief(make().run(cast(5))) == brief(warm.run(cast(5)))
