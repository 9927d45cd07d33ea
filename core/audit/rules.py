"""The record table of the wire contract, once more: what a stream remembers, and what a record does to it.

Row by row in the table's order, to be read beside it. `core.state.decide` is the worker's reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from core.chunk import StreamRules
from core.records import CastingSample, SignalSample

Fate = Literal["step", "duplicate", "late", "step_jump"]
Began = Literal["first", "idle", "sequence", "restart"]


@dataclass(slots=True)
class Memory:
    """What a stream remembers after a good record."""

    sequence: str
    previous: str | None
    step: int = 0
    closed: bool = False
    offset: int = -1
    append_ms: int = 0
    timestamp_ms: int = 0
    sample: SignalSample | CastingSample | None = None


class Verdict(NamedTuple):
    """What becomes of a record; all but ``fate`` speaks of "step" only."""

    fate: Fate
    step: int = 0
    gap: int = 0  # steps missing right before
    held: int = 0  # of these, how many are filled with the sample before
    began: Began | None = None  # a sequence begins, and why
    zeros: bool = False  # the model's state or the window is empty before this step


def judge(memory: Memory | None, sequence: str, step: int | None, append_ms: int, rules: StreamRules) -> Verdict:
    """Judge a record that can be read.

    Args:
        memory: of its stream; None: it has no state.
        sequence: the record's, "" by default.
        step: the record's, or None.
        append_ms: the record's append time.
        rules: the worker's.
    """
    if memory is None:
        return _beginning(step, "first")
    if append_ms - memory.append_ms > rules.idle_timeout_ms:
        return _beginning(step, "idle")
    if sequence != memory.sequence and sequence == memory.previous:
        return Verdict("late")
    if sequence != memory.sequence:
        return _beginning(step, "sequence")
    if step is not None and step - memory.step > rules.max_step_jump:
        return Verdict("step_jump")
    if memory.closed:
        return Verdict("late")
    if sequence == "" and step == 0 and memory.step > 0:
        return _beginning(step, "restart")
    if step is not None and step <= memory.step:
        return Verdict("duplicate")
    gap = 0 if step is None else step - memory.step - 1
    return _going_on(memory.step + 1 + gap, gap, rules)


def _beginning(step: int | None, began: Began) -> Verdict:
    first = step or 0
    return Verdict("step", first, gap=first, began=began, zeros=True)


def _going_on(step: int, gap: int, rules: StreamRules) -> Verdict:
    if gap == 0 or rules.gap_policy == "step":
        return Verdict("step", step, gap)
    if rules.gap_policy == "hold" and gap <= rules.max_gap:
        return Verdict("step", step, gap, held=gap)
    return Verdict("step", step, gap, zeros=True)


def entered(memory: Memory | None, sequence: str, began: Began) -> Memory:
    """The memory at the start of a sequence. Only one that ended for another name is remembered as the previous."""
    if memory is None or began in ("first", "idle"):
        return Memory(sequence, previous=None)
    return Memory(sequence, previous=memory.sequence if began == "sequence" else memory.previous)
