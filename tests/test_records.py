"""Wire records: what is read, what is refused and why, and what is written."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RecordError
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS
from core.wire.records import (
    REASONS,
    Prediction,
    Score,
    decode_casting,
    decode_prediction,
    decode_score,
    decode_signal,
    encoder,
    stream_id,
)
from tests.strategies import MSGPACK, SENSORS, TIME_MS, relaxed

SIGNAL = {"sequence": "s", "step": 3, "timestamp_ms": TIME_MS, "signal": 0.5, "condition_vector": [1, 0, 0.5, 0]}
CASTING = {"sequence": "c", "step": 3, "timestamp_ms": TIME_MS, "end": True} | dict.fromkeys(SENSORS, 1.5)


def reason(value: Any, headers: Any = (), decode: Any = decode_signal) -> str:
    with pytest.raises(RecordError) as caught:
        decode(value, headers)
    assert caught.value.reason in REASONS
    assert caught.value.message
    return caught.value.reason


@pytest.mark.parametrize("headers", [None, (), [("content-type", b"application/json")], [("other", b"x")]])
def test_a_json_sample_is_read(headers: Any) -> None:
    sample = decode_signal(json.dumps(SIGNAL).encode(), headers)

    assert sample.values == (0.5, 1.0, 0.0, 0.5, 0.0)
    assert (sample.sequence, sample.step, sample.timestamp_ms) == ("s", 3, TIME_MS)


@relaxed
@given(
    signal=st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6),
    vector=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    sequence=st.text(max_size=63),
    step=st.none() | st.integers(0, 2**53 - 1),
    timestamp_ms=st.none() | st.integers(MIN_TIME_MS, MAX_TIME_MS),
)
def test_both_formats_hold_the_same_sample(signal, vector, sequence, step, timestamp_ms) -> None:
    fields = {"signal": signal, "condition_vector": vector, "sequence": sequence}
    fields |= {"step": step, "timestamp_ms": timestamp_ms, "surplus": {"x": [1, None]}}

    sample = decode_signal(msgspec.json.encode(fields))

    assert sample == decode_signal(msgspec.msgpack.encode(fields), MSGPACK)
    assert (float(signal), *vector) == sample.values
    assert (sequence, step, timestamp_ms) == (sample.sequence, sample.step, sample.timestamp_ms)


def test_null_means_absent() -> None:
    fields = SIGNAL | {"sequence": None, "step": None, "timestamp_ms": None}

    sample = decode_signal(json.dumps(fields).encode())

    assert (sample.sequence or "", sample.step, sample.timestamp_ms) == ("", None, None)
    assert not decode_casting(json.dumps(CASTING | {"end": None}).encode()).end


def test_casting_sensors_are_read_in_the_order_of_the_model() -> None:
    fields = CASTING | {name: i for i, name in enumerate(SENSORS)}

    sample = decode_casting(json.dumps(fields).encode())

    assert sample.values == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert sample.end


BAD = [
    ({"signal": None}, "missing_field"),
    ({"condition_vector": None}, "missing_field"),
    ({"signal": "1"}, "wrong_type"),
    ({"signal": True}, "wrong_type"),
    ({"condition_vector": [True, 0, 0, 0]}, "wrong_type"),
    ({"condition_vector": [None, 0, 0, 0]}, "wrong_type"),
    ({"condition_vector": "abcd"}, "wrong_type"),
    ({"condition_vector": [0, 0, 1]}, "vector_length"),
    ({"condition_vector": [0, 0, 1, 0, 0]}, "vector_length"),
    ({"signal": 1_000_001}, "out_of_range"),
    ({"signal": -1e300}, "out_of_range"),
    ({"condition_vector": [0, 0, 0, 1.1e6]}, "out_of_range"),
    ({"step": -1}, "out_of_range"),
    ({"step": 2**53}, "out_of_range"),
    ({"step": 1.5}, "wrong_type"),
    ({"step": "1"}, "wrong_type"),
    ({"step": True}, "wrong_type"),
    ({"timestamp_ms": 2**53}, "out_of_range"),
    ({"timestamp_ms": "now"}, "wrong_type"),
    ({"sequence": "a" * 256}, "sequence_too_long"),
    ({"sequence": "ä" * 128}, "sequence_too_long"),
    ({"sequence": 7.5}, "wrong_type"),
    ({"sequence": True}, "wrong_type"),
]


@pytest.mark.parametrize(("change", "expected"), BAD)
def test_a_bad_field_is_refused_with_its_reason_in_both_formats(change: dict[str, Any], expected: str) -> None:
    fields = SIGNAL | change

    assert expected == reason(json.dumps(fields).encode())
    assert expected == reason(msgspec.msgpack.encode(fields), MSGPACK)


@pytest.mark.parametrize("name", ["signal", "condition_vector"])
def test_a_missing_field_is_refused(name: str) -> None:
    fields = {key: value for key, value in SIGNAL.items() if key != name}

    assert reason(json.dumps(fields).encode()) == "missing_field"


@pytest.mark.parametrize("name", SENSORS)
def test_every_sensor_is_required_and_limited(name: str) -> None:
    for value, expected in ((None, "missing_field"), (False, "wrong_type"), (2e6, "out_of_range")):
        assert expected == reason(json.dumps(CASTING | {name: value}).encode(), decode=decode_casting)
    assert reason(msgspec.msgpack.encode(CASTING | {name: math.nan}), MSGPACK, decode_casting) == "not_finite"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    for fields in (SIGNAL | {"signal": number}, SIGNAL | {"condition_vector": [0, 0, number, 0]}):
        assert reason(msgspec.msgpack.encode(fields), MSGPACK) == "not_finite"


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 400])
def test_json_numbers_too_large_for_a_float_are_refused(number: bytes) -> None:
    assert reason(b'{"condition_vector":[0,0,0,1],"signal":%s}' % number) == "out_of_range"


@pytest.mark.parametrize("digits", [30, 6000])
def test_a_step_of_any_number_of_digits_is_refused(digits: int) -> None:
    value = b'{"condition_vector":[0,0,0,1],"signal":1,"step":%s}' % (b"9" * digits)

    assert reason(value) == "out_of_range"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b'{"signal":NaN,"condition_vector":[0,0,0,1]}',
        b'{"sequence":"\xff","signal":1,"condition_vector":[0,0,0,1]}',
        b'{"sequence":"\\ud800","signal":1,"condition_vector":[0,0,0,1]}',
        b'{"deep":' + b"[" * 100_000,
        json.dumps(SIGNAL).encode() + b"}",
    ],
)
def test_values_that_are_no_json_are_refused(value: bytes | None) -> None:
    assert reason(value) == "not_decodable"


@pytest.mark.parametrize("value", [b"[]", b"1", b"null", b'"text"'])
def test_values_that_are_no_object_are_refused(value: bytes) -> None:
    assert reason(value) == "wrong_type"


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/avro", b"", b"\xff", None])
def test_other_content_types_are_refused(content_type: Any) -> None:
    assert reason(json.dumps(SIGNAL).encode(), [("content-type", content_type)]) == "content_type"


def test_the_last_content_type_counts() -> None:
    headers = [("content-type", b"text/plain"), *MSGPACK, ("trace", b"1")]

    assert decode_signal(msgspec.msgpack.encode(SIGNAL), headers).step == 3


@relaxed
@given(value=st.binary(max_size=80), headers=st.sampled_from([(), MSGPACK]))
def test_no_bytes_raise_anything_but_a_record_error(value: bytes, headers: Any) -> None:
    for decode in (decode_signal, decode_casting):
        with suppress(RecordError):
            decode(value, headers)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(None, "no_key"), (b"", "no_key"), (b"k" * 256, "key_too_long"), (b"\xff", "key_not_utf8")],
)
def test_keys_that_name_no_stream_are_refused(key: bytes | None, expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        stream_id(key)

    assert expected == caught.value.reason


def test_a_key_of_255_bytes_names_a_stream() -> None:
    assert stream_id(b"k" * 255) == "k" * 255


def test_a_prediction_is_written_with_the_contract_s_fields() -> None:
    fields = {"stream": "a", "sequence": "", "step": 0, "timestamp_ms": 5, "prediction": 0.5, "model": "0123456789ab"}
    plain = Prediction(**fields)  # type: ignore[arg-type]
    after_a_gap = Prediction(**fields, gap=2)  # type: ignore[arg-type]

    assert fields == json.loads(encoder("json")(plain))
    assert fields | {"gap": 2} == json.loads(encoder("json")(after_a_gap))
    assert after_a_gap == decode_prediction(encoder("msgpack")(after_a_gap), MSGPACK)


def test_a_score_is_written_with_the_contract_s_fields() -> None:
    fields = {"stream": "a", "sequence": "c", "step": 9, "start": 0, "length": 10, "timestamp_ms": 5}
    fields |= {"probability": None, "attention_peak": None, "final": True, "model": "0123456789ab"}
    score = Score(**fields, reason="too_short")  # type: ignore[arg-type]
    scored = Score(**fields | {"probability": 0.25, "attention_peak": 4})  # type: ignore[arg-type]

    assert fields | {"reason": "too_short"} == json.loads(encoder("json")(score))
    assert "reason" not in json.loads(encoder("json")(scored))
    assert score == decode_score(encoder("json")(score))


def test_an_unknown_output_format_is_refused() -> None:
    with pytest.raises(ValueError, match="output_format must be one of json, msgpack"):
        encoder("xml")
