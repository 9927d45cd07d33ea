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
    count: int = 0
    averages: list[float] = field(default_factory=list)
    threshold: float = 2.0
    clear: float = 0.5
    alarm: bool = False

    def step(self, sample: list[float], numbers: list[float]) -> dict[str, Any]:
        kept, self.forecast = self.forecast, (sample, numbers)
        none = {"expected": [None] * self.numbers, "surprise": None, "score": None, "leading": None}
        if kept is None:
            self.averages = [0.0] * self.numbers
            return none | {"alarm": False}
        if not all(map(math.isfinite, kept[1])):
            return none | {"alarm": None}
        at, (means, logarithms) = kept[0], (kept[1][: self.numbers], kept[1][self.numbers :])
        expected = [mean + now * self.changes for mean, now in zip(means, at, strict=True)]
        squares = []
        for place, now in enumerate(sample):
            std = math.exp(min(max(logarithms[place], -170.0), 170.0) / 2)
            moved = now - at[place] if self.changes else now
            squares.append(((moved - means[place]) / max(std, self.least[place], 1e-37)) ** 2)
        self.count = min(self.count + 1, self.horizon)
        for place, square in enumerate(squares):
            value = (min(square, 100.0) - 1) / 2
            average = self.averages[place]
            self.averages[place] = float(np.float32(average + (value - average) / self.count))
        score = sum(self.averages) / self.numbers
        self.alarm = score >= self.threshold or (self.alarm and score >= self.clear)
        return {
            "expected": expected,
            "surprise": min(math.sqrt(sum(squares) / self.numbers), LARGEST),
            "score": score,
            "leading": self.averages.index(max(self.averages)),
            "alarm": self.alarm,
        }
