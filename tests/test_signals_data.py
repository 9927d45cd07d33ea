"""The generated mixtures are what their metadata says, and the same seed gives the same file."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest

from core.data import signals
from core.data.signals import FREQUENCIES_HZ, NOISE_STD, draw_signals, generate_signals
from core.errors import StartupError


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, second, other = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    generate_signals(first, samples=5, seed=3, steps=40)
    generate_signals(second, samples=5, seed=3, steps=40)
    generate_signals(other, samples=5, seed=4, steps=40)

    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_neither_the_files_size_nor_the_blocks_change_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "BLOCK_VALUES", 120)
    path = tmp_path / "signals.h5"
    done = []
    generate_signals(path, samples=8, seed=3, steps=40, on_progress=done.append)
    whole = draw_signals(seed=3, first=0, count=20, steps=40)

    with h5py.File(path) as file:
        np.testing.assert_array_equal(whole.mixed[:8], file["mixed_signals"])
        np.testing.assert_array_equal(whole.target[:8], file["target_signals"])
        np.testing.assert_array_equal(whole.conditions[:8], file["condition_vectors"])
    assert done == [3, 6, 8]


def test_metadata_and_config_describe_what_is_in_the_file(tmp_path):
    path = tmp_path / "signals.h5"
    generate_signals(path, samples=8, seed=5, steps=2000)
    with h5py.File(path) as file:
        metadata, config = json.loads(file["metadata"][()]), json.loads(file["config"][()])
        mixed, target, conditions = (file[name][:] for name in ("mixed_signals", "target_signals", "condition_vectors"))
        assert tuple(file.attrs[name] for name in ("n_samples", "n_timesteps", "n_frequencies")) == (8, 2000, 4)
    seconds = np.arange(2000) / 1000.0

    assert list(FREQUENCIES_HZ) == config["data"]["frequencies"]
    for row, described in enumerate(metadata):
        parts = [
            amplitude * np.sin(2 * np.pi * frequency * seconds + phase)
            for frequency, amplitude, phase in zip(
                FREQUENCIES_HZ, described["amplitudes"], described["phases"], strict=True
            )
        ]
        chosen = described["target_frequency_idx"]
        np.testing.assert_allclose(parts[chosen], target[row], atol=1e-6)
        assert pytest.approx(np.std(mixed[row] - np.mean(parts, axis=0)), rel=0.1) == NOISE_STD
        np.testing.assert_array_equal(np.eye(4)[chosen], conditions[row])
        assert described["target_frequency"] == FREQUENCIES_HZ[chosen]
        assert (described["target_amplitude"], described["target_phase"]) == (
            described["amplitudes"][chosen],
            described["phases"][chosen],
        )
        assert tuple(described[name] for name in ("sampling_rate", "duration", "n_samples")) == (1000.0, 2.0, 2000)
        assert all(0.5 <= amplitude <= 2.0 for amplitude in described["amplitudes"])


def test_each_four_samples_ask_for_each_frequency_once():
    selected = draw_signals(seed=1, first=0, count=16, steps=1).selected.reshape(4, 4)

    assert np.sort(selected, axis=1).tolist() == [[0, 1, 2, 3]] * 4
    assert len({tuple(group) for group in selected.tolist()}) > 1


@pytest.mark.parametrize(
    ("wrong", "message"), [({"samples": 0}, "samples is 0"), ({"steps": 0}, "steps is 0"), ({"seed": -1}, "seed is -1")]
)
def test_wrong_arguments_are_refused_before_a_file_is_made(tmp_path, wrong, message):
    arguments = {"samples": 2, "seed": 0, "steps": 10} | wrong

    with pytest.raises(StartupError, match=message):
        generate_signals(tmp_path / "signals.h5", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_generation_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "BLOCK_VALUES", 1)

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_signals(tmp_path / "signals.h5", samples=3, seed=0, steps=10, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "BLOCK_VALUES", 10_000)
    tracemalloc.start()
    generate_signals(tmp_path / "signals.h5", samples=1000, seed=0, steps=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (tmp_path / "signals.h5").stat().st_size > 8_000_000
    assert peak < 4_000_000
