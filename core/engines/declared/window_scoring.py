"""The model of a declared window task, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.arrays import Float32s
from core.engines.binding import Binding, RowTensor
from core.engines.onnx.plan import PadPlan
from core.engines.onnx.windows import Scored


class WindowScorer(Protocol):
    """A model that gives tensors of each window."""

    @property
    def file(self) -> str:
        """The model's file, for messages."""

    @property
    def plan(self) -> PadPlan:
        """The batch plan that it runs by."""

    @property
    def tensors(self) -> tuple[RowTensor, ...]:
        """The tensors of a window that it gives, in order; shapes are those of the longest window."""

    def by(self, plan: PadPlan) -> WindowScorer:
        """The same model by another plan."""

    def score(self, windows: Sequence[Float32s]) -> list[Scored]:
        """Score windows, each (T, F), of any lengths; the results are in their order.

        Raises:
            RunError: the runtime cannot.
        """


@dataclass(frozen=True)
class OpenedWindows:
    """The model of a window task, which fits its shortest windows and its longest.

    Args:
        file: the model's, for messages.
        shortest, longest: its names, for windows of these lengths.
        trial: scores windows for a check: what it cannot run is an error.
        live: makes of a batch plan's name what scores windows for everybody else.
        proven: whoever made it has shown that a window has the same bits in any batch.
    """

    file: str
    shortest: Binding
    longest: Binding
    trial: WindowScorer
    live: Callable[[str], WindowScorer]
    proven: bool = False
