"""What is made of a forecast, against a slow and obvious version: plain Python, one stream, number after number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.arrays import Float32s
from core.engines.declared.outputs import StepOutputs
from core.errors import StartupError
from core.tasks.declaration import Output
from core.wire.outputs import NOTHING_YET, OutputField
from tests.forecasts import LARGEST, SlowScores
from tests.strategies import examples

NAMES = ("flow", "level", "speed")


def forecaster(
    numbers: int = 3, changes: bool = True, least: tuple[float, ...] = (), horizon: int = 4, publish: bool = False
) -> StepOutputs:
    names = NAMES[:numbers]
    least = least or (0.0,) * numbers
    outputs = (
        Output("forecast", "y", names, apply="forecast", changes=changes, least=least, publish=publish),
        Output("expected", "", names, apply="expected", of="forecast"),
        Output("surprise", "", apply="surprise", of="forecast"),
        Output("score", "", apply="likelihood_ratio", of="forecast", horizon=horizon),
        Output("leading", "", apply="leading", of="score", labels=names),
        Output("alarm", "", apply="above", of="score", threshold=2.0, clear=0.5),
    )
    return StepOutputs("pump.safetensors", outputs, {"y": slice(0, 2 * numbers)}.__getitem__, numbers)


def shown(row: Float32s, numbers: int) -> dict[str, Any]:
    """The numbers of one row as a record has them: null is None."""

    def awaited(number: float) -> float | None:
        return number if math.isfinite(number) and number != NOTHING_YET else None

    values = [float(number) for number in row]
    surprise, score, leading, alarm = values[numbers:]
    return {
        "expected": [awaited(number) for number in values[:numbers]],
        "surprise": surprise if surprise >= 0 else None,
        "score": awaited(score),
        "leading": int(leading) if leading >= 0 else None,
        "alarm": bool(alarm) if alarm >= 0 else None,
    }


def as_float32(number: float | None) -> float | None:
    """A number that is too large is none, and so is the one that stands for none."""
    return None if number is None or not -LARGEST < number <= LARGEST else float(np.float32(number))


def played(outputs: StepOutputs, samples: Float32s, numbers: Float32s) -> list[dict[str, Any]]:
    """The outputs of one stream over time, of samples (T, n) and numbers of the model (T, 2n)."""
    kept, found = np.zeros((1, outputs.kept), np.float32), []
    for step in range(len(numbers)):
        row, kept = outputs.step(samples[step : step + 1], numbers[step : step + 1], kept)
        found.append(shown(row[0], samples.shape[1]))
    return found


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SOME = st.one_of(st.floats(-3, 3, width=32), FLOATS)
WILD = st.one_of(SOME, st.sampled_from([math.nan, math.inf, -math.inf, LARGEST, -LARGEST]))


@st.composite
def streams(draw: st.DrawFn) -> tuple[SlowScores, StepOutputs, Float32s, Float32s]:
    numbers, changes, horizon = draw(st.integers(1, 3)), draw(st.booleans()), draw(st.sampled_from([1, 2, 5, 100_000]))
    least = tuple(draw(st.lists(st.sampled_from([0.0, 1e-30, 0.5]), min_size=numbers, max_size=numbers)))
    steps = draw(st.integers(1, 12))
    wild = draw(st.booleans())
    samples = draw(st.lists(st.lists(SOME, min_size=numbers, max_size=numbers), min_size=steps, max_size=steps))
    given_numbers = st.lists(WILD if wild else SOME, min_size=2 * numbers, max_size=2 * numbers)
    made = draw(st.lists(given_numbers, min_size=steps, max_size=steps))
    outputs = forecaster(numbers, changes, least, horizon)
    arrays = np.array(samples, np.float32), np.array(made, np.float32)
    return SlowScores(numbers, changes, least, horizon), outputs, *arrays


@examples(200)
@given(streams())
def test_scores_are_those_of_plain_python(stream: tuple[SlowScores, StepOutputs, Float32s, Float32s]) -> None:
    slow, outputs, samples, numbers = stream

    for found, sample, forecast in zip(played(outputs, samples, numbers), samples, numbers, strict=True):
        wanted = slow.step(sample.tolist(), forecast.tolist())
        wanted["expected"] = [as_float32(number) for number in wanted["expected"]]
        for name in ("surprise", "score"):
            number = wanted.pop(name)
            assert found.pop(name) == (None if number is None else pytest.approx(number, rel=1e-6, abs=1e-6))
        assert found == wanted


def ratio(mean: float, variance: float) -> float:
    """The likelihood ratio of distances with this mean and variance."""
    return (mean**2 + variance - 1 - math.log(variance)) / 2


def steady(steps: int, numbers: int = 3) -> Float32s:
    """Forecasts of no change with a spread of 1."""
    return np.zeros((steps, 2 * numbers), np.float32)


def test_a_first_step_has_no_score_and_no_alarm() -> None:
    (found,) = played(forecaster(), np.ones((1, 3), np.float32), steady(1))

    none = {"surprise": None, "score": None, "leading": None}
    assert found == {"expected": [None] * 3, **none, "alarm": False}


def test_of_equal_ratios_the_first_leads() -> None:
    found = played(forecaster(horizon=1), np.zeros((2, 3), np.float32), steady(2))

    assert (found[1]["leading"], found[1]["score"]) == (0, pytest.approx(ratio(0, 0.1)))


def test_the_number_with_the_largest_ratio_leads_and_is_the_score() -> None:
    samples = np.array([[0, 0, 0], [0, 3, -9]], np.float32)

    found = played(forecaster(horizon=1), samples, steady(2))

    assert [(each["leading"], each["score"]) for each in found] == [(None, None), (2, pytest.approx(ratio(6, 0.1)))]


def test_a_score_needs_evidence_of_several_samples_from_the_first_one_on() -> None:
    samples = np.array([[0, 0, 0], [9, 0, 0], [18, 0, 0], [27, 0, 0]], np.float32)

    found = [each["score"] for each in played(forecaster(horizon=60), samples, steady(4))]

    spans = (60, 20, 6)
    first = [ratio(6 / steps, 1 + 35 / steps - (6 / steps) ** 2) for steps in spans]
    grown = [1 - (1 - 1 / steps) ** 3 for steps in spans]
    third = [ratio(6 * share, 1 + 35 * share - (6 * share) ** 2) for share in grown]
    assert found[1] == pytest.approx(sum(first) / 3, rel=1e-5)
    assert found[3] == pytest.approx(sum(third) / 3, rel=1e-5)
    assert found[1] < 1 < found[3]


def test_a_number_far_off_counts_as_six_standard_deviations() -> None:
    samples = np.array([[0, 0, 0], [1e30, 0, 0]], np.float32)

    found = played(forecaster(horizon=1), samples, steady(2))[1]

    assert found["score"] == pytest.approx(ratio(6, 0.1))
    assert found["surprise"] == pytest.approx(1e30 / math.sqrt(3))


def test_a_surprise_that_no_float32_holds_is_the_largest_one() -> None:
    samples, forecasts = np.array([[-LARGEST], [LARGEST]], np.float32), np.array([[0, -LARGEST]] * 2, np.float32)

    assert played(forecaster(1), samples, forecasts)[1]["surprise"] == LARGEST


def test_a_logarithm_that_exp_does_not_hold_is_a_huge_spread() -> None:
    forecasts = np.array([[0, LARGEST]] * 2, np.float32)

    found = played(forecaster(1, horizon=1), np.array([[0], [5]], np.float32), forecasts)[1]

    assert (found["surprise"], found["score"]) == (pytest.approx(5 * math.exp(-85)), pytest.approx(ratio(0, 0.1)))


def test_the_least_standard_deviation_is_kept() -> None:
    forecasts = np.array([[0, -100]] * 2, np.float32)

    found = played(forecaster(1, least=(0.5,)), np.array([[0], [1]], np.float32), forecasts)[1]

    assert found["surprise"] == 2.0


def test_a_forecast_that_is_no_number_changes_no_average_and_no_alarm() -> None:
    samples = np.array([[0], [10], [10], [10], [10]], np.float32)
    forecasts = steady(5, 1)
    forecasts[1] = np.nan
    forecasts[2] = [10, 0]

    found = played(forecaster(1, changes=False, horizon=2), samples, forecasts)

    assert found[1]["alarm"] is True
    assert found[2] == {"expected": [None], "surprise": None, "score": None, "leading": None, "alarm": None}
    assert [found[place]["score"] for place in (1, 3)] == pytest.approx(
        [(ratio(3, 9.5) + 2 * ratio(6, 0.1)) / 3, (ratio(1.5, 7) + 2 * ratio(0, 0.1)) / 3]
    )


def test_a_change_is_told_where_the_mean_has_no_digits_left_for_it() -> None:
    at = 2.0**24  # the next float32 is 2 above
    samples, forecasts = np.array([[at], [at + 2]], np.float32), np.array([[1.5, 0]] * 2, np.float32)

    assert played(forecaster(1), samples, forecasts)[1]["surprise"] == pytest.approx(0.5)


@pytest.mark.parametrize("changes", [True, False])
def test_a_forecast_that_is_published_is_that_of_the_next_sample(changes: bool) -> None:
    outputs = forecaster(2, changes, publish=True)
    samples, numbers = np.array([[10, 20]], np.float32), np.array([[1, 2, 0, 0]], np.float32)

    found, _ = outputs.step(samples, numbers, np.zeros((1, outputs.kept), np.float32))

    assert found[0, :2].tolist() == ([11, 22] if changes else [1, 2])
    assert outputs.fields[0] == OutputField("forecast", NAMES[:2], 2)


def test_what_is_not_published_stands_in_no_record() -> None:
    outputs = forecaster()

    assert [each.name for each in outputs.fields] == ["expected", "surprise", "score", "leading", "alarm"]
    assert [each.kind for each in outputs.fields] == ["awaited", "distance", "awaited", "text", "text"]
    assert outputs.width == 3 + 4


def test_a_forecast_is_kept_once() -> None:
    assert forecaster(changes=True).kept == (1 + 3 * 3) + 6 * 3 + 1
    assert forecaster(changes=False).kept == (1 + 2 * 3) + 6 * 3 + 1


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_bits_in_every_batch(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = forecaster()
    samples = random.normal(size=(rows, 3)).astype(np.float32)
    numbers = random.normal(size=(rows, 6)).astype(np.float32)
    before = np.abs(random.normal(size=(rows, outputs.kept))).astype(np.float32)

    together = outputs.step(samples, numbers, before)

    for row in range(rows):
        one = slice(row, row + 1)
        alone = outputs.step(samples[one], numbers[one], before[one])
        for found, expected in zip(together, alone, strict=True):
            assert found[one].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("names", "columns", "width", "words"),
    [
        (NAMES, 3, 3, "tensor 'y' has 3 numbers, and a forecast of 3 numbers has 6"),
        (NAMES, 6, 2, "output 'forecast' has 3 names, and a sample 2 numbers: they cannot be compared"),
    ],
)
def test_a_forecast_that_does_not_fit_is_refused(names: tuple[str, ...], columns: int, width: int, words: str) -> None:
    output = Output("forecast", "y", names, apply="forecast", least=(0.0,) * 3)

    with pytest.raises(StartupError) as refused:
        StepOutputs("pump.onnx", [output], {"y": slice(0, columns)}.__getitem__, width)

    assert words in str(refused.value)


def test_a_sensor_that_is_stuck_is_too_near_to_its_forecast_and_that_counts() -> None:
    samples, forecasts = np.zeros((30, 1), np.float32), steady(30, 1)

    found = [each["score"] for each in played(forecaster(1, horizon=5), samples, forecasts)]

    assert found[1] < found[-1] == pytest.approx(ratio(0, 0.1))
