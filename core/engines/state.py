"""The state of one stream without its model part: its memory, what a record does to it, how it is stored.

``decide`` is the one place where a record is judged, for live runs and offline runs, for signals and casts alike.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from core.engines.results import StreamRules
from core.errors import RecordError, StateError
from core.native.fields import MAX_FLOAT32
from core.native.states import WIDE_VERSION, pack_head, read_head
from core.native.streams import NO_STATE, NO_STEP, StreamState
from core.wire.records import MAX_VALUE

MAX_STORED_STEP = 2**62  # beyond MAX_STEP, as samples without a step go on counting; far from where int64 ends
RESETS = ("sequence", "restart", "step_back", "idle", "gap", "model", "corrupt_state")
"""Why a state went to zeros: a metric label."""

_CRC = struct.Struct("<I")


class Fate(Enum):
    """The fate of a decoded record."""

    ADVANCE = "advance"
    DUPLICATE = "duplicate"  # its step was applied before
    LATE = "late"  # its sequence has ended
    SKIPPED = "skipped"  # a gap has skipped its step, so it is late too
    STEP_BACK = "step_back"  # its step is not above the last one, but its own time is later: the counter is wrong
    JUMP = "jump"  # its step is too far ahead to be true


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one record; all but ``fate`` speaks of ADVANCE only."""

    fate: Fate
    step: int = 0
    gap: int = 0  # steps missing right before
    held: int = 0  # of these, how many are filled with the previous sample
    fresh: bool = False  # a sequence begins here
    reset: str | None = None  # the state goes to zeros first, and why; None also where there was none


NEXT = Decision(Fate.ADVANCE)  # the plain case, at the step after the state's: one object, compared by identity
DUPLICATE = Decision(Fate.DUPLICATE)
LATE = Decision(Fate.LATE)
SKIPPED = Decision(Fate.SKIPPED)
STEP_BACK = Decision(Fate.STEP_BACK)
JUMP = Decision(Fate.JUMP)


def decide(
    state: StreamState, sequence: str, step: int | None, append_ms: int, event_ms: int | None, rules: StreamRules
) -> Decision:
    """Judge a good record that lies past what the state includes. Reads the log only, so it is the same everywhere.

    Args:
        state: of the record's stream; offset NO_STATE if it has none.
        sequence: the record's, "" by default.
        step: the record's, >= 0, or None.
        append_ms: the record's append time.
        event_ms: the record's own time, or None.
        rules: for gaps, jumps and pauses.
    """
    if state.offset == NO_STATE:
        return _first(step, None)
    if append_ms - state.append_ms > rules.idle_timeout_ms:
        return _first(step, "idle")
    if sequence != state.sequence:
        return LATE if sequence == state.previous else _first(step, "sequence")
    last = state.step
    if step is not None and step > last + rules.max_step_jump:
        return JUMP
    if state.closed:
        return LATE
    if step is None or step == last + 1:
        return NEXT
    if step == 0 and last > 0 and not sequence:
        return _first(step, "restart")
    return _behind(state, step, event_ms) if step <= last else _after_gap(step, step - last - 1, rules)


def _first(step: int | None, reset: str | None) -> Decision:
    """The first record of a sequence: there is nothing to hold and nothing left to reset, so no policy matters.

    Nor is any step too far ahead: a counter that runs for months goes on where it was after a pause.
    """
    step = step or 0
    return Decision(Fate.ADVANCE, step=step, gap=step, fresh=True, reset=reset)


def _after_gap(step: int, gap: int, rules: StreamRules) -> Decision:
    if rules.gap_policy == "hold" and gap <= rules.max_gap:
        return Decision(Fate.ADVANCE, step=step, gap=gap, held=gap)
    return Decision(Fate.ADVANCE, step=step, gap=gap, reset=None if rules.gap_policy == "step" else "gap")


def _behind(state: StreamState, step: int, event_ms: int | None) -> Decision:
    """A step at or below the last one. A sample of a later time is new, so its counter went back; two of them that
    follow on each other are a counter that started again. All others are late or sent twice.
    """
    if event_ms is None or event_ms <= state.timestamp_ms:
        return SKIPPED if state.gap_first <= step < state.gap_end else DUPLICATE
    follows = state.back_step != NO_STEP and step == state.back_step + 1 and event_ms > state.back_ms
    return _first(step, "step_back") if follows else STEP_BACK


def refusal(fate: Fate, state: StreamState, sequence: str, step: int | None, rules: StreamRules) -> RecordError:
    """The error of a record that is neither applied nor a duplicate; its stream stands where it stood before."""
    if fate is Fate.STEP_BACK:
        return RecordError(
            "step_back", f"step {step} is not above the last one, {state.step}, but its timestamp_ms is later"
        )
    if fate is Fate.LATE:
        return RecordError("late", f"sequence '{sequence}' has ended, step {step}")
    if fate is Fate.SKIPPED:
        return RecordError("late", f"step {step} comes after step {state.step}, when it had been skipped as missing")
    return RecordError("step_jump", f"step {step} is more than {rules.max_step_jump} past the stream's last")


