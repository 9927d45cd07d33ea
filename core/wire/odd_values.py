"""Read a value that the strict decoders refuse: accept it if its meaning is certain, else name the fault.

It runs for one record in many. What it reads of a value is bounded, whatever the value holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from core.errors import RecordError
from core.tasks.declaration import Field
from core.wire.odd_bytes import WRAPPERS, explain_bytes
from core.wire.plain_name import plain_name
from core.wire.record_limits import MAX_SEQUENCE_BYTES, MAX_STEP, MAX_TIME_MS, MAX_VALUE, MIN_TIME_MS
from core.wire.shown import MOST_BYTES, TooLong, is_number, shown, unit_of

Reader = Callable[[str, Any], Any]

MOST_NAMES_BYTES = 2**16
"""Bytes of the largest value whose names are searched for a hint."""
_ARRAY_NUMBER_BYTES = 32  # that are looked at for each number of an array: a double has up to 24 as JSON
_LACKING = object()  # stands for the value of a field that is not there
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)


class RawReader:
    """Reads samples of one kind, field by field, in one format.

    Args:
        readers: by the name of a field, the optional ones included.
        fields: of the task.
        codec: ``msgspec.json`` or ``msgspec.msgpack``.
    """

    def __init__(self, readers: Mapping[str, Reader], fields: Sequence[Field], codec: Any) -> None:
        self._readers = readers
        self._aliases = {field.name: field.aliases for field in fields}
        self._needed = [field.name for field in fields if field.missing == "refuse"]
        self._most_bytes = {field.name: _ARRAY_NUMBER_BYTES * (field.length or 0) for field in fields}
        self._counts = {field.name: field.length for field in fields}
        self._number_of: Callable[[Any], float] = codec.Decoder(float | bool).decode
        self._numbers_of: Callable[[Any], list[float]] = codec.Decoder(list[float | bool]).decode
        self._is_json = codec is msgspec.json
        self._places = {name: f"raw_{number}" for number, name in enumerate(self._all_names())}
        raws = msgspec.defstruct(
            "Raws",
            [(place, msgspec.Raw, msgspec.Raw()) for place in self._places.values()],
            rename={place: name for name, place in self._places.items()},
        )
        self._raws: Callable[[Any], Any] = codec.Decoder(raws).decode
        self._names_of: Callable[[Any], dict[str, msgspec.Raw]] = codec.Decoder(dict[str, msgspec.Raw]).decode
        self._any: Callable[[Any], Any] = codec.decode

    def _all_names(self) -> list[str]:
        return [*self._readers, *(alias for aliases in self._aliases.values() for alias in aliases)]

    def fields(self, value: bytes) -> dict[str, Any]:
        """Read the fields as the strict types want them; optional ones that are absent are left out.

        Raises:
            RecordError: it cannot be used; the message names the field, its value and the way.
        """
        try:
            raws = self._raws(value)
        except _ERRORS as error:
            raise RecordError(*explain_bytes(value, error, self._is_json)) from error
        held = {name: self._named(raws, name) for name in self._readers}
        missing = [name for name in self._needed if _is_absent(held[name])]
        if missing:
            raise RecordError("missing_field", self._lack(missing[0], held[missing[0]] is None, value))
        return {name: self._readers[name](name, found) for name, found in held.items() if not _is_absent(found)}

    def _named(self, raws: Any, name: str) -> Any:
        """The value of a field; where it has none, or null, that of the first of its other names that has one."""
        found: Any = _LACKING
        for each in (name, *self._aliases.get(name, ())):
            raw = getattr(raws, self._places[each])
            if len(raw):
                found = self._held(name, raw)
            if not _is_absent(found):
                break
        return found

    def _held(self, name: str, raw: msgspec.Raw) -> Any:
        data = memoryview(raw)
        if len(data) > max(MOST_BYTES, self._most_bytes.get(name, 0)):
            return self._long(name, data)
        try:
            return self._any(data)
        except _ERRORS as error:
            if self._is_json and bytes(data[:1]) in b"-0123456789":  # 1e400
                return TooLong(len(data), is_number=True)
            raise RecordError("not_decodable", str(error)) from error

    def _long(self, name: str, data: memoryview) -> Any:
        """A long value: the numbers of a field, with many digits or much space, as the strict decoders take them."""
        too_long = TooLong(len(data), is_number=self._is_json and bytes(data[:1]) in b"-0123456789")
        if name not in self._counts:
            return too_long
        try:
            if (count := self._counts[name]) is None:
                return self._number_of(data)
            # Counted before they are read: millions of numbers would take twenty times the bytes of their text.
            if not self._is_json or bytes(data).count(b",") != count - 1:
                return too_long
            numbers = self._numbers_of(data)
        except _ERRORS:
            return too_long
        return numbers if len(numbers) == count else too_long

    def _lack(self, name: str, is_null: bool, value: bytes) -> str:
        said = f"{name} is null: a value is needed" if is_null else f"{name} is missing"
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


def _is_absent(held: Any) -> bool:
    return held is None or held is _LACKING


def _number(name: str, held: Any, field: Field, booleans: bool) -> float:
    """Read one of the numbers of a sample."""
    if booleans and isinstance(held, bool):
        held = int(held)
    if isinstance(held, str):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {_about_text(held, 'a number')}")
    if isinstance(held, TooLong) and held.is_number:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: must be within {_range(field)}")
    if not is_number(held):
        raise RecordError("wrong_type", f"{name} is {shown(held)}: must be a number")
    if not isinstance(held, int) and not math.isfinite(held):
        raise RecordError("not_finite", f"{name} is {held}: must be a finite number")
    if not field.low <= held <= field.high:
        raise RecordError("out_of_range", f"{name} is {shown(held)}: must be within {_range(field)}")
    return float(held)


def _range(field: Field) -> str:
    if (field.low, field.high) == (-MAX_VALUE, MAX_VALUE):
        return f"±{MAX_VALUE:.0f}"
    return f"{field.low:.15g} and {field.high:.15g}{' ' * bool(field.unit)}{field.unit}"


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


def _array(name: str, held: Any, field: Field, booleans: bool) -> tuple[float, ...]:
    if not isinstance(held, list):
        said = "too long" if isinstance(held, TooLong) else f"must be an array of {field.numbers} numbers"
        raise RecordError("wrong_type", f"{name} is {shown(held)}: {said}")
    if len(held) != field.numbers:
        raise RecordError("vector_length", f"{name} has {len(held)} numbers: {field.numbers} are needed")
    return tuple(_number(f"{name}[{place}]", each, field, booleans) for place, each in enumerate(held))


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


_COMMON: dict[str, Reader] = {"sequence": _sequence, "step": _step, "timestamp_ms": _time, "end": _end}


def readers_of(names: Iterable[str], fields: Sequence[Field], booleans: bool) -> dict[str, Reader]:
    """Return the readers of a sample's fields, by name.

    Args:
        names: of all fields, those that every task has too.
        fields: of the task.
        booleans: true and false are 1 and 0.
    """
    own: dict[str, Reader] = {
        field.name: partial(_number if field.length is None else _array, field=field, booleans=booleans)
        for field in fields
    }
    return {name: own.get(name) or _COMMON[name] for name in names}
