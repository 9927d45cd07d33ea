"""Starts of training: a Kalman filter inside an LSTM, and memories of chosen lengths."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from core.data.signals import draw_signals
from core.errors import StartupError
from core.models.signal_lstm import SignalExtractionLSTM
from core.training.initialise import chrono_init, kalman_init
from core.training.kalman import Mixture, kalman


def predictions(model, block):
    conditions = np.repeat(block.conditions[:, None], block.mixed.shape[1], axis=1)
    inputs = np.concatenate([block.mixed[:, :, None], conditions], axis=2)
    with torch.no_grad():
        return model(torch.from_numpy(inputs))[0][:, :, 0].numpy()


@pytest.fixture(scope="module")
def filtering():
    torch.manual_seed(0)
    model = SignalExtractionLSTM(dropout=0.0)
    kalman_init(model, Mixture())
    return model


def test_a_model_that_holds_the_filter_comes_near_it_on_every_frequency(filtering):
    block = draw_signals(seed=21, first=0, count=16, steps=4000)
    found = predictions(filtering, block)[:, 1000:]
    best = kalman(Mixture(), block.mixed)[np.arange(16), 1000:, block.selected]

    for frequency in range(4):
        rows = block.selected == frequency
        assert np.mean((found[rows] - best[rows]) ** 2) < 1.5e-3
        assert np.corrcoef(found[rows].ravel(), block.target[rows, 1000:].ravel())[0, 1] > 0.999


def test_signals_on_another_scale_are_followed_as_well(filtering):
    torch.manual_seed(0)
    scaled = SignalExtractionLSTM(dropout=0.0)
    kalman_init(scaled, Mixture(noise_std=10.0, amplitudes=(50.0, 200.0)))
    block = draw_signals(seed=23, first=0, count=4, steps=2000)
    expected = predictions(filtering, block)

    found = predictions(scaled, dataclasses.replace(block, mixed=100.0 * block.mixed))

    np.testing.assert_allclose(found / 100.0, expected, atol=1e-3)


def test_no_cell_grows_with_the_length_of_a_sequence(filtering):
    block = draw_signals(seed=22, first=0, count=4, steps=20_000)
    inputs = torch.from_numpy(
        np.concatenate([block.mixed[:, :, None], np.repeat(block.conditions[:, None], 20_000, 1)], 2)
    )
    with torch.no_grad():
        _, (_, c) = filtering(inputs)

    assert c.abs().max() < 7.0


def test_the_masks_keep_the_filter_from_every_gradient_and_leave_the_rest(filtering):
    model = SignalExtractionLSTM(dropout=0.0)
    masks = kalman_init(model, Mixture())

    assert set(masks) == {f"lstm.{part}_l0" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    for name, mask in masks.items():
        assert mask.shape == model.get_parameter(name).shape
        assert 0 < mask.sum() < mask.numel()


@pytest.mark.parametrize(
    ("model", "mixture"),
    [
        (SignalExtractionLSTM(hidden_size=16), Mixture()),
        (SignalExtractionLSTM(num_layers=1), Mixture()),
        (SignalExtractionLSTM(), Mixture((1.0, 3.0))),
    ],
)
def test_a_model_that_cannot_hold_the_filter_is_refused(model, mixture):
    with pytest.raises(StartupError, match=r"initialisation kalman for \d frequencies needs 2 layers"):
        kalman_init(model, mixture)


def test_chrono_biases_give_memories_up_to_the_longest():
    lstm = torch.nn.LSTM(5, 64, 2)
    chrono_init(lstm)

    for layer in range(2):
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        assert bias[64:128].min() >= 0.0
        assert math.log(100) < bias[64:128].max() <= math.log(499)
        torch.testing.assert_close(bias[:64], -bias[64:128])
        assert not bias[128:].any()
