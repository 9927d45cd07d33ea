"""The record table of the wire contract, read a second time: the memory of a stream, and what a record does to it.

The rows stand in the table's order, to be read beside it. `core.engines.state.decide` is the worker's reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from core.engines.results import StreamRules

AuditFate = Literal["step", "duplicate", "late", "step_jump", "step_back"]
Began = Literal["first", "idle", "sequence", "restart", "step_back"]


class Candidate(NamedTuple):
    """A record whose counter went back although its own time went on."""

    step: int
    event_ms: int
    offset: int


@dataclass(slots=True)
class Memory:
    """A stream's memory of its good records, and of the last step back since."""

    sequence: str
    previous: str | None
    step: int = 0
    closed: bool = False
    offset: int = -1
    append_ms: int = 0
    timestamp_ms: int = 0
    sample: tuple[float, ...] = ()  # (F,), as the model reads it
    skipped: range = range(0)  # the steps of the last gap
    candidate: Candidate | None = None

    @property
    def included(self) -> int:
        """The offset of the last record that left something here."""
        return self.offset if self.candidate is None else self.candidate.offset


class AuditVerdict(NamedTuple):
    """The audit's verdict on a record; all but ``fate`` speaks of "step" only."""

    fate: AuditFate
    step: int = 0
    gap: int = 0  # steps missing right before
    held: int = 0  # of these, how many are filled with the sample before
    began: Began | None = None  # a sequence begins, and why
    zeros: bool = False  # the model's state or the window is empty before this step


def judge(
    memory: Memory | None, sequence: str, step: int | None, append_ms: int, event_ms: int | None, rules: StreamRules
) -> AuditVerdict:
    """Judge a record that can be read.

    Args:
        memory: of its stream; None: it has no state.
        sequence: the record's, "" by default.
        step: the record's, or None.
        append_ms: the record's append time.
        event_ms: the time that the record itself has, or None.
        rules: the worker's.
    """
    if memory is None:
        return _beginning(step, "first")
    if append_ms - memory.append_ms > rules.idle_timeout_ms:
        return _beginning(step, "idle")
    if sequence != memory.sequence and sequence == memory.previous:
        return AuditVerdict("late")
    if sequence != memory.sequence:
        return _beginning(step, "sequence")
    if step is not None and step - memory.step > rules.max_step_jump:
        return AuditVerdict("step_jump")
    if memory.closed:
        return AuditVerdict("late")
    if sequence == "" and step == 0 and memory.step > 0:
        return _beginning(step, "restart")
    if step is not None and step <= memory.step:
        return _not_above(memory, step, event_ms)
    gap = 0 if step is None else step - memory.step - 1
    return _going_on(memory.step + 1 + gap, gap, rules)


def _not_above(memory: Memory, step: int, event_ms: int | None) -> AuditVerdict:
    if event_ms is None or event_ms <= memory.timestamp_ms:
        return AuditVerdict("late" if step in memory.skipped else "duplicate")
    before = memory.candidate
    if before is not None and before.step + 1 == step and before.event_ms < event_ms:
        return _beginning(step, "step_back")
    return AuditVerdict("step_back")


def _beginning(step: int | None, began: Began) -> AuditVerdict:
    first = step or 0
    return AuditVerdict("step", first, gap=first, began=began, zeros=True)


def _going_on(step: int, gap: int, rules: StreamRules) -> AuditVerdict:
    if gap == 0 or rules.gap_policy == "step":
        return AuditVerdict("step", step, gap)
    if rules.gap_policy == "hold" and gap <= rules.max_gap:
        return AuditVerdict("step", step, gap, held=gap)
    return AuditVerdict("step", step, gap, zeros=True)


def entered(memory: Memory | None, sequence: str, began: Began) -> Memory:
    """The memory at the start of a sequence. Only one that ended for another name is remembered as the previous."""
    if memory is None or began in ("first", "idle"):
        return Memory(sequence, previous=None)
    return Memory(sequence, previous=memory.sequence if began == "sequence" else memory.previous)
