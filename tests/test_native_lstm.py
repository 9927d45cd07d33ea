"""The compiled LSTM step against nn.LSTM, and a row's result against the same row in other batches."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.data.signals import draw_signals
from core.models.signal_lstm import SignalExtractionLSTM
from core.native.lstm import INSTRUCTION_SETS, LstmKernel, gated_tanh
from tests.offline import signal_model as shipped_model
from tests.strategies import relaxed

Floats = NDArray[np.float32]

every_set = pytest.mark.parametrize("instructions", INSTRUCTION_SETS)


def random_model(features: int = 5, hidden: int = 64, layers: int = 2, seed: int = 0) -> SignalExtractionLSTM:
    torch.manual_seed(seed)
    model = SignalExtractionLSTM(features, hidden, layers).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.4, 0.4)
    return model


def kernel_of(model: SignalExtractionLSTM, instructions: str = INSTRUCTION_SETS[0]) -> LstmKernel:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers: list[Any] = [
        tuple(getattr(model.lstm, f"{name}_l{layer}").detach().numpy() for name in names)
        for layer in range(model.num_layers)
    ]
    output = (model.fc.weight.detach().numpy(), model.fc.bias.detach().numpy())
    return LstmKernel(model.input_size, model.hidden_size, layers, output, instructions=instructions)


def draw(model: SignalExtractionLSTM, rows: int, seed: int = 1) -> tuple[Floats, Floats]:
    """One sample and one state for each row."""
    random = np.random.default_rng(seed)
    samples = random.normal(size=(rows, model.input_size)).astype(np.float32)
    states = random.uniform(-1, 1, (rows, 2 * model.num_layers * model.hidden_size)).astype(np.float32)
    return samples, states


def one_step(kernel: LstmKernel, samples: Floats, states: Floats) -> tuple[Floats, Floats]:
    after, rows = states.copy(), np.arange(len(samples))
    return kernel.advance(samples, rows, np.zeros_like(rows), np.ones_like(rows), after)[:, 0], after


def torch_step(model: SignalExtractionLSTM, samples: Floats, states: Floats) -> tuple[Floats, Floats]:
    shape = (len(samples), 2, model.num_layers, model.hidden_size)
    h, c = torch.from_numpy(states).view(shape).permute(1, 2, 0, 3).contiguous()
    with torch.no_grad():
        predictions, after = model(torch.from_numpy(samples)[:, None], (h, c))
    return predictions[:, 0, 0].numpy(), torch.stack(after).permute(2, 0, 1, 3).reshape(len(samples), -1).numpy()


@every_set
@pytest.mark.parametrize(
    ("features", "hidden", "layers"), [(5, 64, 2), (5, 64, 1), (3, 32, 3), (5, 50, 2), (1, 1, 1), (17, 19, 3)]
)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 13, 40])
def test_a_step_equals_torch(instructions: str, features: int, hidden: int, layers: int, rows: int) -> None:
    model = random_model(features, hidden, layers)
    samples, states = draw(model, rows)

    predictions, after = one_step(kernel_of(model, instructions), samples, states)

    expected, expected_after = torch_step(model, samples, states)
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(after, expected_after, rtol=0, atol=1e-6)


def shipped_signals(count: int, steps: int, first: int = 0) -> Floats:
    """Model inputs (B, T, 5) as the shipped model knows them."""
    signals = draw_signals(11, first, count, steps)
    samples = np.empty((count, steps, 5), np.float32)
    samples[..., 0], samples[..., 1:] = signals.mixed, signals.conditions[:, None]
    return samples


@every_set
def test_steps_of_the_shipped_model_equal_torch(instructions: str) -> None:
    model, samples = shipped_model(), shipped_signals(20, 100)
    state = np.zeros((20, 256), np.float32)
    kernel = kernel_of(model, instructions)

    for sample in np.ascontiguousarray(samples.transpose(1, 0, 2)):
        predictions, after = one_step(kernel, sample, state)
        expected, state = torch_step(model, sample, state)

        np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(after, state, rtol=0, atol=1e-6)


WORST = 158
"""Of 1,000 signals, where kernel and nn.LSTM are furthest apart: 1.6e-5 (benchmarks/equality.py)."""


def test_ten_thousand_steps_of_the_shipped_model_are_as_near_to_torch_as_the_documents_say() -> None:
    """Two float32 implementations may be 3e-4 apart here, as torch with and without oneDNN is."""
    model = shipped_model()
    samples = np.concatenate((shipped_signals(5, 10_000), shipped_signals(1, 10_000, WORST)))
    states, rows = np.zeros((6, 256), np.float32), np.repeat(np.arange(6), 10_000)

    predictions = kernel_of(model).advance(
        samples.reshape(-1, 5), rows, np.tile(np.arange(10_000), 6), np.full(6, 10_000), states
    )

    with torch.no_grad():
        expected = model(torch.from_numpy(samples))[0].numpy()
    apart = np.abs(predictions.reshape(6, -1) - expected[..., 0]).max(axis=1)
    assert (apart <= 2e-5).all()
    assert np.median(apart) <= 5e-6


@relaxed
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    hidden=st.sampled_from([5, 16, 64]),
    instructions=st.sampled_from(INSTRUCTION_SETS),
    seed=st.integers(0, 99),
)
def test_a_row_is_the_same_bits_in_every_batch(lengths: list[int], hidden: int, instructions: str, seed: int) -> None:
    model = random_model(hidden=hidden)
    kernel, random = kernel_of(model, instructions), np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    times = np.concatenate([np.arange(length) for length in lengths])
    mixed = random.permutation(len(rows))
    samples = random.normal(size=(len(rows), 5)).astype(np.float32)
    _, before = draw(model, len(lengths), seed)
    after = before.copy()

    predictions = kernel.advance(samples[mixed], rows[mixed], times[mixed], np.array(lengths), after)

    together = np.empty(len(rows), np.float32)
    together[mixed] = predictions[:, 0]
    for row in range(len(lengths)):
        state, alone = before[row : row + 1], []
        for sample in samples[rows == row]:
            prediction, state = one_step(kernel, sample[None], state)
            alone.append(prediction[0])
        np.testing.assert_array_equal(together[rows == row], np.array(alone, np.float32))
        np.testing.assert_array_equal(after[row], state[0])


@relaxed
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 40), st.integers(1, 3)),
    rows=st.integers(1, 9),
    exponent=st.integers(-40, 3),
    seed=st.integers(0, 99),
)
def test_all_sets_of_this_machine_give_the_same_bits(
    sizes: tuple[int, int, int], rows: int, exponent: int, seed: int
) -> None:
    model = random_model(*sizes, seed=seed)
    samples, states = draw(model, rows, seed)
    samples, states = np.round(samples, 1) * np.float32(10.0**exponent), np.round(states, 2)

    predictions, after = one_step(kernel_of(model, "plain"), samples, states)

    for instructions in INSTRUCTION_SETS:
        found, found_after = one_step(kernel_of(model, instructions), samples, states)
        np.testing.assert_array_equal(found.view(np.int32), predictions.view(np.int32))
        np.testing.assert_array_equal(found_after.view(np.int32), after.view(np.int32))


@every_set
def test_a_sum_just_beside_half_way_is_rounded_once(instructions: str) -> None:
    """By way of float64 it would be rounded to half way first, and then to the even side."""
    ulp, near = np.float32(2.0**-23), np.array([1 - 2.0**-23, 1 - 2.0**-24, 1, 1 + 2.0**-23], np.float32)
    samples = np.concatenate((near, -near))[:, None] * np.float32(2.0**-24)
    slopes = np.tile([1, 1 + ulp, 1 - ulp, 1 + 2 * ulp], 4).astype(np.float32)  # of g, by unit
    offsets = (np.repeat([1, 1 + ulp, 1 + 2 * ulp, 1.5 - ulp], 4) * np.tile([1, -1], 8)).astype(np.float32)
    weights, biases = np.zeros((4, 16, 1), np.float32), np.zeros((4, 16), np.float32)
    weights[2, :, 0], biases[2] = slopes * np.float32(2.0**-9), offsets * np.float32(2.0**-9)
    biases[0] = 30.0  # the gate i is 1, so c becomes tanh(g)
    flat = (weights.reshape(64, 1), np.zeros((64, 16), np.float32), biases.reshape(64), np.zeros(64, np.float32))
    output = np.zeros((1, 16), np.float32), np.zeros(1, np.float32)

    _, after = one_step(
        LstmKernel(1, 16, [flat], output, instructions=instructions), samples, np.zeros((8, 32), np.float32)
    )

    exact = [[exact_sum(s, x, o) for s, o in zip(weights[2, :, 0], biases[2], strict=True)] for x in samples[:, 0]]
    expected = gated_tanh(np.full(128, np.inf, np.float32), np.array(exact, np.float32).reshape(-1), instructions)
    np.testing.assert_array_equal(after[:, 16:].reshape(-1), expected)


def exact_sum(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """a * b + c, rounded once."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    return min(around, key=lambda found: (abs(Fraction(float(found)) - exact), int(found.view(np.int32)) & 1))


