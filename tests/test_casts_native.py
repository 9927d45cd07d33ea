"""The compiled way of a plain casting record against the way of every record: only the clock tells them apart."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import WindowRules
from core.engines.scorer import CastScorer
from core.models.ranges import CASTING_FIELDS, Ranges
from core.native.records import Record
from core.wire.records import decode_score
from stream_app.flow.tables import PartitionedStore
from tests.both_ways import CastsOneByOne, assert_same_engines
from tests.changes import plain as lists
from tests.odd_samples import CASTS, MSGPACK_TYPE, odd_records
from tests.reference import stream_rules
from tests.strategies import TIME_MS, FakeRecord, casting_value, defect_model, examples, feeds, relaxed

WINDOWS = WindowRules(window_length=9, window_min=4, hop=3, segment=2)
SAMPLE = (1.1, 1530.0, 150.0, 200.0, 25.0)
MSGPACK = (("content-type", MSGPACK_TYPE),)
RANGES = Ranges(CASTING_FIELDS, (-2.0, 0.0, 0.0, 0.0, 0.0), (2.0, 1.0, 1.0, 1.0, 2.0))


class Counting(CastScorer):
    """Counts the records that do not go the compiled way."""

    not_plain = 0

    def _take_one(self, record: Record) -> None:
        self.not_plain += 1
        super()._take_one(record)


def make(kind: type[CastScorer], policy: str = "step", output_format: str = "json") -> CastScorer:
    model = copy.deepcopy(defect_model())
    model.training_ranges = RANGES.plain()
    return kind(model, stream_rules(policy), WINDOWS, PartitionedStore(), output_format)


def assert_both_ways(chunks: list[list[FakeRecord]], policy: str = "step", output_format: str = "json") -> None:
    assert_same_engines(make(CastsOneByOne, policy, output_format), make(CastScorer, policy, output_format), chunks)


def in_chunks(values: list[tuple[Any, Any, Any]], chunk: int) -> list[list[FakeRecord]]:
    records = [FakeRecord(0, offset, offset, *value) for offset, value in enumerate(values)]
    return [records[start : start + chunk] for start in range(0, len(records), chunk)]


@relaxed
@given(
    events=feeds(casts=True),
    chunk=st.integers(1, 20),
    policy=st.sampled_from(("step", "hold", "reset")),
    output_format=st.sampled_from(("json", "msgpack")),
)
def test_whatever_happens_to_a_strand_both_ways_agree(events: Any, chunk: int, policy: str, output_format: str) -> None:
    records = [event.record for event in events]
    chunks = [records[start : start + chunk] for start in range(0, len(records), chunk)]
    assert_both_ways(chunks, policy, output_format)


@examples(60)
@given(values=odd_records(CASTS), chunk=st.integers(1, 12))
def test_whatever_a_value_holds_both_ways_agree(values: Any, chunk: int) -> None:
    assert_both_ways(in_chunks(values, chunk))


def plain_values(count: int, key: bytes = b"a", **fields: Any) -> list[tuple[bytes, bytes, Any]]:
    return [(key, casting_value(SAMPLE, step=step, **fields), ()) for step in range(count)]


PLAIN_CASES: dict[str, list[tuple[bytes, bytes, Any]]] = {
    "JSON": plain_values(40),
    "all fields": plain_values(40, sequence="cast-1", timestamp_ms=TIME_MS, end=False),
    "MessagePack": [
        (key, msgspec.msgpack.encode(msgspec.json.decode(value)), MSGPACK)
        for key, value, _ in plain_values(40, sequence="A", end=False)
    ],
    "fields of the producer's own": plain_values(40, strand=3, grade="S355", none=None, Step=7, End=True),
    "two strands in turn": [
        value for pair in zip(plain_values(20), plain_values(20, b"b"), strict=True) for value in pair
    ],
}


@pytest.mark.parametrize("case", PLAIN_CASES)
def test_a_plain_record_goes_the_compiled_way(case: str) -> None:
    values = PLAIN_CASES[case]
    engine = make(Counting)

    results = [engine.run(chunk) for chunk in in_chunks(values, 7)]

    assert engine.not_plain == len({key for key, _, _ in values})  # the first of each, which makes the strand
    assert sum(result.counts.processed for result in results) == len(values)
    assert_both_ways(in_chunks(values, 7))


ODD_CASES = {
    "the end of a cast": casting_value(SAMPLE, end=True),
    "an end that is a number": casting_value(SAMPLE, end=0),
    "an end that is null": casting_value(SAMPLE, end=None),
    "a gap": casting_value(SAMPLE, step=5),
    "another cast": casting_value(SAMPLE, sequence="B"),
    "a field that is missing": casting_value(SAMPLE).replace(b"superheat", b"overheat"),
    "a number that is a word": casting_value(SAMPLE).replace(b"1530.0", b"true"),
}


@pytest.mark.parametrize("case", ODD_CASES)
def test_any_other_record_does_not(case: str) -> None:
    first = (b"a", casting_value(SAMPLE, step=0), ())
    engine = make(Counting)
    engine.run(in_chunks([first], 1)[0])
    engine.not_plain = 0

    engine.run([FakeRecord(0, 1, 1, b"a", ODD_CASES[case])])

    assert engine.not_plain == 1
    assert_both_ways(in_chunks([first, (b"a", ODD_CASES[case], ()), first], 2))


def test_scores_stand_where_the_window_is_due() -> None:
    engine = make(Counting)

    results = [engine.run(chunk) for chunk in in_chunks(plain_values(20), 6)]

    scores = [decode_score(value) for result in results for _, value, _, _ in lists(result).get(0, [])]
    assert [(score.step, score.start, score.length) for score in scores] == [
        (step, max(step - 8, 0), min(step + 1, 9)) for step in range(3, 20, 3)
    ]


def test_a_value_at_the_limit_in_double_precision_is_no_strange_one_in_single() -> None:
    """The limit of 0.1 to 0.7 is 1.0 and -0.2; float32 rounds -0.2 to what lies beyond it."""
    ranges = Ranges(CASTING_FIELDS, (0.1, *(0.0,) * 4), (0.7, *(2e3,) * 4))
    lowest = 0.1 - 0.5 * (0.7 - 0.1)
    assert float(np.float32(lowest)) < lowest
    model = copy.deepcopy(defect_model())
    model.training_ranges = ranges.plain()
    engines = [kind(model, stream_rules(), WINDOWS, PartitionedStore()) for kind in (CastsOneByOne, CastScorer)]
    values = [(b"a", casting_value((lowest, *SAMPLE[1:]), step=step), ()) for step in range(4)]

    counts = [engine.run(in_chunks(values, 4)[0]).counts.far_outside for engine in engines]

    assert counts == [{}, {}]
