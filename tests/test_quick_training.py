"""Brief training: its parts do what they say, and a moment of it leaves a checkpoint that loads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.data.signals import NOISE_STD
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.training import quick_defect, quick_signal
from core.training.metrics import auc_roc, brier
from core.training.quick_signal import SEGMENT, SEGMENTS, SignalFeed, chrono_init


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=30))
def test_auc_agrees_with_comparing_every_pair(rows):
    scores, labels = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]

    assert auc_roc(scores, labels) == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_brier_is_the_mean_squared_distance():
    assert brier(np.array([0.5, 1.0]), np.array([0, 1])) == 0.125


def test_chrono_biases_give_memories_up_to_the_longest():
    lstm = torch.nn.LSTM(5, 64, 2)
    chrono_init(lstm, longest=500)

    for layer in range(2):
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        assert bias[64:128].min() >= 0.0
        assert math.log(100) < bias[64:128].max() <= math.log(499)
        torch.testing.assert_close(bias[:64], -bias[64:128])
        assert not bias[128:].any()


def test_rows_of_the_feed_are_whole_samples_read_in_segments():
    feed = SignalFeed(torch.Generator().manual_seed(1))
    inputs, targets, kept, _ = (torch.stack(parts) for parts in zip(*(feed.next() for _ in range(32)), strict=True))
    first = int((kept[:, 0] == 0).nonzero()[0])
    whole = targets[first : first + SEGMENTS, 0, :, 0].flatten()  # one sample of row 0: it asks for 1 Hz
    seconds = torch.arange(SEGMENT * SEGMENTS) / 1000.0
    waves = torch.stack([torch.sin(2 * math.pi * seconds), torch.cos(2 * math.pi * seconds)], dim=1)
    fitted = waves @ torch.linalg.lstsq(waves, whole[:, None]).solution

    torch.testing.assert_close(fitted[:, 0], whole, atol=1e-3, rtol=0)
    assert kept[first + 1 : first + SEGMENTS, 0].all()
    assert not kept[first + SEGMENTS, 0]
    assert (inputs[..., 1:].sum(dim=-1) == 1).all()
    assert NOISE_STD < inputs[..., 0].std() < 0.7


def test_signal_training_leaves_a_checkpoint_that_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(quick_signal, "CHECK_SAMPLES", 4)
    quick_signal.train_signal(tmp_path / "signal.pt", minutes=1e-4, seed=0)

    assert load_model(tmp_path / "signal.pt", "signal").hidden_size == 64


def test_defect_training_leaves_a_calibrated_checkpoint_that_loads(tmp_path, monkeypatch):
    for name, value in (("CHECK_CASTS", 20), ("CALIBRATION_CASTS", 20), ("BATCH", 4)):
        monkeypatch.setattr(quick_defect, name, value)
    quick_defect.train_defect(tmp_path / "defect.pt", minutes=1e-4, seed=0)
    model = load_model(tmp_path / "defect.pt", "defect")

    assert model.calibration is not None
    assert model.input_statistics is not None


def test_the_shipped_signal_model_follows_every_frequency():
    figures = quick_signal.evaluate_signal(load_model(checkpoint_path("signal"), "signal"), 31, 8, steps=3000)

    assert all(figures[f"correlation_after_1s_{frequency}hz"] > 0.97 for frequency in (1, 3, 5, 7))


def test_the_shipped_defect_model_comes_near_the_limit():
    model = load_model(checkpoint_path("defect"), "defect")
    figures = quick_defect.evaluate_defect(model, quick_defect.final_windows(32, 400, model.input_statistics))

    assert figures["auc"] > 0.9
    assert figures["auc"] > figures["auc_limit"] - 0.05
    assert checkpoint_path("signal").stat().st_size + checkpoint_path("defect").stat().st_size < 5_000_000
