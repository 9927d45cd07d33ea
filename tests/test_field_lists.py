"""The compiled scanner against the full decoder, for fields of any task."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RecordError
from core.native.fields import MAX_FLOAT32, FieldList
from core.tasks.declaration import Field
from core.wire.sample_types import block_of
from tests.field_forms import STEP, Form, assert_scanner_agrees, before, bits, taken
from tests.odd_samples import MSGPACK_TYPE, Shape, odd_records
from tests.strategies import TIME_MS, examples

MSGPACK = (("content-type", MSGPACK_TYPE),)
NAMES = ("vibration", "v", "rpm", "pump_1", "temperature_of_bearing_number_1", "x1", "x2", "signal", "values", "class")
ALIASES = ("vib", "Drehzahl", "Temp (C)", "a-b", "ä")


@st.composite
def forms(draw: st.DrawFn) -> Form:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    aliases = draw(st.permutations(ALIASES))
    fields = []
    for name in names:
        length = draw(st.sampled_from((None, None, 1, 2, 4, 20)))
        low, high = draw(st.sampled_from(((-1e6, 1e6), (-1e6, 1e6), (-50.0, 50.0), (0.0, 0.5), (-3e38, 3e38))))
        own = (aliases.pop(),) if aliases and draw(st.sampled_from((True, False, False))) else ()
        missing = draw(st.sampled_from(("refuse", "refuse", "hold")))
        overlap = draw(st.integers(0, length)) if length else 0
        fields.append(Field(name, length, aliases=own, low=low, high=high, missing=missing, overlap=overlap))
    return Form(tuple(fields), draw(st.booleans()), draw(st.booleans()))


@examples(60)
@given(data=st.data(), form=forms())
def test_what_the_scanner_takes_the_decoder_takes_too_and_reads_the_same(data: st.DataObject, form: Form) -> None:
    codec = form.codec()
    for _, value, headers in data.draw(odd_records(Shape(form.fields, codec.decode, form.has_end))):
        assert_scanner_agrees(form, codec, value, headers)


PUMP = Form((Field("vibration", 12, aliases=("vib",), low=-200.0, high=200.0, unit="mm/s"), Field("rpm")), has_end=True)
VIBRATION = [round(0.25 * place - 1, 2) for place in range(12)]
PLAIN: dict[str, dict[str, Any]] = {
    "by name": {"vibration": VIBRATION, "rpm": 1480},
    "by alias": {"vib": VIBRATION, "rpm": 1480},
    "in another order, with all there is": {
        "end": False,
        "timestamp_ms": TIME_MS,
        "rpm": 1480.5,
        "step": 7,
        "vibration": VIBRATION,
        "site": "A",
    },
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", PLAIN)
def test_plain_samples_of_a_task_s_own_go_the_compiled_way(case: str, packed: bool) -> None:
    value = msgspec.msgpack.encode(PLAIN[case]) if packed else json.dumps(PLAIN[case]).encode()

    stream, turn = taken(PUMP, value, MSGPACK if packed else ())

    assert turn.processed == 1
    assert stream.sample == (*VIBRATION, PLAIN[case]["rpm"])
    assert stream.step == STEP + 1


def test_a_wide_sample_goes_the_compiled_way() -> None:
    wide = Form(
        (*(Field(f"channel_{number}", low=-1e9, high=1e9) for number in range(300)), Field("audio", 512, overlap=64))
    )
    values: dict[str, Any] = {f"channel_{number}": number * 1e4 for number in range(300)}
    values["audio"] = [math.sin(place) for place in range(512)]

    for value, headers in ((json.dumps(values).encode(), ()), (msgspec.msgpack.encode(values), MSGPACK)):
        stream, turn = taken(wide, value, headers)

        assert turn.processed == 1
        last = before(300 + 576)
        assert bits(stream.sample) == bits([*(number * 1e4 for number in range(300)), *last[-64:], *values["audio"]])


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "beyond the range of its field": (
        {"vibration": [*VIBRATION[:11], 200.5], "rpm": 1},
        "out_of_range",
        "vibration[11] is 200.5: must be within -200 and 200 mm/s",
    ),
    "beyond the range of a field without one": ({"vibration": VIBRATION, "rpm": 2e6}, "out_of_range", "±1000000"),
    "too few numbers": ({"vibration": VIBRATION[:11], "rpm": 1}, "vector_length", "has 11 numbers: 12 are needed"),
    "too many numbers": ({"vib": [*VIBRATION, 1], "rpm": 1}, "vector_length", "has 13 numbers: 12 are needed"),
    "one number for an array": ({"vibration": 1, "rpm": 1}, "wrong_type", "must be an array of 12 numbers"),
    "a word": ({"vibration": VIBRATION, "rpm": True}, "wrong_type", "must be a number"),
    "nothing": ({"vibration": VIBRATION}, "missing_field", "rpm is missing"),
    "null under both of its names": ({"vibration": None, "vib": None, "rpm": 1}, "missing_field", "is null"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_sample_is_told_what_is_wrong_with_which_field(case: str, packed: bool) -> None:
    fields, reason, said = REFUSED[case]
    value = msgspec.msgpack.encode(fields) if packed else json.dumps(fields).encode()
    headers = MSGPACK if packed else ()

    with pytest.raises(RecordError) as caught:
        PUMP.codec().decode(value, headers)

    assert caught.value.reason == reason
    assert said in caught.value.message
    assert taken(PUMP, value, headers)[1].processed == 0


def test_true_and_false_are_numbers_where_the_task_says_so() -> None:
    pump = Form((Field("running", low=0.0, high=1.0), Field("doors", 2)), booleans=True)
    value = b'{"running": true, "doors": [false, true]}'

    stream, turn = taken(pump, value, ())

    assert (turn.processed, stream.sample) == (1, (1.0, 0.0, 1.0))
    assert block_of(pump.codec().decode(value, ()), pump.fields, (0.0,) * 3) == (1.0, 0.0, 1.0)


def test_a_field_that_may_be_missing_keeps_its_last_value_and_is_counted() -> None:
    pump = Form(
        (Field("rpm", missing="hold", aliases=("speed",)), Field("vibration", 2, missing="hold"), Field("level"))
    )

    stream, turn = taken(pump, b'{"level": 3, "speed": 2}', ())

    assert turn.held == {"vibration": 1}
    assert stream.sample == (2.0, 1001.0, 1002.0, 3.0)
    assert pump.codec().decode(b'{"level": 3, "speed": 2}', ()).rpm == 2.0


def test_a_name_counts_before_its_aliases_and_the_first_of_these_before_the_next() -> None:
    fields = (Field("rpm", aliases=("speed", "n")),)
    codec = Form(fields).codec()

    assert codec.decode(b'{"n": 1, "speed": 2, "rpm": 3}', ()).rpm == 3
    assert codec.decode(b'{"n": 1, "speed": 2, "rpm": null}', ()).rpm == 2
    assert codec.decode(b'{"n": 1, "speed": null}', ()).rpm == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((Field("a", low=-math.inf),), "range of a must lie within float32"),
        ((Field("a", high=math.nan),), "range of a must lie within float32"),
        ((Field("a", high=MAX_FLOAT32 * 2),), "range of a must lie within float32"),
        ((Field("a", 0),), "length of a must be >= 1"),
        ((Field("a", overlap=1),), "overlap of a"),
        ((Field("a"), Field("b", aliases=("a",))), "'a' comes twice"),
        ((Field("step"),), "'step' comes twice"),
    ],
)
def test_fields_that_no_record_can_have_are_refused(fields: tuple[Field, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        FieldList(fields)
