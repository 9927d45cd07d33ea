"""The compiled writer of named outputs against what msgspec writes of the same structure."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.native.outputs import NamedOutputs
from core.native.records import Outputs
from core.native.signals import SignalBatch
from core.native.streams import SignalStream
from core.wire.outputs import NOTHING_YET, OutputField
from tests.strategies import examples

MODEL = "0123456789ab"
NAMES = ("forecast", "score", "de_h", "ä", 'say "A"', "x" * 40, "a\\b")
TEXTS = ("normal", "imbalance", 'the "third"', "schön" * 20)


def written(
    outputs: tuple[OutputField, ...], rows: list[list[float]], output_format: str, **fields: int
) -> tuple[list[bytes], tuple[int, int]]:
    """Values of records of one stream, a row of numbers each, and what was counted."""
    batch = SignalBatch(NamedOutputs(outputs, output_format, MODEL), 5)
    stream = SignalStream(0, b"key", 1)
    stream.sequence, stream.step, stream.timestamp_ms = "A", fields.get("step", 3), fields.get("timestamp_ms", 4)
    batch.start(stream, 1)
    for _ in rows:
        batch.add(stream)
        batch.publish(stream, fields.get("gap", 0))
    found: dict[int, Outputs] = {}
    counted = batch.encode(np.array(rows, np.float64).reshape(len(rows), -1), found)
    return [value for _, value, _, _ in found[0]], counted


def expected(outputs: tuple[OutputField, ...], row: list[float], gap: int = 0) -> dict[str, Any]:
    """The record as a dict in the order of its fields."""
    left = iter(row)
    record: dict[str, Any] = {"stream": "key", "sequence": "A", "step": 3, "timestamp_ms": 4}
    for output in outputs:
        numbers = [value_of(output, next(left)) for _ in output.names or range(output.length)]
        if output.names:
            record[output.name] = dict(zip(output.names, numbers, strict=True))
        else:
            record[output.name] = numbers if output.length > 1 else numbers[0]
    return record | {"model": MODEL} | ({"gap": gap} if gap else {})


def value_of(output: OutputField, number: float) -> Any:
    if not math.isfinite(number):
        return None
    if output.kind == "text":
        return output.texts[int(number)]
    return int(number) if output.kind == "whole" else number


ANY_NUMBER = st.floats() | st.sampled_from(
    [
        0.0,
        -0.0,
        1.0,
        1e15,
        1e16,
        123456789012345680.0,
        1e-4,
        1e-5,
        9.5e-6,
        1e-6,
        5e-324,
        1.7976931348623157e308,
        0.1,
        100.0,
    ]
)
NUMBERS: dict[str, st.SearchStrategy[float]] = {
    "float64": ANY_NUMBER,
    "whole": st.sampled_from(
        [0, 127, 128, 255, 256, 65_535, 65_536, 2**32, -1, -32, -33, -128, -129, -(2**15) - 1, -(2**31) - 1]
    )
    | st.integers(-(2**53), 2**53)
    | st.just(math.nan),
    "text": st.integers(0, len(TEXTS) - 1) | st.just(math.nan),
}


@st.composite
def tasks(draw: st.DrawFn) -> tuple[OutputField, ...]:
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7, unique=True)):
        kind = draw(st.sampled_from(list(NUMBERS)))
        names = tuple(draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True)))
        length = 1 if names else draw(st.sampled_from((1, 1, 2, 20)))
        found.append(OutputField(name, names, length, kind, TEXTS if kind == "text" else ()))
    return tuple(found)


@examples(150)
@given(data=st.data(), outputs=tasks(), gap=st.sampled_from((0, 0, 5)))
def test_records_hold_the_bytes_that_msgspec_writes(data: st.DataObject, outputs: Any, gap: int) -> None:
    row = [float(data.draw(NUMBERS[output.kind])) for output in outputs for _ in output.names or range(output.length)]
    record = expected(outputs, row, gap)

    (text,), _ = written(outputs, [row], "json", gap=gap)
    (packed,), _ = written(outputs, [row], "msgpack", gap=gap)

    assert text == msgspec.json.encode(record)
    assert packed == msgspec.msgpack.encode(record)


@examples(100)
@given(number=st.floats(width=32))
def test_numbers_of_a_float32_model_are_its_own_again(number: float) -> None:
    outputs = (OutputField("forecast", ("a", "b")), OutputField("all", length=2))
    row = [number, 0.5, 1.0, number]

    (text,), _ = written(outputs, [row], "json")
    (packed,), _ = written(outputs, [row], "msgpack")

    for record in (msgspec.json.decode(text), msgspec.msgpack.decode(packed)):
        found = [*record["forecast"].values(), *record["all"]]
        numbers = [math.nan if value is None else value for value in found]
        wanted = [value if math.isfinite(value) else math.nan for value in row]
        np.testing.assert_array_equal(np.array(numbers, np.float32), np.array(wanted, np.float32))


@pytest.mark.parametrize("count", [9, 10, 11, 12])
@pytest.mark.parametrize("gap", [0, 7])
def test_a_map_of_more_than_fifteen_fields_has_a_longer_head(count: int, gap: int) -> None:
    outputs = tuple(OutputField(f"output_{number}", kind="float64") for number in range(count))
    row = [float(number) for number in range(count)]

    (packed,), _ = written(outputs, [row], "msgpack", gap=gap)

    assert packed == msgspec.msgpack.encode(expected(outputs, row, gap))


def test_records_with_a_number_that_is_not_finite_are_counted_once_each() -> None:
    outputs = (OutputField("forecast", length=2),)

    _, counted = written(outputs, [[0.0, 1.0], [math.nan, math.inf], [1.0, -math.inf]], "json")

    assert counted == (2, 1)


def test_a_place_that_no_text_has_is_null() -> None:
    outputs = (OutputField("label", kind="text", texts=TEXTS),)

    values, _ = written(outputs, [[-1.0], [4.0], [1.0]], "json")

    assert [msgspec.json.decode(value)["label"] for value in values] == [None, None, "imbalance"]


def test_another_number_of_numbers_than_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="1 samples have 2 numbers each"):
        written((OutputField("forecast", length=2),), [[1.0]], "json")


def test_an_awaited_number_is_null_until_it_is_there() -> None:
    outputs = (OutputField("score", kind="awaited"),)
    rows = [[NOTHING_YET], [-0.5], [math.nan], [1e300]]

    texts, counted = written(outputs, rows, "json")
    packed, _ = written(outputs, rows, "msgpack")

    assert [msgspec.json.decode(text)["score"] for text in texts] == [None, -0.5, None, None]
    assert [msgspec.msgpack.decode(each)["score"] for each in packed] == [None, -0.5, None, None]
    assert counted == (1, 2), "a model gave no number once"
