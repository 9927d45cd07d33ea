"""A step model on trial: the part of the check that graphs and weights have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.engines.bank import StateBank
from core.engines.binding import Binding
from core.tasks.check.carried import FINITE_ROWS, FINITE_STEPS, HALF_ROWS, HALF_STEPS, check_finite, check_halves
from core.tasks.check.cost import TIMED_ROWS, row_seconds
from core.tasks.check.example import compare_example
from core.tasks.check.findings import CarriedState, Checked
from core.tasks.check.noise import SampleSource
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import fingerprint_of, model_hash


@dataclass(frozen=True)
class StepTrial:
    """An opened model.

    Args:
        declaration: of its task.
        model: the file's bytes.
        binding: its names.
        bank: makes an empty bank of it.
        source: of samples to try it with.
    """

    declaration: Declaration
    model: bytes
    binding: Binding
    bank: Callable[[], StateBank]
    source: SampleSource

    def check_carried(self, again: StateBank) -> None:
        """Raise StartupError where halves of a run differ from the whole, or a long one does not stay finite.

        ``again``: a bank of the model, opened a second time.
        """
        file, draw = str(self.declaration.model.file), self.source.draw
        check_halves(file, self.bank(), again, draw(2 * HALF_STEPS, HALF_ROWS, 1))
        check_finite(file, self.bank(), self.binding, draw(FINITE_STEPS, FINITE_ROWS, 2))

    def agreed(self) -> tuple[int, float] | None:
        """Compare with the declared example: `Checked.example`. Raises StartupError where the model disagrees."""
        declared = self.declaration.model
        if declared.example is None:
            return None
        return compare_example(declared.example, str(declared.file), self.bank(), self.binding)

    def passed(self, plan: str, agreed: tuple[int, float] | None, notes: Iterable[str]) -> Checked:
        """The findings about a model that has passed, its cost among them."""
        states, outputs = self.binding.states, self.binding.outputs
        return Checked(
            fingerprint=fingerprint_of(self.declaration, self.model),
            model=model_hash(self.model),
            plan=plan,
            states=tuple(CarriedState(state.before.name, state.after, state.before.of_rows(1)) for state in states),
            outputs={tensor.name: tensor.shape for tensor in outputs},
            microseconds={rows: round(1e6 * row_seconds(self.bank(), self.source, rows), 2) for rows in TIMED_ROWS},
            example=agreed,
            notes=tuple(notes),
        )
