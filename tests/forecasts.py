"""What is made of a forecast, slow and obvious."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)


@dataclass
class SlowScores:
    """The scores of one stream: plain Python, number after number. Numbers of the model: n means, n logarithms."""

    numbers: int
    changes: bool
    least: tuple[float, ...]
    horizon: int
    forecast: tuple[list[float], list[float]] | None = None  # the sample, the model's numbers
    spans: list[tuple[float, list[float], list[float]]] = field(default_factory=list)  # steps, means, squares less 1
    threshold: float = 2.0
    clear: float = 0.5
    alarm: bool = False

    def step(self, sample: list[float], numbers: list[float]) -> dict[str, Any]:
        kept, self.forecast = self.forecast, (sample, numbers)
        none = {"expected": [None] * self.numbers, "surprise": None, "score": None, "leading": None}
        if kept is None:
            nothing = [0.0] * self.numbers
            self.spans = [(max(self.horizon / part, 1.0), nothing, nothing) for part in (1, 3, 10)]
            return none | {"alarm": False}
        if not all(map(math.isfinite, kept[1])):
            return none | {"alarm": None}
        at, (means, logarithms) = kept[0], (kept[1][: self.numbers], kept[1][self.numbers :])
        expected = [mean + now * self.changes for mean, now in zip(means, at, strict=True)]
        distances = []
        for place, now in enumerate(sample):
            std = math.exp(min(max(logarithms[place], -170.0), 170.0) / 2)
            moved = now - at[place] if self.changes else now
            distances.append((moved - means[place]) / max(std, self.least[place], 1e-37))
        held = [min(max(distance, -6.0), 6.0) for distance in distances]
        squares = [distance**2 - 1 for distance in held]
        self.spans = [
            (steps, moved_by(steps, means, held), moved_by(steps, others, squares))
            for steps, means, others in self.spans
        ]
        ratios = [
            sum(divergence(means[place], others[place]) for _, means, others in self.spans) / 3
            for place in range(self.numbers)
        ]
        score = max(ratios)
        self.alarm = score >= self.threshold or (self.alarm and score >= self.clear)
        return {
            "expected": expected,
            "surprise": min(math.sqrt(sum(distance**2 for distance in distances) / self.numbers), LARGEST),
            "score": score,
            "leading": ratios.index(score),
            "alarm": self.alarm,
        }


def moved_by(steps: float, before: list[float], values: list[float]) -> list[float]:
    return [float(np.float32(old + (new - old) / steps)) for old, new in zip(before, values, strict=True)]


def divergence(mean: float, excess: float) -> float:
    variance = max(1 + excess - mean**2, 0.1)
    return (mean**2 + variance - 1 - math.log(variance)) / 2