@every_set
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_stays_in_its_row(instructions: str, bad: float) -> None:
    model = random_model(hidden=20)
    samples, states = draw(model, 13)
    expected, expected_after = one_step(kernel_of(model, instructions), samples, states)
    samples[4, 0] = bad

    predictions, after = one_step(kernel_of(model, instructions), samples, states)

    others = np.arange(13) != 4
    np.testing.assert_array_equal(predictions[others], expected[others])
    np.testing.assert_array_equal(after[others], expected_after[others])
    assert np.isnan(predictions[4]) == np.isnan(bad)  # infinity only saturates the gates


@every_set
def test_tiny_states_count_as_zero_and_only_inside(instructions: str) -> None:
    model = random_model(hidden=16)
    samples, states = draw(model, 2)
    tiny = np.float32(1e-40)

    _, from_tiny = one_step(kernel_of(model, instructions), samples, np.full_like(states, tiny))

    _, from_zeros = one_step(kernel_of(model, instructions), samples, np.zeros_like(states))
    assert (from_tiny == from_zeros).all()
    assert tiny * np.float32(0.5) > 0


def test_no_samples_give_no_predictions() -> None:
    none = np.empty(0, np.int64)
    kernel = kernel_of(random_model())

    found = kernel.advance(np.empty((0, 5), np.float32), none, none, none, np.empty((0, 256), np.float32))

    assert found.shape == (0, 1)


