"""Read a value that the strict decoders refuse: accept it if its meaning is certain, else name the fault.

It runs for one record in many. What it reads of a value is bounded, whatever the value holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from core.errors import RecordError
from core.wire.odd_bytes import WRAPPERS, explain_bytes
from core.wire.plain_name import plain_name
from core.wire.record_limits import CONDITIONS, MAX_SEQUENCE_BYTES, MAX_STEP, MAX_TIME_MS, MAX_VALUE, MIN_TIME_MS
from core.wire.shown import MOST_BYTES, TooLong, is_number, shown, unit_of

OPTIONAL = ("sequence", "step", "timestamp_ms", "end")
MOST_NAMES_BYTES = 2**16
"""Bytes of the largest value whose names are searched for a hint."""
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)


class RawReader:
    """Reads samples of one kind, field by field, in one format.

    Args:
        names: of the fields, the optional ones included.
        codec: ``msgspec.json`` or ``msgspec.msgpack``.
    """

    def __init__(self, names: Sequence[str], codec: Any) -> None:
        self._names = names
        self._is_json = codec is msgspec.json
        raws = msgspec.defstruct("Raws", [(name, msgspec.Raw, msgspec.Raw()) for name in names])
        self._raws: Callable[[Any], Any] = codec.Decoder(raws).decode
        self._names_of: Callable[[Any], dict[str, msgspec.Raw]] = codec.Decoder(dict[str, msgspec.Raw]).decode
        self._any: Callable[[Any], Any] = codec.decode

    def fields(self, value: bytes) -> dict[str, Any]:
        """Read the fields as the strict types want them; optional ones that are absent are left out.

        Raises:
            RecordError: it cannot be used; the message names the field, its value and the way.
        """
        try:
            raws = self._raws(value)
        except _ERRORS as error:
            raise RecordError(*explain_bytes(value, error, self._is_json)) from error
        held = {name: self._held(getattr(raws, name)) for name in self._names if len(getattr(raws, name))}
        missing = [name for name in self._names if held.get(name) is None and name not in OPTIONAL]
        if missing:
            raise RecordError("missing_field", self._lack(missing[0], held, value))
        return {name: _read(name, found) for name, found in held.items() if found is not None}

    def _held(self, raw: msgspec.Raw) -> Any:
        data = memoryview(raw)
        if len(data) > MOST_BYTES:
            return TooLong(len(data), is_number=self._is_json and bytes(data[:1]) in b"-0123456789")
        try:
            return self._any(data)
        except _ERRORS as error:
            if self._is_json and bytes(data[:1]) in b"-0123456789":  # 1e400
                return TooLong(len(data), is_number=True)
            raise RecordError("not_decodable", str(error)) from error

    def _lack(self, name: str, held: Mapping[str, Any], value: bytes) -> str:
        said = f"{name} is null: a value is needed" if name in held else f"{name} is missing"
        names = self._top_names(value)
        plain = plain_name(name)
        if like := [each for each in names if each != name and plain_name(each) == plain]:
            return f"{said}: {shown(like[0])} is there, which is another name"
        if wrapper := next((each for each in names if each.lower() in WRAPPERS), None):
            way = "send it alone, as by a converter without schema (schemas.enable=false)"
            return f"{said}; the sample seems to stand in {wrapper[:20]!r}: {way}"
        return said

    def _top_names(self, value: bytes) -> list[str]:
        if len(value) > MOST_NAMES_BYTES:
            return []
        try:
            return list(self._names_of(value))
        except _ERRORS:
            return []


def number(name: str, held: Any) -> float:
    """Read one of the numbers of a sample."""
    if isinstance(held, str):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {_about_text(held, 'a number')}")
    if isinstance(held, TooLong) and held.is_number:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: must be within ±{MAX_VALUE:.0f}")
    if not is_number(held):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: must be a number")
    if not isinstance(held, int) and not math.isfinite(held):
        raise RecordError("not_finite", f"{name} is {held}: must be a finite number")
    if not -MAX_VALUE <= held <= MAX_VALUE:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: must be within ±{MAX_VALUE:.0f}")
    return float(held)


def _about_text(text: str, wanted: str) -> str:
    """Name the fault of a text in place of another type."""
    plain = text.strip()
    if is_number(_parsed(plain)):
        return "a number in quotes, send it without"
    if is_number(_parsed(plain.replace(",", "."))):
        return 'a number in quotes, with a decimal comma: send 0.5, not "0,5"'
    if plain in ("true", "false"):
        return "a word in quotes, send it without"
    return f"must be {wanted}"


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _conditions(name: str, held: Any) -> tuple[float, ...]:
    if not isinstance(held, list):
        said = "too long" if isinstance(held, TooLong) else f"must be an array of {CONDITIONS} numbers"
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {said}")
    if len(held) != CONDITIONS:
        raise RecordError("vector_length", f"{name} has {len(held)} numbers: {CONDITIONS} are needed")
    return tuple(number(f"{name}[{place}]", each) for place, each in enumerate(held))


def _sequence(name: str, held: Any) -> str:
    """A text, or a whole number, which is taken as its digits: both formats and every reader write them alike."""
    if isinstance(held, TooLong):
        raise RecordError("sequence_too_long", f"{name} is {shown(held)}, at most {MAX_SEQUENCE_BYTES} are allowed")
    if (whole := _whole(held)) is not None and -(2**63) <= whole < 2**64:
        return str(whole)
    if not isinstance(held, str):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: must be a text, or a whole number of 64 bits")
    if (size := len(held.encode("utf-8", "surrogatepass"))) > MAX_SEQUENCE_BYTES:
        raise RecordError(
            "sequence_too_long", f"{name} has {size} bytes of UTF-8, at most {MAX_SEQUENCE_BYTES} are allowed"
        )
    return held


def _whole(held: Any) -> int | None:
    """A whole number, also where it is written as 3.0; None for everything else."""
    if isinstance(held, float):
        return int(held) if held.is_integer() and abs(held) <= MAX_STEP else None
    return held if isinstance(held, int) and not isinstance(held, bool) else None


def _checked_whole(name: str, held: Any, wanted: str = "a whole number") -> int:
    if isinstance(held, str):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {_about_text(held, wanted)}")
    if isinstance(held, TooLong) and held.is_number:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: too large")
    if (whole := _whole(held)) is not None:
        return whole
    if isinstance(held, float) and abs(held) > MAX_STEP:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: too large")
    raise RecordError("wrong_type", f"{name} is {shown(held)}: must be {wanted}")


def _step(name: str, held: Any) -> int:
    step = _checked_whole(name, held)
    if not 0 <= step <= MAX_STEP:
        raise RecordError("out_of_range", f"{name} is {shown(step)}: must be within 0 and 2^53 - 1")
    return step


def _time(name: str, held: Any) -> int:
    """Milliseconds since 1970. Other units of today's times lie outside of the years 2000 to 2100."""
    if is_number(held) and not MIN_TIME_MS <= held <= MAX_TIME_MS:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: {unit_of(held)}")
    if isinstance(held, str) and not is_number(_parsed(held)):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: is a text: milliseconds since 1970 are needed")
    return _checked_whole(name, held, "a whole number of milliseconds since 1970")


def _end(name: str, held: Any) -> bool:
    if is_number(held) and held in (0, 1):
        return bool(held)
    if isinstance(held, str):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {_about_text(held, 'true or false')}")
    if not isinstance(held, bool):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: must be true or false")
    return held


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "condition_vector": _conditions,
    "sequence": _sequence,
    "step": _step,
    "timestamp_ms": _time,
    "end": _end,
}


def _read(name: str, held: Any) -> Any:
    return _READERS[name](name, held) if name in _READERS else number(name, held)
