"""The files of a training, beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.training.snapshot import beside, last_path


@dataclass(frozen=True)
class Places:
    """The files of a training, beside each other."""

    weights: Path

    @property
    def best(self) -> Path:
        """The best net so far, in the units of the training; the loop keeps the last one beside it."""
        return beside(self.weights, ".training.pt")

    @property
    def example(self) -> Path:
        return beside(self.weights, ".example.npz")

    @property
    def card(self) -> Path:
        return beside(self.weights, ".md")

    @property
    def plots(self) -> Path:
        return beside(self.weights, "-plots")

    @property
    def logs(self) -> Path:
        return beside(self.weights, "-logs")

    @property
    def all(self) -> list[Path]:
        """Every file that is written."""
        return [self.weights, self.best, last_path(self.best), self.example, self.card]
