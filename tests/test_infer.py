"""Batched passes against one row, or one window, at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.engines import infer_torch
from core.engines.infer import (
    PEAK_TOLERANCE,
    advance,
    advance_sequences,
    attended,
    calibrated,
    peak_of,
    score_windows,
    signal_net,
    state_size,
)
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from tests.strategies import defect_model, relaxed, signal_model


def sequences(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, 5)).astype(np.float32) for length in lengths]


def states(rows: int, model: SignalExtractionLSTM, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, state_size(model))).astype(np.float32)


def slowly(model: SignalExtractionLSTM, sequence: np.ndarray, state: np.ndarray) -> tuple[list[float], np.ndarray]:
    """One step at a time through plain nn.LSTM and nn.Linear."""
    h, c = torch.from_numpy(state.copy()).view(2, model.num_layers, 1, model.hidden_size)
    predictions = []
    with torch.no_grad():
        for sample in torch.from_numpy(sequence):
            output, (h, c) = nn.LSTM.forward(model.lstm, sample.view(1, 1, -1), (h, c))
            predictions.append(nn.Linear.forward(model.fc, output).item())
    return predictions, torch.stack((h, c)).reshape(-1).numpy()


@relaxed
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_a_batch_equals_row_by_row_stepping(lengths: list[int]) -> None:
    model = signal_model()
    before = states(len(lengths), model)
    kept = before.copy()

    predictions, after = advance_sequences(model, sequences(lengths), before)

    for row, sequence in enumerate(sequences(lengths)):
        expected, state = slowly(model, sequence, kept[row])
        np.testing.assert_allclose(predictions[row], expected, atol=1e-6)
        np.testing.assert_allclose(after[row], state, atol=1e-6)
    assert (before == kept).all()


def test_samples_may_come_in_any_order() -> None:
    model = signal_model()
    (long, short), before = sequences([3, 2]), states(2, model)
    samples = np.stack((short[0], long[0], long[1], short[1], long[2]))

    mixed, after = advance(
        model, samples, np.array([1, 0, 0, 1, 0]), np.array([0, 0, 1, 1, 2]), np.array([3, 2]), before
    )

    expected, expected_after = advance_sequences(model, [long, short], before)
    np.testing.assert_array_equal(mixed[[1, 2, 4]], expected[0])
    np.testing.assert_array_equal(mixed[[0, 3]], expected[1])
    np.testing.assert_array_equal(after, expected_after)


def test_one_very_long_row_beside_many_short_ones() -> None:
    model = signal_model()
    lengths = [1] * 50 + [2_000] + [1] * 50

    predictions, after = advance_sequences(model, sequences(lengths))

    alone, alone_after = advance_sequences(model, [sequences(lengths)[50]])
    np.testing.assert_allclose(predictions[50], alone[0], atol=1e-6)
    np.testing.assert_allclose(after[50], alone_after[0], atol=1e-6)


def test_whole_sequences_start_at_zeros() -> None:
    model = signal_model()

    (predictions,), _ = advance_sequences(model, sequences([7]))

    whole, _ = model(torch.from_numpy(sequences([7])[0])[None])
    np.testing.assert_allclose(predictions, whole[0, :, 0].detach().numpy(), atol=1e-6)


def test_input_statistics_are_applied_before_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = {"mean": [1.0, 2.0, 3.0, 4.0, 5.0], "std": [2.0, 1.0, 0.5, 4.0, 1.0]}
    raw = sequences([6, 4])
    ready = [((x - statistics["mean"]) / statistics["std"]).astype(np.float32) for x in raw]
    expected, expected_scores = advance_sequences(signal_model(), ready)[0], score_windows(defect_model(), ready)

    monkeypatch.setattr(signal_model(), "input_statistics", statistics)
    monkeypatch.setattr(defect_model(), "input_statistics", statistics)

    for one, other in zip(expected, advance_sequences(signal_model(), raw)[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(expected_scores[0], score_windows(defect_model(), raw)[0], atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "ends", "attention"])
def test_scoring_together_equals_scoring_one_by_one(readout: str) -> None:
    torch.manual_seed(3)
    model = SteelDefectLSTM({"architecture": {"hidden_size": 8, "readout": readout}}).eval()
    windows = sequences([5, 40, 1, 17, 40, 3] * 25)  # more than one batch

    probabilities, peaks = score_windows(model, windows)

    for window, probability, peak in list(zip(windows, probabilities, peaks, strict=True))[::7]:
        with torch.no_grad():
            logit = model(torch.from_numpy(window)[None]).item()
            attention = model.get_attention_weights()[0]
        assert probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
        assert attention[peak] >= attention.max() * (1 - 2 * PEAK_TOLERANCE)


def test_no_windows_give_no_scores() -> None:
    assert score_windows(defect_model(), []) == ([], [])


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (None, [0.5, 0.880797, 0.0]),
        ({"a": 0.0, "b": 0.0}, [0.5] * 3),
        ({"a": 2.0, "b": -1.0}, [0.268941, 0.952574, 0.0]),
    ],
)
def test_a_probability_is_the_calibrated_logit(calibration: dict[str, float] | None, expected: list[float]) -> None:
    logits = np.array([0.0, 2.0, -1e6], np.float32)

    assert expected == pytest.approx(calibrated(logits, calibration), abs=1e-6)


def test_where_attention_is_flat_its_first_sample_is_the_peak() -> None:
    """A sensor that stands still gives equal weights but for rounding."""
    assert peak_of(np.array([0.1, 0.2, 0.2 + 1e-8, 0.2 + 2e-8, 0.1], np.float32)) == 1


def test_torch_gives_what_the_kernels_give() -> None:
    """A model on a GPU runs by these functions."""
    windows, model = sequences([5, 40, 1, 40, 3]), signal_model()
    (logits, attention), before = infer_torch.attended(defect_model(), windows), states(5, model)
    expected, expected_attention = attended(defect_model(), windows)
    np.testing.assert_allclose(calibrated(logits, defect_model().calibration), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(attention), np.concatenate(expected_attention), rtol=0, atol=1e-6)

    lengths = np.array([len(window) for window in windows])
    rows, times = np.repeat(np.arange(5), lengths), np.concatenate([np.arange(length) for length in lengths])
    found = infer_torch.advance(model, np.concatenate(windows), rows, times, lengths, before)
    kernel = signal_net(model).advance(np.concatenate(windows), rows, times, lengths, before)
    for one, other in zip(found, kernel, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_inference_leaves_no_trace_in_the_model() -> None:
    model = signal_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    advance_sequences(model, sequences([3, 1]))

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training


def test_a_rows_result_does_not_depend_on_what_else_is_in_its_batch() -> None:
    """Left to the library's kernels, the shipped model adds last bits up to 1e-6 in these 2,000 steps."""
    model = load_model(checkpoint_path("signal"), "signal")
    assert isinstance(model, SignalExtractionLSTM)
    draw = np.random.default_rng(3)
    whole = sequences([2000, 1999])
    together, after = advance_sequences(model, [*whole, *sequences([500] * 40)])

    state, start, alone = np.zeros((1, state_size(model)), np.float32), 0, []
    while start < 2000:
        steps = int(draw.integers(1, 60))
        company = sequences([int(length) for length in draw.integers(1, 9, draw.integers(0, 30))])
        before = np.concatenate((state, np.zeros((len(company), state_size(model)), np.float32)))
        predictions, behind = advance_sequences(model, [whole[0][start : start + steps], *company], before)
        state, start = behind[:1], start + steps
        alone.append(predictions[0])

    np.testing.assert_allclose(np.concatenate(alone), together[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(state[0], after[0], rtol=0, atol=1e-7)
