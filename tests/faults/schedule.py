"""A schedule: load, workers, settings and faults in time, all drawn from one number, so that it can be played again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.load import LoadPlan

# Faults after which a part of the records is processed anew, from states of zeros: their outputs come once more.
REPROCESSED = frozenset({"partitions added", "source made anew", "offsets deleted"})
# Faults after which the log does not hold everything that states and outputs were made of.
INCOMPLETE_LOG = frozenset({"records deleted"})


@dataclass(frozen=True)
class Fault:
    """Something that happens: `faults.acts` knows what is done for each kind.

    ``at_s`` counts from when all workers were ready. ``worker`` is a slot, None where it concerns none. ``seconds``:
    how long it lasts, or until what it ended is started again.
    """

    at_s: float
    kind: str
    worker: int | None = None
    seconds: float = 0.0
    with_: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        worker = "" if self.worker is None else f" of worker {self.worker}"
        lasts = f", {self.seconds:.1f} s" if self.seconds else ""
        details = "".join(f", {name} {value}" for name, value in self.with_.items())
        return f"{self.at_s:5.1f} s  {self.kind}{worker}{lasts}{details}"


@dataclass(frozen=True)
class Schedule:
    """See the module. ``workers`` run at the beginning.

    ``patience_s``: so much longer the load goes on while a worker has yet to come to the point where it is to end.
    Drawn points may lie where a worker never comes; whoever asks for one that it must come to has more patience.
    """

    number: int
    theme: str
    workers: int
    load: LoadPlan
    settings: Mapping[str, Any]
    faults: tuple[Fault, ...]
    small_disk: bool = False
    patience_s: float = 10.0

    @property
    def seed(self) -> str:
        """Of the streams."""
        return f"schedule {self.number}"

    @property
    def kinds(self) -> set[str]:
        return {fault.kind for fault in self.faults}

    @property
    def reprocesses(self) -> bool:
        """Whether outputs may come once more, as the administrator was told."""
        return bool(self.kinds & REPROCESSED)

    @property
    def log_is_complete(self) -> bool:
        """Whether everything can be computed again from what the topics hold."""
        return not self.kinds & INCOMPLETE_LOG

    def __str__(self) -> str:
        load, settings = self.load, ", ".join(f"{name}={value}" for name, value in self.settings.items())
        lines = [
            f"schedule {self.number} ({self.theme}): {self.workers} workers; {settings}",
            f"  {load.signals} signals at {load.signal_hz:g} Hz, {load.strands} strands at {load.strand_hz:g} Hz, "
            f"{load.pumps} pumps at {load.pump_hz:g} Hz for "
            f"{load.seconds:g} s, producer {'idempotent' if load.idempotent else 'not idempotent'}; {load.habits}",
        ]
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])