def step_back(state: StreamState, step: int, event_ms: int, offset: int) -> None:
    """Remember a step back, instead of the one before: the next record may follow on it."""
    state.back_step, state.back_ms, state.back_offset = step, event_ms, offset


def enter(state: StreamState, decision: Decision) -> None:
    """Move to the step of a record that advances the stream and is not `NEXT`."""
    state.step = decision.step
    if decision.fresh or decision.gap:
        state.gap_first, state.gap_end = decision.step - decision.gap, decision.step


def begin(state: StreamState, sequence: str, reset: str | None) -> None:
    """Enter a new sequence. One that ended for a named successor is remembered: its records are late from now on."""
    if reset == "sequence":
        state.previous = state.sequence
    elif reset not in ("restart", "step_back"):  # without state, and after a pause as if without
        state.previous = None
    state.sequence = sequence
    state.closed = False


def pack_state(state: StreamState, model: str, body: bytes = b"") -> bytes:
    """The table value of a state: a fixed head, an extension where there is a gap or a step back, both sequences, the
    body, CRC-32; little-endian.

    Args:
        state: one that has an offset.
        model: fingerprint of the model that made the body, 12 ASCII characters.
        body: what the engine keeps besides (h and c; a window's segments).
    """
    return seal(pack_head(state, model.encode()) + body)


def unpack_state(blob: bytes, state: StreamState) -> tuple[str, bytes]:
    """Read a table value into ``state``.

    Returns:
        The fingerprint of the model that wrote it, and the body.

    Raises:
        StateError: ``corrupt_state``: damaged, cut, of a version that is not known here, or with numbers that no record
            gives; ``state`` is untouched.
    """
    payload = unseal(blob)
    if (head := read_head(payload)) is None:
        said = f"a state of version {payload[0]}, {len(payload)} bytes, cannot be read" if payload else "an empty state"
        raise StateError("corrupt_state", said)
    flags, lengths, (offset, append_ms, step, timestamp_ms), model, sample, extended, names = head
    middle = names + lengths[0]
    end = middle + lengths[1]
    if len(payload) < end:
        raise StateError("corrupt_state", f"a state of {len(payload)} bytes is shorter than its names")
    # The checksum says that the state is as it was written. Who may write to the changelog can write any numbers, and
    # these would end the worker that counts on from them, or reach the model (NaN lies within no limits).
    if offset < 0 or not 0 <= step <= MAX_STORED_STEP or not _can_be(sample, payload[0]):
        raise StateError("corrupt_state", f"a state at offset {offset}, step {step}, sample {sample} cannot be")
    extension = _Extension(offset) if extended is None else _extension(*extended, offset=offset, step=step)
    try:
        sequence, previous = payload[names:middle].decode(), payload[middle:end].decode()
        fingerprint = model.decode("ascii")
    except UnicodeDecodeError as error:
        raise StateError("corrupt_state", f"a state's text cannot be read: {error}") from error
    state.offset, state.append_ms, state.step, state.timestamp_ms = extension.applied, append_ms, step, timestamp_ms
    state.gap_first, state.gap_end = extension.gap_first, extension.gap_end
    state.back_step, state.back_ms, state.back_offset = extension.back_step, extension.back_ms, offset
    state.sequence = sequence
    state.closed, has_previous = flags
    state.previous = previous if has_previous else None
    state.sample = sample
    return fingerprint, payload[end:]


def _can_be(sample: tuple[float, ...], version: int) -> bool:
    """True if a record may have given a stored sample: its task's ranges are not known here."""
    largest = MAX_FLOAT32 if version == WIDE_VERSION else MAX_VALUE
    return all(-largest <= value <= largest for value in sample)


class _Extension(NamedTuple):
    """The part of a stored state about the last gap and a step back."""

    applied: int  # offset of the last good record
    gap_first: int = 0
    gap_end: int = 0
    back_step: int = NO_STEP
    back_ms: int = 0


def _extension(
    gap_first: int, gap_end: int, back_step: int, back_ms: int, applied: int, *, offset: int, step: int
) -> _Extension:
    """The extension of a state that includes ``offset`` and stands at ``step``. Raises StateError."""
    has_gap = 0 <= gap_first < gap_end <= step or gap_first == gap_end == 0
    is_back = 0 <= back_step <= step and 0 <= applied < offset
    if not has_gap or not (is_back or (back_step == NO_STEP and applied == offset)):
        raise StateError(
            "corrupt_state",
            f"a state at offset {offset}, step {step} with a gap from {gap_first} to {gap_end} and a step back to "
            f"{back_step} after offset {applied} cannot be",
        )
    return _Extension(applied, gap_first, gap_end, back_step, back_ms)


def seal(payload: bytes) -> bytes:
    """``payload`` and its CRC-32."""
    return payload + _CRC.pack(zlib.crc32(payload))


def unseal(blob: bytes) -> bytes:
    """The payload of a sealed blob.

    Raises:
        StateError: ``corrupt_state``: the CRC-32 does not fit.
    """
    payload, crc = blob[: -_CRC.size], blob[-_CRC.size :]
    if len(crc) < _CRC.size or _CRC.pack(zlib.crc32(payload)) != crc:
        raise StateError("corrupt_state", f"the checksum of a stored record of {len(blob)} bytes does not fit")
    return payload
