"""Target: samples of made-up declarations, read by the compiled scanner and by the full decoder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from core.tasks.declaration import Field
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables
from core.wire.codecs import SampleCodec
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS
from core.wire.records import MAX_SEQUENCE_BYTES, MAX_STEP
from tests.field_forms import Form, assert_scanner_agrees
from tests.fuzz.codecs import decoded, headers_of
from tests.fuzz.mutation import Mutator
from tests.fuzz.values import JSON_TOKENS, MSGPACK_TOKENS

DECLARATIONS = 2_000
_NAMES = ("vibration", "v", "rpm", "temperature_of_bearing_number_1", "x1", "signal", "class", "None", "Z" * 64)
_ALIASES = ("vib", "Drehzahl", "Temp (C)", "a-b", "ä", "€" * 33, "steps", "x y")
_RANGES = ((-1e6, 1e6), (-50, 50), (0, 0.5), (-3e38, 3e38), (1, 2), (-1e-30, 0))
_WORDS = (
    *(b"true", b"false", b"null", b"[]", b"[1,2]", b"[true]", b"[[1]]", b"{}"),
    *(b"-0.0", b"1e39", b"-1e39", b"0.1e1", b"16777217", b"NaN", b"5e-324"),
)


@dataclass(frozen=True)
class Declared:
    """The samples of one declaration, and what damages them."""

    form: Form
    codec: SampleCodec[Any]
    mutators: tuple[Mutator, Mutator]


@lru_cache(DECLARATIONS)
def declared(number: int) -> Declared:
    """One made-up declaration; the same number gives the same."""
    random = Random(f"declaration {number}")
    path = Path("made-up.toml")
    text = f'name = "own"\nkind = "step"\n[fields]\n{_fields(random)}[model]\nfile = "m.onnx"\n[outputs]\nout = {{}}\n'
    fields = declare(path, parse_tables(path, text.encode()), need_files=False).fields
    form = Form(fields, has_end=True, booleans=True)
    samples = [_sample(fields, random) for _ in range(6)]
    names = [json.dumps(name).encode() for field in fields for name in (field.name, *field.aliases)]
    ends = [repr(number).encode() for field in fields for number in (field.low, field.high)]
    tokens = [*JSON_TOKENS, *names, *ends, *_WORDS]
    as_json = Mutator([json.dumps(each, ensure_ascii=random.random() < 0.5).encode() for each in samples], tokens)
    packed = [msgspec.msgpack.encode(name) for field in fields for name in (field.name, *field.aliases)]
    as_msgpack = Mutator([msgspec.msgpack.encode(each) for each in samples], [*MSGPACK_TOKENS, *packed])
    return Declared(form, form.codec(), (as_json, as_msgpack))


def _fields(random: Random) -> str:
    names, aliases = random.sample(_NAMES, random.randint(1, 6)), random.sample(_ALIASES, len(_ALIASES))
    lines = []
    for name in names:
        low, high = random.choice(_RANGES)
        keys = [f"range = [{low!r}, {high!r}]"] if random.random() < 0.7 else []
        length = random.choice((None, None, 1, 2, 5, 40))
        if length is not None:
            keys += [f"length = {length}", f"overlap = {random.choice((0, 0, 1, length))}"]
        if random.random() < 0.4:
            keys.append('missing = "hold"')
        own = [aliases.pop() for _ in range(random.choice((0, 0, 1, 2))) if aliases]
        lines.append(f"{name} = {{ {', '.join([*keys, f'alias = {json.dumps(own, ensure_ascii=False)}'])} }}\n")
    return "".join(lines)


def _sample(fields: tuple[Field, ...], random: Random) -> dict[str, Any]:
    """One that is good, more or less, in any order of names."""
    found: dict[str, Any] = {}
    for field in fields:
        name = random.choice((field.name, field.name, *field.aliases))
        if field.missing == "refuse" or random.random() < 0.7:
            numbers = [_number(field, random) for _ in range(field.numbers)]
            found[name] = numbers[0] if field.length is None else numbers
    found |= {"sequence": random.choice(("", "A", "ä" * 20)), "step": random.randrange(9)}
    found |= {"timestamp_ms": 1_700_000_000_000, "end": random.random() < 0.2, "unit": "V"}
    names = [name for name in found if name in _NAMES or name in _ALIASES or random.random() < 0.5]
    random.shuffle(names)
    return {name: found[name] for name in names}


def _number(field: Field, random: Random) -> Any:
    inside = field.low + (field.high - field.low) * random.random()
    return random.choice((inside, inside, inside, field.low, field.high, int(math.fmod(inside, 1e9)), inside > 0))


def sample(random: Random) -> tuple[int, bytes]:
    """The number of a declaration, and a value that fits it, more or less."""
    number = random.randrange(DECLARATIONS)
    return number, random.choice(declared(number).mutators).input(random)


def check_sample(made: tuple[int, bytes], random: Random) -> None:
    """The decoder gives a value within its limits or a reason; the scanner takes no other, and reads the same."""
    number, value = made
    task, headers = declared(number), headers_of(value, random)
    found = decoded(task.codec.decode, value, headers)
    if found is not None:
        _check_limits(task.form.fields, found)
    assert_scanner_agrees(task.form, task.codec, value, headers)


def _check_limits(fields: tuple[Field, ...], found: Any) -> None:
    for field in fields:
        held = getattr(found, field.name)
        numbers = [] if held is None else [held] if field.length is None else held
        assert held is not None or field.missing == "hold"
        assert held is None or len(numbers) == field.numbers
        assert all(math.isfinite(each) and field.low <= each <= field.high for each in numbers), found
    assert len((found.sequence or "").encode()) <= MAX_SEQUENCE_BYTES
    assert found.step is None or 0 <= found.step <= MAX_STEP
    assert found.timestamp_ms is None or MIN_TIME_MS <= found.timestamp_ms <= MAX_TIME_MS