@pytest.mark.parametrize(
    ("rows", "times", "lengths"),
    [
        ([0, 0], [0, 0], [2]),  # twice the same place
        ([0, 0], [0, 2], [2]),  # a hole
        ([0, 1], [0, 0], [2]),  # a row that is not there
        ([0, -1], [0, 0], [1, 1]),
        ([0, 0], [0, 1], [3]),  # more samples than there are
        ([0, 0], [0, 1], [2, 0]),
        ([0, 0], [0], [2]),
        ([0, 0], [0, 1], []),
    ],
)
def test_samples_that_are_no_runs_are_refused(rows: list[int], times: list[int], lengths: list[int]) -> None:
    kernel, states = kernel_of(random_model()), np.zeros((len(lengths), 256), np.float32)
    whole = [np.array(part, np.int64) for part in (rows, times, lengths)]

    with pytest.raises(ValueError, match="runs without holes"):
        kernel.advance(np.zeros((2, 5), np.float32), *whole, states)


def test_other_sizes_are_refused() -> None:
    kernel, one = kernel_of(random_model()), np.zeros(1, np.int64)

    with pytest.raises(ValueError, match=r"samples: \(1, 4\), where \(1, 5\)"):
        kernel.advance(np.zeros((1, 4), np.float32), one, one, one + 1, np.zeros((1, 256), np.float32))
    with pytest.raises(ValueError, match=r"states: \(1, 255\), where \(1, 256\)"):
        kernel.advance(np.zeros((1, 5), np.float32), one, one, one + 1, np.zeros((1, 255), np.float32))
    with pytest.raises(ValueError, match="this machine has"):
        kernel_of(random_model(), "mmx")


def grid() -> Floats:
    """Numbers of both signs, dense where the functions move, and the extremes."""
    sizes = np.concatenate((np.linspace(0, 20, 400_001), np.geomspace(1e-30, 1e6, 100_001), [np.inf]))
    return np.concatenate((sizes, -sizes)).astype(np.float32)


def ulps(found: Floats, exact: NDArray[np.float64], least: float) -> float:
    """The largest error in units of the last place; below ``least`` in those of ``least``."""
    return float(np.max(np.abs(found - exact) / np.spacing(np.maximum(np.abs(exact), least).astype(np.float32))))


@every_set
def test_tanh_is_exact_to_two_units_in_the_last_place(instructions: str) -> None:
    x = grid()

    found = gated_tanh(np.full_like(x, np.inf), x, instructions)

    assert ulps(found, np.tanh(x.astype(np.float64)), 1e-37) < 2
    np.testing.assert_array_equal(np.signbit(found), np.signbit(x))


@every_set
def test_sigmoid_is_exact_near_one_and_in_proportion_near_zero(instructions: str) -> None:
    x = grid()
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))

    found = gated_tanh(x, np.full_like(x, np.inf), instructions)

    assert ulps(found[x >= 0], exact[x >= 0], 0.5) < 2
    assert ulps(found, exact, 2e-9) < 4
    assert np.abs(found - exact).max() < 1.2e-7
