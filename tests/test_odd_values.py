"""Values that are written a little otherwise are taken; all others are refused by name, with the way."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from core.errors import RecordError
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS
from core.wire.records import decode_casting, decode_signal, stream_id
from tests.strategies import MSGPACK, SENSORS, TIME_MS

SIGNAL = {"signal": 0.5, "condition_vector": [1, 0, 0, 0]}
CASTING = dict.fromkeys(SENSORS, 1.5)
PLAIN = json.dumps(SIGNAL).encode()


def both(fields: dict[str, Any], decode: Any = decode_signal) -> Any:
    """What both formats give, which is the same."""
    sample = decode(json.dumps(fields).encode())
    assert sample == decode(msgspec.msgpack.encode(fields), MSGPACK)
    return sample


def refused(value: Any, headers: Any = (), decode: Any = decode_signal) -> tuple[str, str]:
    with pytest.raises(RecordError) as caught:
        decode(value, headers)
    return caught.value.reason, caught.value.message


# What is taken.


@pytest.mark.parametrize(
    ("held", "text"), [(4712, "4712"), (4712.0, "4712"), (-7, "-7"), (0, "0"), (2**64 - 1, str(2**64 - 1))]
)
def test_a_whole_number_names_a_sequence_by_its_digits(held: float, text: str) -> None:
    assert both(SIGNAL | {"sequence": held}).sequence == text
    assert both(CASTING | {"sequence": held}, decode_casting).sequence == text


@pytest.mark.parametrize("step", [b"3", b"3.0"])
def test_numbers_of_many_digits_are_read_alike_where_another_field_is_odd(step: bytes) -> None:
    """A step of 3.0 has the whole sample read field by field."""
    digits = b"0.5" + b"0" * 5_000
    value = b'{"signal": %b, "condition_vector": [1, 0, %b, 0], "step": %b}' % (digits, digits, step)

    sample = decode_signal(value)

    assert (sample.signal, list(sample.condition_vector), sample.step) == (0.5, [1, 0, 0.5, 0], 3)


@pytest.mark.parametrize("held", [3.0, 0.0, -0.0, 2.0**53 - 1])
def test_a_whole_float_is_a_step(held: float) -> None:
    sample = both(SIGNAL | {"step": held})

    assert (int(held), int) == (sample.step, type(sample.step))


def test_a_whole_float_is_a_time() -> None:
    assert both(SIGNAL | {"timestamp_ms": float(TIME_MS)}).timestamp_ms == TIME_MS


@pytest.mark.parametrize(("held", "end"), [(1, True), (0, False), (1.0, True), (0.0, False)])
def test_one_and_zero_say_whether_a_cast_ends(held: float, end: bool) -> None:
    assert both(CASTING | {"end": held}, decode_casting).end is end


@pytest.mark.parametrize("decode", [decode_signal, decode_casting])
@pytest.mark.parametrize(("before", "after"), [(b"\xef\xbb\xbf", b""), (b"", b"\0"), (b"\xef\xbb\xbf \n", b"\0\0\r\n")])
def test_a_byte_order_mark_and_nuls_at_the_end_are_skipped(decode: Any, before: bytes, after: bytes) -> None:
    fields = SIGNAL if decode is decode_signal else CASTING
    plain, odd = json.dumps(fields).encode(), json.dumps(fields | {"step": 3.0}).encode()

    assert decode(plain) == decode(before + plain + after)
    assert decode(odd) == decode(before + odd + after)


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            b"application/json; charset=utf-8",
            b"application/json;charset=UTF-8",
            b'"application/json"',
            b"Application/JSON",
        ),
        *(b" application/json ", b"text/json", b"application/vnd.kafka.json.v2+json"),
    ],
)
def test_a_content_type_is_compared_as_a_media_type(content_type: bytes) -> None:
    assert decode_signal(PLAIN) == decode_signal(PLAIN, [("content-type", content_type)])


@pytest.mark.parametrize(
    "content_type", [b"application/x-msgpack", b"application/vnd.msgpack", b"APPLICATION/MSGPACK; v=1"]
)
def test_messagepack_has_several_names(content_type: bytes) -> None:
    assert decode_signal(PLAIN) == decode_signal(msgspec.msgpack.encode(SIGNAL), [("content-type", content_type)])


# Times.


@pytest.mark.parametrize("limit", [MIN_TIME_MS, MAX_TIME_MS])
def test_a_time_at_the_limit_is_taken(limit: int) -> None:
    assert both(SIGNAL | {"timestamp_ms": limit}).timestamp_ms == limit


UNITS = [
    (1_795_450_377, "1795450377: looks like seconds: milliseconds are needed"),
    (1_795_450_377.5, "1795450377.5: looks like seconds: milliseconds are needed"),
    (1_795_450_377_693_000, "1795450377693000: looks like microseconds: milliseconds are needed"),
    (1_795_450_377_693_000_000, "1795450377693000000: looks like nanoseconds: milliseconds are needed"),
    (639_000_000_000_000_000, "639000000000000000: looks like ticks of .NET: milliseconds since 1970 are needed"),
    (MIN_TIME_MS - 1, "946684799999: must be milliseconds since 1970, from the year 2000 to 2100"),
    (MAX_TIME_MS + 1, "4102444800001: must be milliseconds since 1970, from the year 2000 to 2100"),
    (-5, "-5: must be milliseconds since 1970, from the year 2000 to 2100"),
    (0, "0: must be milliseconds since 1970, from the year 2000 to 2100"),
]


@pytest.mark.parametrize(("held", "message"), UNITS)
def test_a_time_of_another_unit_is_refused_with_its_unit(held: float, message: str) -> None:
    fields = SIGNAL | {"timestamp_ms": held}

    assert ("out_of_range", f"timestamp_ms is {message}") == refused(json.dumps(fields).encode())
    assert ("out_of_range", f"timestamp_ms is {message}") == refused(msgspec.msgpack.encode(fields), MSGPACK)


# What is refused, field by field.

FIELDS = [
    ({"signal": "0.1"}, 'signal is "0.1": a number in quotes, send it without'),
    ({"signal": "0,1"}, 'signal is "0,1": a number in quotes, with a decimal comma: send 0.5, not "0,5"'),
    ({"signal": "abc"}, 'signal is "abc": must be a number'),
    ({"signal": True}, "signal is true: must be a number"),
    ({"signal": None}, "signal is null: a value is needed"),
    ({"signal": {"value": 1}}, "signal is an object: must be a number"),
    ({"signal": 2_000_000}, "signal is 2000000: must be within ±1000000"),
    ({"condition_vector": 1}, "condition_vector is 1: must be an array of 4 numbers"),
    ({"condition_vector": [1, 0]}, "condition_vector has 2 numbers: 4 are needed"),
    ({"condition_vector": [1, 0, "0", 0]}, 'condition_vector[2] is "0": a number in quotes, send it without'),
    ({"step": "3"}, 'step is "3": a number in quotes, send it without'),
    ({"step": 3.5}, "step is 3.5: must be a whole number"),
    ({"step": -1}, "step is -1: must be within 0 and 2^53 - 1"),
    ({"sequence": 47.5}, "sequence is 47.5: must be a text, or a whole number of 64 bits"),
    ({"timestamp_ms": "2026-11-30"}, 'timestamp_ms is "2026-11-30": is a text: milliseconds since 1970 are needed'),
    ({"timestamp_ms": "1700000000000"}, 'timestamp_ms is "1700000000000": a number in quotes, send it without'),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FIELDS)
def test_a_refused_field_is_named_with_its_value_in_both_formats(change: dict[str, Any], message: str) -> None:
    fields = SIGNAL | change

    assert message == refused(json.dumps(fields).encode())[1]
    assert message == refused(msgspec.msgpack.encode(fields), MSGPACK)[1]


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("name", ["timestamp_ms", "step", "signal", "sequence"])
def test_a_whole_number_that_no_float_can_hold_is_refused(name: str, sign: str) -> None:
    fields = json.dumps({each: value for each, value in SIGNAL.items() if each != name}).encode()

    reason, said = refused(b'{"%s": %s1%s, %s' % (name.encode(), sign.encode(), b"0" * 400, fields[1:]))

    assert reason == ("wrong_type" if name == "sequence" else "out_of_range")
    assert said.startswith(f"{name} is {sign}1000")


@pytest.mark.parametrize(
    ("held", "message"),
    [("true", 'end is "true": a word in quotes, send it without'), (2, "end is 2: must be true or false")],
)
def test_an_end_that_is_neither_true_nor_false_is_named(held: Any, message: str) -> None:
    assert ("wrong_type", message) == refused(json.dumps(CASTING | {"end": held}).encode(), decode=decode_casting)


@pytest.mark.parametrize("wrapper", ["payload", "fields", "value", "data"])
def test_a_sample_inside_another_object_is_told_by_the_name_it_stands_under(wrapper: str) -> None:
    for packed, headers in (
        (json.dumps({wrapper: SIGNAL, "schema": {}}).encode(), ()),
        (msgspec.msgpack.encode({wrapper: SIGNAL}), MSGPACK),
    ):
        reason, message = refused(packed, headers)

        assert reason == "missing_field"
        assert message.startswith(f"signal is missing; the sample seems to stand in '{wrapper}'")


def test_a_needed_field_of_a_nearly_right_name_is_told() -> None:
    fields = {"Signal": 1, "conditionVector": [1, 0, 0, 0]}

    assert refused(json.dumps(fields).encode()) == (
        "missing_field",
        'signal is missing: "Signal" is there, which is another name',
    )


# Values that are no sample at all.

BYTES = [
    (None, "the record has no value: a tombstone"),
    (b"", "the value is empty"),
    (b"\0\0", "the value is empty"),
    (b"\0\0\0\0\x05\x02\x0e", "begins with byte 0: written by a schema registry's serializer (id 5)?"),
    (b"\0\0\0\0\x05" + PLAIN, "begins with byte 0: written by a schema registry's serializer (id 5)?"),
    (b"[" + PLAIN + b"]", "is an array of samples: send one record for each"),
    (json.dumps(PLAIN.decode()).encode(), "is a JSON text that holds JSON: encoded twice"),
    (PLAIN + b"\n" + PLAIN, "holds several objects: send one record for each"),
    (PLAIN + PLAIN, "holds several objects: send one record for each"),
    (b"\x1f\x8b\x08\0abc", "is compressed by gzip"),
    (b"\x28\xb5\x2f\xfdabc", "is compressed by zstd"),
    (PLAIN.decode().encode("utf-16"), "is UTF-16: must be UTF-8"),
    (PLAIN.decode().encode("utf-16-le"), "is UTF-16: must be UTF-8"),
    (PLAIN.decode().encode("utf-16-be"), "is UTF-16: must be UTF-8"),
    (msgspec.msgpack.encode(SIGNAL), "looks like MessagePack: it needs the header content-type"),
    (PLAIN.replace(b"0.5", b"NaN"), "holds NaN: JSON has no such number"),
    (PLAIN.replace(b'"', b"'"), "has names in single quotes"),
    (b"0.5,1,0,0,0", "is '0.5,1,0,0,0': must be a JSON object"),
    (b"<sample/>", "is XML or HTML"),
    (b'{"sequence":"\\ud83d","signal":1,"condition_vector":[1,0,0,0]}', "holds half a surrogate pair"),
]


@pytest.mark.parametrize(("value", "message"), BYTES)
def test_a_value_that_is_no_sample_is_called_what_it_is(value: bytes | None, message: str) -> None:
    reason, said = refused(value)

    assert reason in ("not_decodable", "wrong_type")
    assert said.startswith(message)


def test_a_header_of_the_other_format_is_told() -> None:
    assert refused(PLAIN, MSGPACK) == ("not_decodable", "looks like JSON, but its content-type says MessagePack")
    assert refused(msgspec.msgpack.encode([SIGNAL]), MSGPACK)[1] == "is an array of samples: send one record for each"


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_message_stays_short_whatever_the_value_holds(size: int) -> None:
    long = "ä\0" * size
    for fields in (
        {"signal": long},
        {"sequence": long},
        {"step": long},
        {long: 1},
        {"payload": long},
        {"timestamp_ms": long},
    ):
        for value, headers in ((json.dumps(fields).encode(), ()), (msgspec.msgpack.encode(fields), MSGPACK)):
            assert len(refused(value, headers)[1].encode("ascii", "backslashreplace")) <= 200


# Keys.


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (b"\0\0\0\0\x05\x0epress-7", "written by a schema registry's serializer (id 5)"),
        (b"\0\0\0\0\0\0\0\x07", "holds byte 0 at 0, so it is no text: a number of 4 or 8 bytes?"),
        (b"press-7\0", "holds byte 0 at 7"),
    ],
)
def test_a_key_with_a_nul_names_no_stream(key: bytes, message: str) -> None:
    with pytest.raises(RecordError, match="Send it as text") as caught:
        stream_id(key)

    assert caught.value.reason == "key_not_utf8"
    assert message in caught.value.message
