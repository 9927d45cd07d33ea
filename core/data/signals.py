"""Synthetic signal mixtures: four sinusoids with noise, one of them asked for.

S(t) is the mean over the four of A sin(2 pi f t + phi), plus noise; the target is the whole selected component, so
a model has to scale the part that it finds in S by four.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.callbacks import OnCount, unheard
from core.data.layout import require_counts
from core.data.outputs import create_file, write_text

FREQUENCIES_HZ = (1.0, 3.0, 5.0, 7.0)
SAMPLING_RATE_HZ = 1000.0
NOISE_STD = 0.1
AMPLITUDES = (0.5, 2.0)
# Values of one signal held in memory at once while a file is written; its four components take eight times as much.
BLOCK_VALUES = 640_000


@dataclass(frozen=True)
class SignalBlock:
    """Some generated samples, ready to be written or learnt from.

    ``mixed`` and ``target`` are float32 (N, T), ``conditions`` float32 (N, 4), one-hot; ``amplitudes`` and ``phases``
    float64 (N, 4) of every component, ``selected`` int64 (N,) the index of the one asked for.
    """

    mixed: Float32s
    target: Float32s
    conditions: Float32s
    amplitudes: Float64s
    phases: Float64s
    selected: Int64s


def draw_signals(seed: int, first: int, count: int, steps: int) -> SignalBlock:
    """Samples ``first`` to ``first + count`` of the endless set that ``seed`` stands for.

    Sample i depends on (seed, i) alone, so neither the size of the file nor the size of a block changes it. Each
    group of four consecutive samples asks for each frequency once, in random order.
    """
    sources = [np.random.default_rng([seed, 1, row]) for row in range(first, first + count)]
    amplitudes = np.stack([source.uniform(*AMPLITUDES, 4) for source in sources])
    phases = np.stack([source.uniform(0.0, 2.0 * np.pi, 4) for source in sources])
    noise = np.stack([source.standard_normal(steps, np.float32) for source in sources])
    orders = {group: np.random.default_rng([seed, 2, group]).permutation(4) for group in _groups(first, count)}
    selected = np.array([orders[row // 4][row % 4] for row in range(first, first + count)], np.int64)
    components = _components(amplitudes, phases, steps)  # (N, 4, T)
    mixed = components.mean(axis=1).astype(np.float32) + np.float32(NOISE_STD) * noise
    target = components[np.arange(count), selected].astype(np.float32)
    return SignalBlock(mixed, target, np.eye(4, dtype=np.float32)[selected], amplitudes, phases, selected)


def _groups(first: int, count: int) -> range:
    return range(first // 4, (first + count - 1) // 4 + 1)


def _components(amplitudes: Float64s, phases: Float64s, steps: int) -> Float64s:
    """The four sinusoids of each sample, (N, 4, T), as a sin + b cos: two sines per frequency serve all samples."""
    angle = 2.0 * np.pi * np.outer(FREQUENCIES_HZ, np.arange(steps) / SAMPLING_RATE_HZ)  # (4, T)
    in_phase = (amplitudes * np.cos(phases))[:, :, None]
    quadrature = (amplitudes * np.sin(phases))[:, :, None]
    components: Float64s = in_phase * np.sin(angle) + quadrature * np.cos(angle)
    return components


def generate_signals(
    path: str | Path, samples: int, seed: int, steps: int = 10_000, on_progress: OnCount = unheard
) -> None:
    """Write ``samples`` mixtures of ``steps`` steps to ``path``; the same arguments give the same bytes.

    The file appears under its name when it is complete. ``on_progress`` is told the number of samples written so far.

    Raises:
        StartupError: a count below 1 or a negative seed.
        DataError: the file cannot be written.
    """
    require_counts(seed, samples=samples, steps=steps)
    with create_file(path) as file:
        shape = (samples, steps)
        mixed = file.create_dataset("mixed_signals", shape, "f4", track_times=False)
        target = file.create_dataset("target_signals", shape, "f4", track_times=False)
        conditions = file.create_dataset("condition_vectors", (samples, 4), "f4", track_times=False)
        described: list[str] = []  # as text: 400 bytes per sample, a fifth of the objects
        rows = max(1, BLOCK_VALUES // steps)
        for first in range(0, samples, rows):
            block = draw_signals(seed, first, min(rows, samples - first), steps)
            end = first + len(block.mixed)
            mixed[first:end], target[first:end], conditions[first:end] = block.mixed, block.target, block.conditions
            described.extend(json.dumps(each) for each in _describe(block, steps))
            on_progress(end)
        _write_description(file, described, seed, samples, steps)


def _describe(block: SignalBlock, steps: int) -> Iterator[dict[str, object]]:
    for amplitudes, phases, selected in zip(
        block.amplitudes.tolist(), block.phases.tolist(), block.selected.tolist(), strict=True
    ):
        yield {
            "target_frequency_idx": selected,
            "target_frequency": FREQUENCIES_HZ[selected],
            "amplitudes": amplitudes,
            "phases": phases,
            "target_amplitude": amplitudes[selected],
            "target_phase": phases[selected],
            "sampling_rate": SAMPLING_RATE_HZ,
            "duration": steps / SAMPLING_RATE_HZ,
            "n_samples": steps,
        }


def _write_description(file: h5py.File, described: list[str], seed: int, samples: int, steps: int) -> None:
    config = {
        "data": {
            "frequencies": FREQUENCIES_HZ,
            "sampling_rate": SAMPLING_RATE_HZ,
            "amplitude_range": AMPLITUDES,
            "noise_std": NOISE_STD,
        },
        "seed": seed,
    }
    write_text(file, "metadata", f"[{', '.join(described)}]")
    write_text(file, "config", json.dumps(config))
    file.attrs["n_samples"] = samples
    file.attrs["n_timesteps"] = steps
    file.attrs["n_frequencies"] = len(FREQUENCIES_HZ)
