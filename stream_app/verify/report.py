"""The findings of an audit: counts, the first examples of each kind of problem, and a verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from confluent_kafka import Message

EXAMPLES = 3
"""Examples shown in full of each kind of problem."""

KINDS = {
    "missing": "outputs are missing",
    "repeated": "outputs are repeated",
    "differing": "outputs differ from the offline run",
    "out_of_order": "outputs stand after a later one of their stream",
    "unexpected": "outputs have no record that explains them",
    "dead_letters_missing": "dead letters are missing",
    "dead_letters_repeated": "dead letters are repeated",
    "dead_letters_differing": "dead letters differ from their record",
    "dead_letters_unexpected": "dead letters have no record that explains them",
    "states_differing": "states differ from the offline run",
    "states_missing": "states are missing",
}
"""Field of the report -> what it means, one line in its text."""


@dataclass
class VerifyReport:
    """The result of `stream_app.verify.verify`."""

    records: int = 0
    """Source records that were looked at."""
    outputs: int = 0
    """Predictions and scores that were compared."""
    dead_letters: int = 0
    """Dead letters that were compared."""
    states: int = 0
    """Stored states that were compared."""
    missing: int = 0
    repeated: int = 0
    differing: int = 0
    out_of_order: int = 0
    unexpected: int = 0
    dead_letters_missing: int = 0
    dead_letters_repeated: int = 0
    dead_letters_differing: int = 0
    dead_letters_unexpected: int = 0
    states_differing: int = 0
    states_missing: int = 0
    not_judged: int = 0
    """Streams whose beginning is not readable, and that do not certainly start again in the part that is."""
    pending: int = 0
    """Records that the worker had not committed yet: their outputs may be there or not."""
    max_abs_diff: float = 0.0
    """Largest difference of a prediction, a probability, or a number of a hidden state."""
    examples: list[str] = field(default_factory=list)
    """The first few problems of each kind: where, and what."""

    def add(self, kind: str, example: str) -> None:
        """Count a problem of a kind of KINDS."""
        count = getattr(self, kind)
        setattr(self, kind, count + 1)
        if count < EXAMPLES:
            self.examples.append(f"{kind}: {example}")

    @property
    def compared(self) -> bool:
        """True if there was anything to compare."""
        return bool(self.outputs or self.dead_letters or self.states)

    @property
    def ok(self) -> bool:
        """True if everything that was compared is as it should be; not where nothing was."""
        return self.compared and not any(getattr(self, kind) for kind in KINDS)

    @property
    def problems(self) -> list[str]:
        """Return a line for each kind of problem that was found."""
        return [f"{getattr(self, kind):,} {meaning}" for kind, meaning in KINDS.items() if getattr(self, kind)]

    def __str__(self) -> str:
        agrees = "everything agrees" if self.compared else "nothing was compared"
        return "\n".join([*self.problems, *self.examples]) or agrees

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def at(message: Message) -> str:
    """Say where a record stands, as examples do."""
    return f"{message.topic()}[{message.partition()}] offset {message.offset()}"
