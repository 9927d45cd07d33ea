"""Target: samples of tasks of a user's own, read by the compiled scanner and by the full decoder."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec

from core.tasks.declaration import Field
from tests.field_forms import Form, assert_scanner_agrees
from tests.fuzz.codecs import headers_of
from tests.fuzz.mutation import Mutator
from tests.fuzz.values import JSON_TOKENS, MSGPACK_TOKENS

_HOLD = Field("rpm", missing="hold", aliases=("speed", "n"), low=0.0, high=3e38)
FORMS = (
    Form((Field("vibration", 3, aliases=("vib",), low=-200.0, high=200.0, overlap=2), Field("rpm")), has_end=True),
    Form((_HOLD, Field("doors", 2, missing="hold"), Field("level", low=-0.5, high=0.5)), booleans=True),
    Form(tuple(Field(f"x{number}") for number in range(20)), has_end=True),
)
_CODECS = [form.codec() for form in FORMS]
_TIMES = {"sequence": "A", "step": 7, "timestamp_ms": 1_700_000_000_000}
_SAMPLES: tuple[list[dict[str, Any]], ...] = (
    [
        {"vibration": [0.5, -1, 200.0], "rpm": 1480, **_TIMES, "end": False},
        {"vib": [1e-3, 0, 25], "rpm": -1.5, "unit": "V"},
    ],
    [
        {"rpm": 1480.5, "doors": [True, False], "level": 0.25, **_TIMES},
        {"level": -0.5, "speed": 7},
        {"level": 0, "n": 1},
    ],
    [{f"x{number}": number / 4 for number in range(20)} | _TIMES],
)
_NAMES = [name.encode() for form in FORMS for field in form.fields for name in (field.name, *field.aliases)]
_WORDS = [b"true", b"false", b"null", b"[1,2,3]", b"[true,0]"]
_JSON = [Mutator([json.dumps(one).encode() for one in of], [*JSON_TOKENS, *_NAMES, *_WORDS]) for of in _SAMPLES]
_MSGPACK = [Mutator([msgspec.msgpack.encode(one) for one in of], MSGPACK_TOKENS) for of in _SAMPLES]


def sample(random: Random) -> tuple[int, bytes]:
    """A value and the form that it has, more or less: a place in `FORMS`."""
    form = random.randrange(len(FORMS))
    return form, random.choice((_JSON, _MSGPACK))[form].input(random)


def check_sample(made: tuple[int, bytes], random: Random) -> None:
    """What the scanner takes the decoder takes too, and reads the same."""
    form, value = made
    assert_scanner_agrees(FORMS[form], _CODECS[form], value, headers_of(value, random))
