"""A task of a user's own: a declared pump with an ONNX model or weights, and the same in plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.models.safetensors import read_with_metadata
from tests import onnx_models as models
from tests.forecasts import SlowScores
from tests.recurrent_files import kernel_of, safetensors, weights

DECLARATION = """
name = "pump"
kind = "step"

[fields]
vibration = { length = 2, alias = ["vib"], normal = [-2, 2] }
load = { missing = "hold", range = [0, 100] }

[model]
file = "pump.onnx"

[outputs]
forecast = { tensor = "y", names = ["de", "nde"] }
score = { of = "forecast", apply = "forecast_error" }
alarm = { of = "score", apply = "above", threshold = 1.0, clear = 0.5 }
"""
SCORES = """\
ahead = { tensor = "y", apply = "forecast", names = ["vibration_1"], changes = true, least = [0.3], publish = false }
expected = { of = "ahead", apply = "expected" }
surprise = { of = "ahead", apply = "surprise" }
ratio = { of = "ahead", apply = "likelihood_ratio", horizon = 4 }
leading = { of = "ratio", apply = "leading" }
unlikely = { of = "ratio", apply = "above", threshold = 1.0, clear = 0.25 }
"""
"""The model's two numbers, once more: a mean and the logarithm of a variance."""


def write_pump(folder: Path) -> Path:
    """Write the task file and its model."""
    (folder / "pump.onnx").write_bytes(models.gru())
    path = folder / "pump.toml"
    path.write_text(DECLARATION)
    return path


def write_native_pump(folder: Path, cell: str = "lstm") -> Path:
    """Write the task file and the weights of an LSTM or a GRU, which forecast three numbers."""
    (folder / "pump.safetensors").write_bytes(safetensors(weights(3, 21, 2, 3, cell=cell)))
    path = folder / "pump.toml"
    names = 'names = ["de", "nde", "load"]'
    path.write_text(DECLARATION.replace("pump.onnx", "pump.safetensors").replace('names = ["de", "nde"]', names))
    return path


def write_gru_pump(folder: Path) -> Path:
    """`write_native_pump` with a GRU."""
    return write_native_pump(folder, "gru")


def write_scored_pump(folder: Path) -> Path:
    """`write_pump` with `SCORES`."""
    return _scored(write_pump(folder))


def write_scored_native_pump(folder: Path) -> Path:
    """The same with the weights of an LSTM."""
    (folder / "pump.safetensors").write_bytes(safetensors(weights(3, 21, 2, 2)))
    path = folder / "pump.toml"
    path.write_text(DECLARATION.replace("pump.onnx", "pump.safetensors"))
    return _scored(path)


def _scored(path: Path) -> Path:
    path.write_text(path.read_text() + SCORES)
    return path


class Steps(Protocol):
    """A model, and the state of one stream."""

    def step(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, F) to (1, K)."""


class OnnxSteps:
    """ONNX Runtime's own session, a row at a time."""

    def __init__(self, model: bytes) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        shape = next(each.shape for each in self._session.get_inputs() if each.name == "h0")
        self._h = np.zeros([size if isinstance(size, int) else 1 for size in shape], np.float32)

    def step(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        y, self._h = self._session.run(["y", "hn"], {"x": sample, "h0": self._h})
        return np.asarray(y)


class KernelSteps:
    """The compiled kernel, a row at a time; tests/test_own_weights.py holds it against float64."""

    def __init__(self, model: bytes) -> None:
        self._kernel = kernel_of(read_with_metadata(model)[0])
        self._state = np.zeros((1, self._kernel.state_size), np.float32)

    def step(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        zero = np.zeros(1, np.int64)
        return self._kernel.advance(sample, zero, zero, zero + 1, self._state)


class SlowPump:
    """One pump as the declaration has it: a model, a row at a time, and plain Python."""

    def __init__(self, model: bytes | Steps, names: tuple[str, ...] = ("de", "nde"), scored: bool = False) -> None:
        self._steps: Steps = OnnxSteps(model) if isinstance(model, bytes) else model
        self._names = names
        self._load = 0.0
        self._forecast: list[float] | None = None
        self._alarm = False
        self._next = 0
        self._scores = _scores() if scored else None

    def begin_again(self, steps: Steps) -> None:
        """From zeros; what may be missing is held all the same."""
        self._steps, self._forecast, self._alarm = steps, None, False
        self._scores = _scores() if self._scores else None

    def step(self, stream: str, sample: dict[str, Any]) -> dict[str, Any]:
        self._load = sample.get("load", self._load)
        vibration = sample.get("vibration", sample.get("vib"))
        numbers = np.array([[*vibration, self._load]], np.float32)
        y = self._steps.step(numbers)
        score = None
        if self._forecast is not None:
            pairs = zip(self._forecast, numbers[0].tolist(), strict=False)
            score = float(np.float32(math.sqrt(sum((ahead - now) ** 2 for ahead, now in pairs) / len(self._names))))
        self._forecast = y[0].tolist()
        number = -1.0 if score is None else score
        self._alarm = number >= 1.0 or (self._alarm and number >= 0.5)
        gap, self._next = sample["step"] - self._next, sample["step"] + 1
        found = {
            "stream": stream,
            "sequence": "",
            "step": sample["step"],
            "timestamp_ms": sample["timestamp_ms"],
            "forecast": dict(zip(self._names, self._forecast, strict=True)),
            "score": score,
            "alarm": self._alarm,
        }
        if self._scores:
            found |= _published(self._scores.step(numbers[0, :1].tolist(), y[0].tolist()))
        return found | ({"gap": gap} if gap else {})


def _scores() -> SlowScores:
    """Of `SCORES`."""
    return SlowScores(1, changes=True, least=(0.3,), horizon=4, threshold=1.0, clear=0.25)


def _published(scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "expected": scores["expected"][0],
        "surprise": scores["surprise"],
        "ratio": scores["score"],
        "leading": None if scores["leading"] is None else "vibration_1",
        "unlikely": scores["alarm"],
    }


def slow_pump(folder: Path) -> SlowPump:
    """What the pump in a folder has to give."""
    text = (folder / "pump.toml").read_text()
    scored, names = SCORES in text, ("de", "nde", "load") if '"load"' in text else ("de", "nde")
    if (folder / "pump.onnx").exists():
        return SlowPump((folder / "pump.onnx").read_bytes(), scored=scored)
    return SlowPump(KernelSteps((folder / "pump.safetensors").read_bytes()), names, scored)


def rounded(outputs: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Without the model's name, numbers as float32."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items() if name != "model"}
        return float(np.float32(value)) if isinstance(value, float) else value

    return [(offset, plain(output)) for offset, output in outputs]
