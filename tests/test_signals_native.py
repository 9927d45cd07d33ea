"""The compiled way of a plain record against the way of every record: not to be told apart, but by the clock."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.stepper import SignalStepper
from core.native.outputs import NamedOutputs
from core.native.records import Outputs, Record
from core.native.signals import SignalBatch
from core.native.streams import SignalStream
from core.wire.outputs import PREDICTION
from core.wire.records import Prediction, decode_prediction, encoder
from stream_app.flow.tables import PartitionedStore
from tests.both_ways import OneByOne, assert_same_engines
from tests.changes import plain as lists
from tests.odd_samples import CONTENT_TYPES, JSON_TYPE, MSGPACK_TYPE, odd_records
from tests.reference import stream_rules
from tests.strategies import TIME_MS, FakeRecord, examples, feeds, relaxed, signal_model, signal_value

many = examples(500)
some = examples(100)
"""Enough for a rule that one of the ways breaks; `make test-slow` tries `many`, which take most of a minute to make."""
SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)
MODEL = "0123456789ab"
MSGPACK = (("content-type", MSGPACK_TYPE),)


class Counting(SignalStepper):
    """Counts the records that do not go the compiled way."""

    not_plain = 0

    def _take_one(self, record: Record) -> None:
        self.not_plain += 1
        super()._take_one(record)


def make(kind: type[SignalStepper] = SignalStepper, output_format: str = "json", policy: str = "step") -> SignalStepper:
    return kind(signal_model(), stream_rules(policy), PartitionedStore(), output_format)


def assert_both_ways(chunks: list[list[FakeRecord]], output_format: str = "json", policy: str = "step") -> None:
    assert_same_engines(make(OneByOne, output_format, policy), make(SignalStepper, output_format, policy), chunks)


def numbered(values: list[tuple[Any, Any, Any]], chunk: int) -> list[list[FakeRecord]]:
    records = [FakeRecord(0, offset, offset, *value) for offset, value in enumerate(values)]
    return [records[start : start + chunk] for start in range(0, len(records), chunk)]


# The two ways.


anything = given(values=odd_records(), chunk=st.integers(1, 12), output_format=st.sampled_from(("json", "msgpack")))


@some
@anything
def test_whatever_a_value_holds_both_ways_agree(values: Any, chunk: int, output_format: str) -> None:
    assert_both_ways(numbered(values, chunk), output_format)


@pytest.mark.slow
@many
@anything
def test_whatever_many_more_values_hold_both_ways_agree(values: Any, chunk: int, output_format: str) -> None:
    assert_both_ways(numbered(values, chunk), output_format)


@relaxed
@given(events=feeds(), chunk=st.integers(1, 20), policy=st.sampled_from(("step", "hold", "reset")))
def test_whatever_happens_to_a_stream_both_ways_agree(events: Any, chunk: int, policy: str) -> None:
    records = [event.record for event in events]
    assert_both_ways([records[start : start + chunk] for start in range(0, len(records), chunk)], policy=policy)


@many
@given(value=st.binary(max_size=60), headers=st.sampled_from([(), (("content-type", JSON_TYPE),), MSGPACK]))
def test_any_bytes_are_a_sample_or_a_dead_letter(value: bytes, headers: Any) -> None:
    first = (b"a", signal_value(SAMPLE), ())

    assert_both_ways(numbered([first, (b"a", value, headers), first], 3))


@pytest.mark.parametrize("head", [b"{", b'{"signal":', b'{"signal":1,"condition_vector":[', b'{"sequence":"'])
@given(tail=st.binary(max_size=30))
@relaxed
def test_any_bytes_after_a_good_beginning_are_a_sample_or_a_dead_letter(head: bytes, tail: bytes) -> None:
    first = (b"a", signal_value(SAMPLE), ())

    assert_both_ways(numbered([first, (b"a", head + tail, ())], 2))


@pytest.mark.parametrize("size", range(len(signal_value(SAMPLE, sequence="A", step=1, timestamp_ms=TIME_MS))))
def test_a_value_cut_off_anywhere_is_a_dead_letter(size: int) -> None:
    fields = {"sequence": "A", "timestamp_ms": TIME_MS}
    first = (b"a", signal_value(SAMPLE, step=0, **fields), ())
    whole = signal_value(SAMPLE, step=1, **fields)
    packed = msgspec.msgpack.encode(msgspec.json.decode(whole))

    assert_both_ways(numbered([first, (b"a", whole[:size], ()), (b"a", packed[:size], MSGPACK)], 3))


NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "1e6",
    "-1e6",
    "1000000",
    "1e-320",
    "5e-324",
    "1e-400",
    "123456.7890123456789",
    "1E5",
    "0.1",
]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_rounded_alike(text: str) -> None:
    value = f'{{"signal": {text}, "condition_vector": [{text}, 0, {text}, 1]}}'.encode()

    assert_both_ways(numbered([(b"a", value, ())] * 3, 3))


# Which way records go.


def plain_values(count: int, key: bytes = b"a", **fields: Any) -> list[tuple[bytes, bytes, Any]]:
    return [(key, signal_value(SAMPLE, step=step, **fields), ()) for step in range(count)]


def with_spaces(value: bytes) -> bytes:
    return value.replace(b":", b" :\t").replace(b",", b"\n,").replace(b"{", b" { ").replace(b"}", b" }\r\n")


PLAIN_CASES: dict[str, list[tuple[bytes, bytes, Any]]] = {
    "JSON": plain_values(20),
    "JSON with a content-type": [(key, value, (("content-type", JSON_TYPE),)) for key, value, _ in plain_values(20)],
    "all fields": plain_values(20, sequence="run-1", timestamp_ms=1_700_000_000_000),
    "without steps": [(b"a", signal_value(SAMPLE), ())] * 20,
    "numbers as integers": [(b"a", b'{"signal":1,"condition_vector":[1,0,0,0]}', ())] * 20,
    "a name that is not ASCII": [
        (b"a", value.encode(), ()) for value in ['{"sequence":"ä","signal":1,"condition_vector":[1,0,0,0]}'] * 20
    ],
    "fields of the producer's own": plain_values(20, unit="V", good=True, bad=False, none=None, number=-1.5e3),
    "long numbers of the producer's own": plain_values(
        20, sent_ns=1_700_000_000_000_000_000, tiny=1e-300, large=-1e300
    ),
    "numbers of the producer's own in MessagePack": [
        (
            key,
            msgspec.msgpack.encode(msgspec.json.decode(value) | {"n": number, "x": None, "y": True, "z": "V"}),
            MSGPACK,
        )
        for (key, value, _), number in zip(
            plain_values(20),
            [0, 127, 128, 2**16, 2**32, 2**64 - 1, -1, -32, -33, -200, -(2**20), -(2**40), 0.5, float("nan")] + [1] * 6,
            strict=True,
        )
    ],
    "spaces": [(key, with_spaces(value), ()) for key, value, _ in plain_values(20, sequence="A")],
    "another order": [
        (b"a", b'{"step":%d,"condition_vector":[1,0,0,0],"signal":2.5}' % step, ()) for step in range(20)
    ],
    "MessagePack": [
        (key, msgspec.msgpack.encode(msgspec.json.decode(value)), MSGPACK)
        for key, value, _ in plain_values(20, sequence="A" * 40, timestamp_ms=TIME_MS)
    ],
    "two streams in turn": [
        value for pair in zip(plain_values(20), plain_values(20, b"b"), strict=True) for value in pair
    ],
}


@pytest.mark.parametrize("case", PLAIN_CASES)
def test_a_plain_record_goes_the_compiled_way(case: str) -> None:
    values = PLAIN_CASES[case]
    streams = len({key for key, _, _ in values})
    engine = make(Counting)

    results = [engine.run(chunk) for chunk in numbered(values, 7)]

    assert engine.not_plain == streams  # the first of each, which makes the stream
    assert sum(result.counts.processed for result in results) == len(values)
    assert sum(len(rows) for result in results for rows in lists(result).values()) == len(values)
    assert_both_ways(numbered(values, 7))


SAME_THING = {
    "a charset": ((), (("content-type", b"application/json; charset=utf-8"),)),
    "quotes": ((), (("content-type", b'"application/json"'),)),
    "capitals and a suffix": ((), (("content-type", b"Application/Vnd.Plant+JSON"),)),
    "a byte order mark": ((b"\xef\xbb\xbf", b""), ()),
    "NULs at the end": ((b"", b"\0\0\n"), ()),
}


@pytest.mark.parametrize("case", SAME_THING)
def test_what_many_producers_put_around_a_sample_does_not_take_it_off_the_compiled_way(case: str) -> None:
    around, headers = SAME_THING[case]
    before, after = around or (b"", b"")
    values = [(key, before + value + after, headers) for key, value, _ in plain_values(20)]
    engine = make(Counting)

    (result,) = [engine.run(chunk) for chunk in numbered(values, 20)]

    assert engine.not_plain == 1
    assert result.counts.processed == 20
    assert_both_ways(numbered(values, 7))


def test_a_number_as_the_name_of_a_sequence_stays_on_the_compiled_way() -> None:
    values = plain_values(20, sequence=4712)
    engine = make(Counting)

    (result,) = [engine.run(chunk) for chunk in numbered(values, 20)]

    assert engine.not_plain == 1
    assert {"4712"} == {decode_prediction(value).sequence for _, value, _, _ in result.outputs[0]}


@pytest.mark.parametrize("packed", [False, True])
def test_names_that_are_nearly_right_are_counted_on_both_ways(packed: bool) -> None:
    fields = {"Step": 7, "seq": "A", "timestampMs": TIME_MS, "End": True, "unit": "V"}
    values = [(b"a", signal_value(SAMPLE, **fields), ()), (b"a", signal_value(SAMPLE, step=1, STEP=1), ())] * 3
    if packed:
        values = [(key, msgspec.msgpack.encode(msgspec.json.decode(value)), MSGPACK) for key, value, _ in values]
    engine = make(Counting)

    (result,) = [engine.run(chunk) for chunk in numbered(values[:1] * 3, 3)]

    assert engine.not_plain == 1  # they cost no plain record its way
    assert result.counts.near_misses == {b"Step": 3, b"seq": 3, b"timestampMs": 3}
    assert_both_ways(numbered(values, 2))


@many
@given(content_type=st.binary(max_size=30) | st.sampled_from(CONTENT_TYPES))
def test_both_ways_read_a_content_type_alike(content_type: bytes) -> None:
    values = [(b"a", value, (("content-type", content_type),)) for _, value, _ in plain_values(3)]
    packed = [(key, msgspec.msgpack.encode(msgspec.json.decode(value)), headers) for key, value, headers in values]

    assert_both_ways(numbered([plain_values(1)[0], *values, *packed], 9))


ODD_CASES = {
    "a gap": signal_value(SAMPLE, step=5),
    "a repeated step": signal_value(SAMPLE, step=0),
    "a new sequence": signal_value(SAMPLE, sequence="B", step=0),
    "an unknown field that is nested": signal_value(SAMPLE, unit=[1]),
    "a whole float as a step": signal_value(SAMPLE, step=1.0),
    "a time in seconds": signal_value(SAMPLE, timestamp_ms=1_795_450_377),
    "an escape": signal_value(SAMPLE).replace(b"signal", b"s\\u0069gnal"),
    "a field given twice": b'{"signal":1,"signal":2,"condition_vector":[1,0,0,0]}',
    "null": signal_value(SAMPLE, step=None),
    "a number out of range": signal_value((1e7, *SAMPLE[1:])),
    "no number": b'{"signal":NaN,"condition_vector":[1,0,0,0]}',
    "not JSON": b"{",
}


@pytest.mark.parametrize("case", ODD_CASES)
def test_any_other_record_does_not(case: str) -> None:
    engine = make(Counting)
    engine.run(numbered([(b"a", signal_value(SAMPLE, step=0), ())], 1)[0])
    engine.not_plain = 0

    engine.run([FakeRecord(0, 1, 1, b"a", ODD_CASES[case])])

    assert engine.not_plain == 1


def test_an_idle_stream_and_a_record_applied_before_are_not_plain() -> None:
    engine = make(Counting)
    engine.run([FakeRecord(0, 5, 0, b"a", signal_value(SAMPLE))])
    engine.not_plain = 0

    engine.run([FakeRecord(0, 5, 1, b"a", signal_value(SAMPLE)), FakeRecord(0, 6, 10**9, b"a", signal_value(SAMPLE))])

    assert engine.not_plain == 2


# What is written.


def encoded(
    predictions: list[float], output_format: str = "json", key: bytes = b"key", sequence: str = "", **fields: int
) -> list[bytes]:
    """Outputs of one stream with these predictions."""
    batch, stream = SignalBatch(NamedOutputs(PREDICTION, output_format, MODEL), 5), SignalStream(0, key, 1)
    stream.sequence = sequence
    stream.step, stream.timestamp_ms = fields.get("step", 3), fields.get("timestamp_ms", 4)
    stream.offset, stream.append_ms = 5, 6
    batch.start(stream, 1)
    for _ in predictions:
        batch.add(stream)
        batch.publish(stream, fields.get("gap", 0))
    outputs: dict[int, Outputs] = {}
    batch.encode(np.array(predictions, np.float32).astype(np.float64)[:, None], outputs)
    assert {(row[0], row[2], row[3]) for row in outputs[0]} == {(key, 5, 6)}
    return [value for _, value, _, _ in outputs[0]]


EDGES = [0.0, -0.0, 1.0, -1.0, 1e-38, 1e6, 123456.0, 16777216.0, 1e10, 3.4028235e38, 1e-45, 1.1754942e-38, 0.1, 1 / 3]


@many
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from(EDGES), min_size=1))
def test_a_prediction_s_text_gives_the_same_float32_again(predictions: list[float]) -> None:
    expected = np.array(predictions, np.float32)
    texts, packed = encoded(predictions), encoded(predictions, "msgpack")
    parsed = [decode_prediction(text).prediction for text in texts]

    np.testing.assert_array_equal(np.array(parsed, np.float32).view(np.uint32), expected.view(np.uint32))
    from_msgpack = np.array([decode_prediction(value, MSGPACK).prediction for value in packed])
    np.testing.assert_array_equal(from_msgpack.astype(np.float32).view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(from_msgpack, expected.astype(np.float64))
    for text, number in zip(texts, expected, strict=True):
        written = text.split(b'"prediction":')[1].split(b",")[0].decode()
        assert set(written) & set(".e"), "a whole number would be read as an integer elsewhere"
        assert len(written) <= len(repr(float(number)))
        assert type(msgspec.json.decode(text)["prediction"]) is float


def test_no_number_is_null() -> None:
    for text in encoded([float("nan"), float("inf"), -float("inf")]):
        assert msgspec.json.decode(text)["prediction"] is None


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from(
    ['"', "\\", "\n\t\x00", "ä", "😀", 'say "\\"', "\x7f", "\u2028"]
)
WHOLE = st.sampled_from([0, 1, 127, 128, 255, 2**31, 2**53 - 1]) | st.integers(0, 2**53 - 1)


@many
@given(
    key=NAMES,
    sequence=NAMES | st.just(""),
    step=WHOLE,
    timestamp_ms=WHOLE | WHOLE.map(lambda number: -number),
    gap=st.just(0) | WHOLE,
)
def test_outputs_hold_what_the_codec_of_the_contract_writes(
    key: str, sequence: str, step: int, timestamp_ms: int, gap: int
) -> None:
    expected = Prediction(key, sequence, step, timestamp_ms, 0.5, MODEL, gap)
    numbers = {"step": step, "timestamp_ms": timestamp_ms, "gap": gap}

    (text,) = encoded([0.5], "json", key.encode(), sequence, **numbers)
    (packed,) = encoded([0.5], "msgpack", key.encode(), sequence, **numbers)

    assert text == encoder("json")(expected)
    fields = msgspec.msgpack.decode(packed)
    assert list(fields.items()) == list(msgspec.msgpack.decode(encoder("msgpack")(expected)).items())
    assert decode_prediction(packed, MSGPACK) == expected


def test_a_stream_s_name_stays_and_its_sequence_changes_in_one_chunk() -> None:
    """What stands before the step is kept with the stream: a new sequence must not get the old one's."""
    engine = make()
    values = [(b"a", signal_value(SAMPLE, sequence=name, step=step), ()) for name in "ABA" for step in (0, 1)]

    (result,) = [engine.run(chunk) for chunk in numbered(values[:4], 4)]

    found = [decode_prediction(value) for _, value, _, _ in result.outputs[0]]
    assert [(output.sequence, output.step) for output in found] == [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
    assert_both_ways(numbered(values, 3))


def test_a_stream_that_left_and_came_back_in_another_format_of_input_is_one_stream() -> None:
    text = signal_value(SAMPLE, sequence="A", step=1)
    values = [
        (b"a", signal_value(SAMPLE, sequence="A", step=0), ()),
        (b"a", msgspec.msgpack.encode(msgspec.json.decode(text)), MSGPACK),
    ]
    engine = make(Counting)

    (result,) = [engine.run(chunk) for chunk in numbered(values, 2)]

    assert engine.not_plain == 1
    assert [decode_prediction(value).step for _, value, _, _ in result.outputs[0]] == [0, 1]
