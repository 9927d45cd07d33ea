"""What a task makes of its model's numbers, against slow and obvious versions of each function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.arrays import Float32s
from core.engines.declared.functions import NO_DISTANCE
from core.engines.declared.outputs import StepOutputs
from core.errors import StartupError
from core.tasks.declaration import Output
from core.wire.outputs import OutputField

WIDTH = 4  # of a sample
TENSORS = {"y": slice(0, 3), "score": slice(3, 4)}
MODEL_NUMBERS = 4


def outputs_of(*outputs: Output) -> StepOutputs:
    return StepOutputs("pump.onnx", outputs, TENSORS.__getitem__, WIDTH)


def made(output: Output, numbers: list[float], samples: list[float] | None = None) -> list[float]:
    """The numbers of one output at the first step of one row."""
    found, _ = outputs_of(output).step(
        np.array([samples or [0.0] * WIDTH], np.float32),
        np.array([numbers], np.float32),
        np.zeros((1, outputs_of(output).kept), np.float32),
    )
    return [float(number) for number in found[0]]


def played(outputs: StepOutputs, numbers: Float32s, samples: Float32s | None = None) -> list[list[float]]:
    """The outputs of one row over time, of numbers (T, K)."""
    kept, found = np.zeros((1, outputs.kept), np.float32), []
    given = np.zeros((len(numbers), WIDTH), np.float32) if samples is None else samples
    for step in range(len(numbers)):
        row, kept = outputs.step(given[step : step + 1], numbers[step : step + 1], kept)
        found.append([float(number) for number in row[0]])
    return found


def test_a_tensor_is_published_as_it_is() -> None:
    assert made(Output("y", "y"), [1.5, -2.0, 3.25, 9.0]) == [1.5, -2.0, 3.25]


def test_a_sigmoid_scales_and_shifts_first() -> None:
    (found,) = made(Output("p", "score", apply="sigmoid", scale=2.0, shift=-1.0), [0, 0, 0, 0.75])

    assert found == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-7)
    assert made(Output("p", "score", apply="sigmoid", scale=-1.0), [0, 0, 0, 1e30]) == [0.0]


def test_a_softmax_names_its_classes() -> None:
    outputs = outputs_of(Output("classes", "y", apply="softmax", labels=("ok", "worn", "broken")))

    assert made(Output("classes", "y", apply="softmax"), [1.0, 2.0, 3.0, 0.0]) == pytest.approx(
        [math.exp(x) / sum(map(math.exp, (1, 2, 3))) for x in (1, 2, 3)], abs=1e-7
    )
    assert outputs.fields == (OutputField("classes", ("ok", "worn", "broken"), 3),)


def test_a_label_is_that_of_the_largest_number() -> None:
    output = Output("state", "y", apply="label", labels=("ok", "worn", "broken"))

    assert made(output, [1.0, 5.0, 3.0, 0.0]) == [1.0]
    assert math.isnan(made(output, [1.0, math.nan, 3.0, 0.0])[0])
    assert outputs_of(output).fields == (OutputField("state", kind="text", texts=("ok", "worn", "broken")),)


def test_above_holds_until_the_number_falls_below_clear() -> None:
    outputs = outputs_of(Output("alarm", "score", apply="above", threshold=3.0, clear=1.0))
    numbers = np.zeros((8, MODEL_NUMBERS), np.float32)
    numbers[:, 3] = [2.0, 3.0, 1.0, math.nan, 2.0, 0.9, 2.9, 3.1]

    found = [row[0] for row in played(outputs, numbers)]

    assert [None if math.isnan(one) else bool(one) for one in found] == [
        False, True, True, None, True, False, False, True
    ]  # fmt: skip


def test_an_error_is_the_root_mean_square_of_the_differences() -> None:
    found = made(Output("error", "y", apply="error"), [1.0, 2.0, 3.0, 0.0], [0.0, 4.0, 3.0, 7.0])

    assert found == pytest.approx([math.sqrt((1 + 4 + 0) / 3)], abs=1e-7)


def test_a_forecast_is_compared_with_the_next_sample() -> None:
    outputs = outputs_of(Output("forecast", "y"), Output("score", "", of="forecast", apply="forecast_error"))
    numbers = np.array([[1, 2, 3, 0], [4, 4, 4, 0], [0, 0, 0, 0]], np.float32)
    samples = np.array([[9, 9, 9, 9], [1, 2, 6, 9], [4, 4, 4, 9]], np.float32)

    found = [row[3] for row in played(outputs, numbers, samples)]

    assert found == pytest.approx([NO_DISTANCE, math.sqrt(9 / 3), 0.0], abs=1e-7)
    assert outputs.fields[1] == OutputField("score", kind="distance")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Output("y", "y", names=("a", "b")), "has 2 names, and tensor 'y' has 3 numbers: name each of them"),
        (Output("y", "y", apply="softmax", labels=("a",)), "has 1 labels, and tensor 'y' has 3 numbers"),
        (Output("y", "y", apply="above", threshold=1.0, clear=1.0), "above is for one number, and tensor 'y' has 3"),
    ],
)
def test_outputs_that_do_not_fit_the_model_are_refused(output: Output, words: str) -> None:
    with pytest.raises(StartupError) as refused:
        outputs_of(output)

    assert words in str(refused.value)
    assert str(refused.value).startswith("pump.onnx: output 'y'")


APPLIED: list[Any] = [
    Output("y", "y"),
    Output("p", "y", apply="sigmoid", scale=0.7, shift=0.1),
    Output("classes", "y", apply="softmax"),
    Output("alarm", "score", apply="above", threshold=0.5, clear=0.1),
    Output("error", "y", apply="error"),
    Output("ahead", "", of="y", apply="forecast_error"),
]


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_bits_in_every_batch(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = outputs_of(*APPLIED)
    samples = random.normal(size=(rows, WIDTH)).astype(np.float32)
    numbers = random.normal(size=(rows, MODEL_NUMBERS)).astype(np.float32)
    before = np.abs(random.normal(size=(rows, outputs.kept))).astype(np.float32)

    together = outputs.step(samples, numbers, before)

    for row in range(rows):
        one = slice(row, row + 1)
        alone = outputs.step(samples[one], numbers[one], before[one])
        for found, expected in zip(together, alone, strict=True):
            assert found[one].tobytes() == expected.tobytes()
