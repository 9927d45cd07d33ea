"""Compare stored states with the expected ones: the state of a stream right after the record at its own offset."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.arrays import Float32s, Int64s
from core.audit.partition import PartitionAudit
from core.audit.rules import Candidate, Memory
from core.audit.scope import AuditedStream
from core.audit.steps import StepAudit
from core.audit.windows import WindowAudit
from core.engines.state import unpack_state
from core.engines.windows import unpack_numbers, unpack_segment
from core.errors import StateError
from core.native.fields import MAX_FLOAT32
from core.native.streams import NO_STEP, StreamState

TOLERANCE = 1e-5
"""Tolerance of hidden states; relative above their scale (`core.audit.scales`), as float32 is."""

SegmentBlob = Callable[[int], bytes | None]

_FIELDS = ("offset", "append_ms", "timestamp_ms", "sequence", "step", "closed")


def state_problems(
    audit: PartitionAudit, key: bytes, source_offset: int, blob: bytes, segment: SegmentBlob
) -> list[str] | None:
    """Name the faults of a stored state; None if they cannot be judged.

    Args:
        audit: finished.
        key: the stream's.
        source_offset: of the record's header.
        blob: the stored value.
        segment: the stored value of a segment of the stream's window, by number.
    """
    stored = StreamState()
    try:
        model, body = unpack_state(blob, stored)
    except StateError as error:
        return [str(error)]
    if stored.included != source_offset:
        return [f"its offset {stored.included} is not that of its header, {source_offset}"]
    if not audit.is_judged(source_offset):
        return None
    stream = audit.streams.get(key)
    if (stream is None or stream.snapshot is None) and audit.scope.came(key, source_offset + 1) is not None:
        return None  # as it was moved here
    if stream is None or stream.snapshot is None:
        return [f"no step of the stream is at source offset {source_offset}"]
    memory, maybe_previous = stream.snapshot
    problems = _head_problems(stored, memory)
    if not maybe_previous and stored.previous != memory.previous:
        problems.append(f"previous is {stored.previous!r}, expected {memory.previous!r}")
    problems += _counter_problems(stored, memory) + _age_problems(stored, stream)
    if isinstance(audit, StepAudit):
        return problems + _hidden_problems(audit, stream, model, body)
    assert isinstance(audit, WindowAudit)
    return problems + _window_problems(audit, stream, stored.step, body, segment)


def _head_problems(stored: StreamState, memory: Memory) -> list[str]:
    problems = [
        f"{name} is {getattr(stored, name)!r}, expected {getattr(memory, name)!r}"
        for name in _FIELDS
        if getattr(stored, name) != getattr(memory, name)
    ]
    if not np.array_equal(np.array(stored.sample, np.float32), np.array(memory.sample, np.float32)):
        problems.append(f"sample is {stored.sample}, expected {memory.sample}")
    return problems


def _counter_problems(stored: StreamState, memory: Memory) -> list[str]:
    """Compare the last gap and the step back. A missing gap is no problem: a worker of version 0.1 kept none."""
    found = range(stored.gap_first, stored.gap_end)
    problems = [f"its last gap is {found}, expected {memory.skipped}"] if found and found != memory.skipped else []
    back = None if stored.back_step == NO_STEP else Candidate(stored.back_step, stored.back_ms, stored.back_offset)
    if back != memory.candidate:
        problems.append(f"its step back is {back}, expected {memory.candidate}")
    return problems


def _age_problems(stored: StreamState, stream: AuditedStream) -> list[str]:
    if stream.committed_memory is None or stored.included >= stream.committed_memory[0]:
        return []
    return [f"it is older than the stream's last record below the committed offset, {stream.committed_memory[0]}"]


def _hidden_problems(audit: StepAudit, stream: AuditedStream, model: str, body: bytes) -> list[str]:
    if model != audit.fingerprint:
        return [f"it was written by model {model}, expected {audit.fingerprint}"]
    expected = audit.hidden[stream.key]
    if len(body) != expected.nbytes:
        return [f"its hidden state has {len(body)} bytes, expected {expected.nbytes}"]
    found = np.frombuffer(body, "<f4")
    # A model of a user's own may overflow, and a state then holds the same of what is no finite number.
    same = (found == expected) | (found == audit.hidden_others[stream.key]) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.where(same, 0, np.abs(found - expected))
    audit.max_abs_diff = max(audit.max_abs_diff, float(differences[np.isfinite(differences)].max(initial=0)))
    scale = np.ones_like(expected)  # of what outputs keep, behind the model's state
    scale[: audit.model.state_size] = audit.scales.state
    near = np.isfinite(differences) & (differences <= TOLERANCE * np.maximum(scale, np.abs(expected)))
    wrong = ~(same | near)
    if not wrong.any():
        return []
    at = int(wrong.argmax())
    said = f"{wrong.sum()} of {len(wrong)} numbers of its hidden state differ"
    return [f"{said}, at {at}: {found[at]!s}, expected {expected[at]!s}"]


def _window_problems(
    audit: WindowAudit, stream: AuditedStream, last_step: int, body: bytes, segment: SegmentBlob
) -> list[str]:
    sequence, end = audit.stored[stream.key]
    expected_steps, expected_samples = sequence.window(end, audit.windows.window_length)
    try:
        count, steps, samples = _stored_window(body, last_step, segment, audit.samples.width)
    except StateError as error:
        return [str(error)]
    problems = [f"it counts {count} samples of the sequence, expected {end}"] if count != end else []
    length = min(len(steps), audit.windows.window_length)  # the first segment may reach further back
    steps, samples = steps[len(steps) - length :], samples[len(samples) - length :]
    if not np.array_equal(steps, expected_steps):
        return [*problems, f"its window has steps {_ends(steps)}, expected {_ends(expected_steps)}"]
    if not np.array_equal(samples, expected_samples):
        problems.append("its window has other samples than were sent")
    return problems


def _stored_window(body: bytes, last_step: int, segment: SegmentBlob, width: int) -> tuple[int, Int64s, Float32s]:
    """Count, steps (T,) and samples (T, F). Raises StateError: what the head needs is damaged or missing."""
    count, numbers = unpack_numbers(body)
    steps: list[int] = []
    samples: list[float] = []
    for number in numbers:
        blob = segment(number)
        if blob is None:
            raise StateError("corrupt_state", f"segment {number} of its window is missing")
        # Up to the head's step: samples behind it are not applied yet.
        part = unpack_segment(number, blob, last_step, width, MAX_FLOAT32)
        steps += part.steps.tolist()
        samples += part.samples.tolist()
    return count, np.array(steps, np.int64), np.array(samples, np.float32).reshape(-1, width)


def _ends(steps: Int64s) -> str:
    return f"{steps[0]} to {steps[-1]} ({len(steps)})" if len(steps) else "none"
