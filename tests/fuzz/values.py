"""Values of records for fuzzing: good ones of every kind, and ones with the right structure but odd contents."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec

from core.wire.records import SENSORS

SIGNALS: list[dict[str, Any]] = [
    {"signal": 0.5, "condition_vector": [1.0, 0.0, 0.0, 0.0]},
    {"signal": 1, "condition_vector": [0, 1, 0, 0], "sequence": "A", "step": 1, "timestamp_ms": 1_700_000_000_000},
    {"signal": -1e3, "condition_vector": [0.1, 2.5, -3.25, 4], "sequence": "ä" * 40, "step": 2, "unit": "V"},
    {"signal": 1e-7, "condition_vector": [1e6, -1e6, 0.0, 5e-324], "timestamp_ms": 946_684_800_000, "ok": True},
]
CASTS: list[dict[str, Any]] = [
    dict(zip(SENSORS, (1.2, 1_520.0, 150, 200.0, 25.0), strict=True)),
    {**dict.fromkeys(SENSORS, 1.5), "sequence": "heat-7", "step": 99, "timestamp_ms": 1_700_000_000_000, "end": True},
]
_OUTPUT = {"stream": "ä", "sequence": "A", "step": 120, "timestamp_ms": 9, "model": "0123456789ab"}
_WINDOW = {"start": 0, "length": 100, "final": True}
OUTPUTS: list[dict[str, Any]] = [
    {**_OUTPUT, "prediction": 0.25},
    {**_OUTPUT, "prediction": -1e9, "gap": 2},
    {**_OUTPUT, **_WINDOW, "probability": 0.5, "attention_peak": 3},
    {**_OUTPUT, **_WINDOW, "probability": None, "attention_peak": None, "reason": "too_short"},
]
FIELDS = ("signal", "condition_vector", *SENSORS, "sequence", "step", "timestamp_ms", "end", "prediction", "final")

_NUMBERS = (
    "0 1 -1 0.5 - -0 -0.0 1e6 -1e6 1000001 1e7 1e400 1e999999 1e-400 -1e-320 123456.7890123456789 01 1. .5 1E+3 NaN"
)
_NUMBERS += " 9" + "9" * 29 + " 0." + "3" * 400 + " Infinity 0e0 1e " + "9" * 400
_WHOLE = "0 1 2 3 -1 1.0 1e0 9007199254740991 9007199254740992 -9007199254740992 18446744073709551616 null"
_TIMES = " 946684799999 946684800000 4102444800000 4102444800001 1.7e12 1700000000000.0 1795450377 -5"
_WORDS = 'true false null tru [] {} {"a":[1,{"b":"}"}]} 1e5 "x" nulls True ' + "[" * 1_200
_TEXTS = r'"" "A" "ä" "\u0041" "\ud83d" "\ud83d\ude00" "\" "\\" "\x41" null 7 ' + " ".join(
    f'"{text}"' for text in ("x" * 255, "x" * 256, "ä" * 127, "ä" * 128)
)
_VECTORS = "[1,0,0,0] [0.5,1,0,0] [1,0,0] [1,0,0,0,0] [] null [1,null,0,0] [[1],0,0,0] [1e7,0,0,0] {} [1,0,0,0"
_BYTES = [
    b'"',
    b"\\",
    b"\\u0041",
    b"\x00",
    b"\xc3\xa4",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\n\t ",
    b"x" * 256,
]
JSON_TOKENS = [
    text.encode() for text in (*FIELDS, *(_NUMBERS + " , : { } [ ] " + _WHOLE + " " + _TEXTS).split())
] + _BYTES
_CHOICES = {
    "condition_vector": _VECTORS.split(),
    "sequence": _TEXTS.split(),
    "step": _WHOLE.split(),
    "timestamp_ms": (_WHOLE + _TIMES).split(),
    "end": _WORDS.split(),
    "unit": (_WORDS + " " + _TEXTS).split(),
}
_USUAL = {"condition_vector": "[1,0,0,0]", "sequence": '"A"', "end": "true", "unit": '"V"'}
_USUAL |= {"timestamp_ms": "1700000000000"}

_OBJECTS = (
    "c0 c1 c2 c3 00 7f e0 ff 80 8f 90 94 9f a0 bf c4ff c6ffffffff c70101 d4ff00 d9ff daffff db7fffffff "
    "dbffffffff dcffff ddffffffff deffff dfffffffff df00000001 ca7fc00000 ca7f800000 cb7ff0000000000000 "
    "cbffffffffffffffff cc80 cd0100 cfffffffffffffffff d38000000000000000 cf0020000000000000 d2ffffffff d0ff "
    "d1ffff ca3f800000 9401020304 a141 a2c3a4"
)
MSGPACK_TOKENS = [*map(msgspec.msgpack.encode, FIELDS), *map(bytes.fromhex, _OBJECTS.split())]
_WIDTHS = ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD1, 2), (0xD2, 4), (0xD3, 8))
_OF_A_KIND = (("signal", "condition_vector"), ("signal", "condition_vector"), SENSORS)
_OPTIONAL = ("sequence", "step", "timestamp_ms", "end", "unit")


def good_json() -> list[bytes]:
    """One of every kind, with spaces and without."""
    values = [*SIGNALS, *CASTS, *OUTPUTS]
    return [msgspec.json.encode(value) for value in values] + [json.dumps(value).encode() for value in values]


def good_msgpack() -> list[bytes]:
    """One of every kind."""
    return [msgspec.msgpack.encode(value) for value in (*SIGNALS, *CASTS, *OUTPUTS)]


def _names(random: Random) -> list[str]:
    names = [*random.choice(_OF_A_KIND), *(name for name in _OPTIONAL if random.random() < 0.4)]
    if random.random() < 0.1:
        names.append(random.choice(names))
    if random.random() < 0.3:
        random.shuffle(names)
    return names


def odd_json(random: Random) -> bytes:
    """A sample in valid or nearly valid JSON whose fields hold whatever they may not."""
    space = random.choice(("", "", " ", "\n"))
    pairs = [f'"{name}"{space}:{space}{_text(name, random)}' for name in _names(random)]
    return ("{" + f",{space}".join(pairs) + "}").encode()


def _text(name: str, random: Random) -> str:
    if random.random() < 0.1:
        return random.choice(_CHOICES.get(name) or (_NUMBERS + " " + _WORDS).split())
    if name == "step":
        return str(random.randrange(4))
    return _USUAL.get(name) or repr(random.uniform(-9, 9))


def odd_msgpack(random: Random) -> bytes:
    """The same in MessagePack, with every width of names and numbers."""
    pairs = [_name(name, random) + _object(name, random) for name in _names(random)]
    size = len(pairs) if random.random() < 0.95 else random.randrange(16)
    return bytes([0x80 | size]) + b"".join(pairs)


def _name(text: str, random: Random) -> bytes:
    raw = text.encode()
    short = bytes([0xA0 | len(raw)])
    return random.choice((short, short, short, b"\xd9" + len(raw).to_bytes(1), b"\xda" + len(raw).to_bytes(2))) + raw


def _object(name: str, random: Random) -> bytes:
    if random.random() < 0.08:
        return random.choice(MSGPACK_TOKENS)
    if name == "condition_vector":
        return random.choice((b"\x94", b"\x94", b"\xdc\x00\x04")) + b"".join(_number(random) for _ in range(4))
    if name in ("sequence", "unit"):
        return _name(random.choice(("", "A", "ä" * 15)), random)
    if name == "timestamp_ms":
        return _whole(random.choice((1_700_000_000_000, 946_684_800_000, 4_102_444_800_001, 5)), random)
    if name == "step":
        return _whole(random.choice((0, 1, 2, 3, 300)), random)
    return b"\xc3" if name == "end" else _number(random)


def _number(random: Random) -> bytes:
    return msgspec.msgpack.encode(random.uniform(-9, 9)) if random.random() < 0.7 else _whole(1, random)


def _whole(number: int, random: Random) -> bytes:
    wide = [bytes([tag]) + number.to_bytes(size) for tag, size in _WIDTHS if number >> 8 * size == 0]
    return random.choice([msgspec.msgpack.encode(number), *wide])
