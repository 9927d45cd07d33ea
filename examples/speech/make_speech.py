"""Take the model out of the package silero-vad, and make up the audio of 200 microphones: vowels, and pauses.

    python examples/speech/make_speech.py
    caststream task check examples/speech/speech.toml --data examples/speech/speech.h5

Written beside this file: silero_vad.onnx, speech.example.npz (what the model's PyTorch form makes of 200 chunks, for
the check) and speech.h5 (two seconds of each microphone).
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
RATE, CHUNK, OVERLAP = 16_000, 512, 64
MICROPHONES, CHUNKS = 200, 64
# Resonances of the mouth in Hz, of the vowels in father, see, too, bed.
VOWELS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480)])


def package() -> Path:
    """The folder of silero-vad's files. The package itself is not imported."""
    found = find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("make_speech: the package silero-vad is missing: pip install --no-deps silero-vad")
    return Path(found.submodule_search_locations[0]) / "data"


def voice(microphone: int, chunks: int) -> np.ndarray:
    """Audio (chunks, CHUNK) in [-1, 1]: a voice that says five vowels a second, pauses, and noise."""
    random = np.random.default_rng(microphone)
    seconds = np.arange(chunks * CHUNK) / RATE
    syllable = (seconds * 5).astype(int)
    formants = VOWELS[random.integers(len(VOWELS), size=syllable[-1] + 1)]
    pitch = random.uniform(100, 220)
    phase = 2 * np.pi * pitch * np.cumsum(1 + 0.05 * np.sin(2 * np.pi * 3 * seconds)) / RATE
    sound = np.zeros(len(seconds))
    for harmonic in range(1, 18):
        loudness = (1 / (1 + ((harmonic * pitch - formants) / 120) ** 2)).sum(axis=1)
        sound += loudness[syllable] * np.sin(harmonic * phase)
    speaks = (random.random(syllable[-1] + 1) < 0.7)[syllable]
    envelope = 0.12 * speaks * np.sin(np.pi * (seconds * 5 % 1)) ** 0.5
    noise = random.normal(scale=0.003, size=len(seconds))
    return np.clip(envelope * sound + noise, -1, 1).round(4).reshape(chunks, CHUNK).astype(np.float32)


def write_example(model: Path, path: Path) -> None:
    """Inputs and outputs of 200 chunks, from PyTorch."""
    chunks = voice(1000, 200)
    before = np.concatenate([np.zeros((1, OVERLAP), np.float32), chunks[:-1, -OVERLAP:]])
    silero = torch.jit.load(str(model))
    with torch.no_grad():
        output = [silero(torch.from_numpy(chunk)[None], RATE).item() for chunk in chunks]
    np.savez(path, input=np.concatenate([before, chunks], axis=1), output=np.array(output)[:, None])


def write_recordings(path: Path) -> None:
    """One sequence after the other; every microphone is a stream of its own."""
    with h5py.File(path, "w") as file:
        audio = file.create_dataset("audio", (MICROPHONES * CHUNKS, CHUNK), "f4")
        for microphone in range(MICROPHONES):
            audio[microphone * CHUNKS : (microphone + 1) * CHUNKS] = voice(microphone, CHUNKS)
        file["sequence_start"] = np.arange(MICROPHONES) * CHUNKS
        file["sequence_length"] = np.full(MICROPHONES, CHUNKS)
        file["stream_name"] = [f"microphone-{microphone}" for microphone in range(MICROPHONES)]
        file.attrs["sampling_rate"] = RATE / CHUNK


if __name__ == "__main__":
    shutil.copy(package() / "silero_vad.onnx", HERE)
    write_example(package() / "silero_vad.jit", HERE / "speech.example.npz")
    write_recordings(HERE / "speech.h5")
    print(f"wrote silero_vad.onnx, speech.example.npz and speech.h5 into {HERE}")
