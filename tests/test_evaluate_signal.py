"""Evaluation of a signal model: figures against slow versions, limits on the same samples, odd files."""

import json

import h5py
import numpy as np
import pytest
import torch

from core.data.layout import open_signals
from core.data.signals import draw_signals, generate_signals
from core.errors import DataError
from core.models.factory import ModelFactory
from core.models.signal_lstm import SignalExtractionLSTM
from core.training import evaluate_signal as module
from core.training.bandpass import bandpass
from core.training.evaluate_signal import evaluate_signal
from core.training.facts import mixture_of
from core.training.initialise import kalman_init
from core.training.kalman import Mixture, kalman

STEPS = 1500


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of signals and a checkpoint that holds the filter."""
    folder = tmp_path_factory.mktemp("evaluation")
    generate_signals(folder / "signals.h5", samples=10, seed=6, steps=STEPS)
    torch.manual_seed(0)
    model = SignalExtractionLSTM(dropout=0.0)
    kalman_init(model, Mixture())
    ModelFactory.save_checkpoint(model.eval(), folder / "signal.pt")
    return folder / "signals.h5", folder / "signal.pt"


def test_figures_agree_with_the_obvious_ones(files, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_SAMPLES", 3 * STEPS)  # several blocks
    report = evaluate_signal(*files)
    block = draw_signals(6, 0, 10, STEPS)
    model = ModelFactory.create_from_checkpoint(files[1])
    inputs = np.concatenate([block.mixed[:, :, None], np.repeat(block.conditions[:, None], STEPS, axis=1)], axis=2)
    with torch.no_grad():
        predicted = model(torch.from_numpy(inputs))[0][:, :, 0].numpy()
    best = kalman(Mixture(), block.mixed)[np.arange(10), :, block.selected]
    plain = bandpass(Mixture(), block.mixed, block.selected)
    figures = report.figures

    for prefix, values in (("", predicted), ("kalman_", best), ("bandpass_", plain)):
        assert figures[f"{prefix}mse"] == pytest.approx(np.mean((values - block.target) ** 2), rel=1e-4)
        late = np.mean((values[:, 1000:] - block.target[:, 1000:]) ** 2)
        assert figures[f"{prefix}mse_after_1s"] == pytest.approx(late, rel=1e-4)
    expected = np.corrcoef(predicted[:, 1000:].ravel(), block.target[:, 1000:].ravel())[0, 1]
    assert figures["correlation_after_1s"] == pytest.approx(expected, abs=1e-6)
    assert figures["correlation"] == pytest.approx(np.corrcoef(predicted.ravel(), block.target.ravel())[0, 1], abs=1e-6)
    for index, part in enumerate(figures["per_frequency"]):
        rows = block.selected == index
        expected = np.corrcoef(predicted[rows].ravel(), block.target[rows].ravel())[0, 1]
        assert part["correlation"] == pytest.approx(expected, abs=1e-6)
    assert json.loads(json.dumps(figures)) == figures


def test_each_frequency_has_its_own_figures_and_all_make_up_the_whole(files):
    figures = evaluate_signal(*files).figures
    parts = figures["per_frequency"]

    assert [part["frequency_hz"] for part in parts] == [1.0, 3.0, 5.0, 7.0]
    assert sum(part["samples"] for part in parts) == figures["samples"] == 10
    assert sum(part["mse"] * part["samples"] for part in parts) / 10 == pytest.approx(figures["mse"])


def test_the_error_over_time_averages_to_the_error(files):
    report = evaluate_signal(*files)
    over_time = report.error_over_time

    assert over_time["seconds"][0] == pytest.approx(0.025)
    assert len(over_time["seconds"]) == STEPS // 50
    assert over_time["model"].mean() == pytest.approx(report.figures["mse"])
    assert over_time["kalman"][0] > over_time["kalman"][-1]
    assert len(report.examples) == 4


def test_some_samples_only_and_progress(files):
    told = []
    report = evaluate_signal(*files, max_samples=3, on_progress=lambda done, total: told.append((done, total)))

    assert report.figures["samples"] == 3
    assert told[-1] == (3, 3)


def test_samples_of_less_than_a_second_have_no_figures_after_it(files, tmp_path):
    generate_signals(tmp_path / "short.h5", samples=4, seed=1, steps=600)
    figures = evaluate_signal(tmp_path / "short.h5", files[1]).figures

    assert figures["mse_after_1s"] is None
    assert figures["correlation_after_1s"] is None
    assert figures["mse"] > 0


def test_the_mixture_is_what_the_file_says(files, tmp_path):
    path = tmp_path / "own.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["config"]
        data = {"frequencies": [2, 4, 6, 8], "noise_std": 0.3, "amplitude_range": [1, 2]}
        file["config"] = json.dumps({"data": data})
    with open_signals(path) as file:
        assert mixture_of(file) == Mixture((2.0, 4.0, 6.0, 8.0), 1000.0, 0.3, (1.0, 2.0))
    with h5py.File(path, "r+") as file:
        del file["config"]
    with open_signals(path) as file:
        assert mixture_of(file) == Mixture()


@pytest.mark.parametrize(
    "said", [{}, {"target_frequency_idx": 2}, {"target_frequency_idx": 2, "target_frequency": 5.0}]
)
def test_what_the_metadata_do_not_name_is_as_in_generated_files(files, tmp_path, said):
    path = tmp_path / "own.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["config"], file["metadata"]
        file["metadata"] = json.dumps([said] * 10)
    with open_signals(path) as file:
        assert mixture_of(file) == Mixture()


def test_signals_without_noise_have_a_limit_that_is_nearly_nothing(files, tmp_path):
    path = tmp_path / "clean.h5"
    seconds = np.arange(STEPS) / 1000.0
    waves = np.sin(2 * np.pi * np.outer([1.0, 3.0, 5.0, 7.0], seconds))
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        selected = file["condition_vectors"][:].argmax(axis=1)
        file["mixed_signals"][:], file["target_signals"][:] = waves.mean(axis=0), waves[selected]
        del file["config"]
        file["config"] = json.dumps({"data": {"noise_std": 0}})
    figures = evaluate_signal(path, files[1]).figures

    assert 0 <= figures["kalman_mse_after_1s"] < 1e-10
    assert figures["mse_after_1s"] > figures["kalman_mse_after_1s"]


@pytest.mark.parametrize(
    "config",
    [
        '{"data": {"frequencies": [1, 2]}}',
        '{"data": {"frequencies": ["a", 1, 2, 3]}}',
        '{"data": {"frequencies": 7}}',
        '{"data": {"frequencies": [0, 1, 2, 3]}}',
        '{"data": {"frequencies": [1, 2, 3, 500]}}',
        '{"data": {"amplitude_range": [0, 0]}}',
        '{"data": {"amplitude_range": [2, 1]}}',
        '{"data": {"amplitude_range": [1, 1e999]}}',
        '{"data": {"noise_std": -0.1}}',
        '{"data": {"noise_std": 1e999}}',
        "{no JSON",
    ],
)
def test_a_mixture_that_cannot_be_used_is_named(files, tmp_path, config):
    path = tmp_path / "own.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["config"]
        file["config"] = config

    with pytest.raises(DataError, match=r"own\.h5: dataset 'config'"), open_signals(path) as file:
        mixture_of(file)
