"""A window task of a user's own: six numbers of a wearable, four classes, and the same in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from core.engines.declared.window_model import WindowModel
from core.engines.results import StreamRules, WindowRules
from core.tasks.reading import read_declaration
from tests import onnx_models as models
from tests.reference import SlowState, SlowWorker
from tests.strategies import Event

LABELS = ("still", "walk", "run", "fall")
DECLARATION = f"""
name = "motion"
kind = "window"

[fields]
acceleration = {{ length = 3, alias = ["acc"], normal = [-2, 2] }}
rotation = {{ length = 2 }}
load = {{ missing = "hold", range = [-100, 100] }}

[model]
file = "motion.onnx"

[outputs]
odds = {{ tensor = "y", apply = "softmax", labels = {list(LABELS)} }}
activity = {{ of = "odds", apply = "label" }}
peak = {{ tensor = "attention", apply = "argmax_step" }}
apart = {{ tensor = "half", apply = "error" }}
alarm = {{ of = "apart", apply = "above", threshold = 1.0 }}
"""
WINDOW = WindowRules(window_length=9, window_min=4, hop=3, segment=2)


def write_motion(folder: Path, window: WindowRules = WINDOW, declaration: str = DECLARATION, **graph: Any) -> Path:
    """Write the task file and its model."""
    (folder / "motion.onnx").write_bytes(models.window_classifier(**{"features": 6} | graph))
    path = folder / "motion.toml"
    rules = f"length = {window.window_length}\nfirst = {window.window_min}\nhop = {window.hop}\n"
    path.write_text(f"{declaration}\n[window]\n{rules}")
    return path


@cache
def model_of(path: Path) -> WindowModel:
    """The opened model of a task file; files that change later are not read again."""
    declaration = read_declaration(path)
    return WindowModel(declaration, declaration.model.file.read_bytes(), "any")


@cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path.with_suffix(".onnx").read_bytes(), providers=["CPUExecutionProvider"])


def window_outputs(path: Path, samples: Sequence[Sequence[float]], steps: Sequence[int]) -> dict[str, Any]:
    """The outputs of one window: ONNX Runtime's own session and plain Python."""
    window = np.array(samples, np.float32)
    y, attention, half = (
        each[0].tolist() for each in _session(path).run(["y", "attention", "half"], {"x": window[None]})
    )
    powers = [math.exp(number - max(y)) for number in y]
    odds = [power / sum(powers) for power in powers]
    squared = [
        (a - b) ** 2 for row, kept in zip(window.tolist(), half, strict=True) for a, b in zip(row, kept, strict=True)
    ]
    apart = math.sqrt(sum(squared) / len(squared))
    return {
        "odds": dict(zip(LABELS, odds, strict=True)),
        "activity": LABELS[odds.index(max(odds))],
        "peak": steps[attention.index(max(attention))],
        "apart": apart,
        "alarm": apart >= 1.0,
    }


NONE = {"odds": dict.fromkeys(LABELS), "activity": None, "peak": None, "apart": None, "alarm": None}


class SlowMotion(SlowWorker):
    """Keeps every sample of a sequence and scores one window at a time."""

    def __init__(self, path: Path, rules: StreamRules) -> None:
        super().__init__(rules)
        self._path = path

    def blank(self) -> Any:
        return []

    def step(self, state: SlowState, sample: tuple[float, ...], event: Event | None, gap: int) -> None:
        state.memory.append((state.step, sample))
        if event is None:
            return
        if event.end:
            self.conclude(event.stream, state)
            state.closed = True
        elif len(state.memory) >= WINDOW.window_min and (len(state.memory) - WINDOW.window_min) % WINDOW.hop == 0:
            self._score(event.stream, state, final=False)

    def conclude(self, stream: tuple[int, bytes], state: SlowState) -> None:
        self._score(stream, state, final=True)

    def _score(self, stream: tuple[int, bytes], state: SlowState, final: bool) -> None:
        window = state.memory[-WINDOW.window_length :]
        steps = [step for step, _ in window]
        fields = {"stream": stream[1].decode(), "sequence": state.sequence, "step": state.step}
        fields |= {"start": steps[0], "length": len(window), "timestamp_ms": state.timestamp_ms}
        enough = len(state.memory) >= WINDOW.window_min
        fields |= window_outputs(self._path, [sample for _, sample in window], steps) if enough else NONE
        fields |= {"final": final, "model": model_of(self._path).fingerprint}
        self.outputs[*stream, state.offset, final] = fields | ({} if enough else {"reason": "too_short"})


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same fields in the same order, numbers within 1e-6."""
    assert list(found) == list(expected)
    for name in ("odds", "apart"):
        loose = expected[name] if name == "apart" else [*expected[name].values()]
        given = found[name] if name == "apart" else [*found[name].values()]
        assert (given is None) == (loose is None) or name == "odds"
        np.testing.assert_allclose(np.array(given, float), np.array(loose, float), rtol=0, atol=1e-6)
    assert {**found, "odds": 0, "apart": 0} == {**expected, "odds": 0, "apart": 0}
