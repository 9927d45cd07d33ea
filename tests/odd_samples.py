"""Samples as some producer might write them: plain, odd and broken, in both formats."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

from core.errors import RecordError
from core.tasks.declaration import Field
from core.tasks.reading import shipped
from core.wire.records import decode_casting, decode_signal

JSON_TYPE, MSGPACK_TYPE = b"application/json", b"application/msgpack"

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.integers(-1_000_000, 1_000_000).map(str),
    st.sampled_from(
        [
            *(
                "0",
                "-0",
                "0.0",
                "-0.0",
                "1E+3",
                "1e-5",
                "25e-1",
                "1e6",
                "-1e6",
                "1000000.0",
                "1e-400",
                "-1e-400",
                "5e-324",
            ),
            *(
                "0.1000000000000000055511151231257827021181583404541015625",
                "123456.78901234567890123",
                "0.30000000000000004",
            ),
            *("1000000.0000000001", "1000001", "-1e7", "1e400", "9" * 17, "9" * 30, "9" * 400, "0." + "3" * 400),
            *("01", "-01", "00", "1.", ".5", "+1", "-", "1e", "1e+", "1.5.5", "0x10", "1_0", "1 0", "--1"),
            *("NaN", "Infinity", "-Infinity", "inf", "nan", "null", "true", '"1"', "[]", "{}", ""),
        ]
    ),
)
WHOLE = st.one_of(
    st.integers(0, 60).map(str),
    st.sampled_from(
        [
            *("0", "-0", "00", "01", "-1", "1.0", "1e0", "0.0", "5e-1", "null", "true", '"1"', "[]", ""),
            *(str(2**53 - 1), str(2**53), str(-(2**53) + 1), str(-(2**53)), "9" * 17, "1" + "0" * 17, "9" * 30),
        ]
    ),
)
TIMES = WHOLE | st.sampled_from(
    [
        *("946684799999", "946684800000", "4102444800000", "4102444800001", "1700000000000.0", "1.7e12"),
        *("1795450377", "1795450377000000", "-1700000000000", '"2026-11-30T14:00:00Z"', "1700000000000.5"),
    ]
)
TEXTS = st.one_of(
    st.sampled_from(['""', '"A"', '"A"', '"B"']),
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(max_size=5).map(json.dumps),
    st.sampled_from(
        [
            *(
                r'"\u0041"',
                r'"\"A"',
                r'"\\"',
                r'"\/"',
                r'"\ud83d\ude00"',
                r'"\ud83d"',
                '"😀"',
                '"ä"',
                r'"\x41"',
                '"\t"',
                '"\x7f"',
            ),
            *(
                f'"{"x" * 255}"',
                f'"{"x" * 256}"',
                f'"{"ä" * 127}"',
                f'"{"ä" * 128}"',
                "null",
                "7",
                *("4712", "04712", "-7", "4712.0", "4712.5", "1e3", "9" * 18, "9" * 19, "18446744073709551616"),
                '"A',
                "A",
                "'A'",
                '"\x00"',
            ),
        ]
    ),
)
ENDS = st.sampled_from(("false", "false", "false", "true", "null", "0", "1", "tru", '"true"', "[]", "2"))
GOOD_TIMES = st.integers(946_684_800_000, 4_102_444_800_000)
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t \r\n", "\x0b", "\u00a0"])
NAMES = {"signal": NUMBERS, "sequence": TEXTS, "step": WHOLE, "timestamp_ms": TIMES}
PLAIN = st.floats(-100, 100).map(repr) | st.sampled_from(("0", "1", "0.0", "1.0"))


@dataclass(frozen=True)
class Shape:
    """The samples of one task, and the full decoder of them."""

    fields: Sequence[Field]
    decode: Callable[[bytes, Any], Any]
    has_end: bool = False

    @property
    def lengths(self) -> dict[str, int]:
        """Of the fields that are arrays."""
        return {field.name: field.length for field in self.fields if field.length is not None}


SIGNALS = Shape(shipped("signal").fields, decode_signal)
CASTS = Shape(shipped("casting").fields, decode_casting, has_end=True)


@st.composite
def json_values(draw: st.DrawFn, shape: Shape, sequence: str, step: int) -> bytes:
    """A sample that fits a stream, with up to three oddities."""
    fields = {}
    for field in shape.fields:
        name = draw(st.sampled_from((field.name, field.name, *field.aliases)))
        fields[name] = draw(PLAIN) if field.length is None else _vector([draw(PLAIN) for _ in range(field.length)])
    if shape.has_end and draw(st.sampled_from((False, False, True))):
        fields["end"] = draw(ENDS)
    if sequence or draw(st.booleans()):
        as_number = sequence.isdigit() and draw(st.booleans())
        fields["sequence"] = sequence if as_number else json.dumps(sequence, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        fields["step"] = str(step)
    if draw(st.booleans()):
        fields["timestamp_ms"] = str(draw(GOOD_TIMES))
    pairs = draw(st.permutations([[name, text] for name, text in fields.items()]))
    odd = draw(st.just([]) | st.lists(st.sampled_from(_JSON_ODDITIES), max_size=3))
    for oddity in odd:
        if oddity in _ON_FIELDS:
            _ON_FIELDS[oddity](draw, pairs, shape)
    space = draw(SPACES) if "space" in odd else draw(st.sampled_from(["", " "]))
    text = "{" + space + f",{space}".join(f'"{name}"{space}:{space}{text}' for name, text in pairs) + space + "}"
    raw = text.encode("utf-8", "surrogatepass")
    if "around" in odd:
        raw = draw(st.sampled_from(BEFORE)) + raw + draw(st.sampled_from(AFTER))
    return draw(broken(raw)) if "broken" in odd else raw


BEFORE = (
    b"",
    b"\xef\xbb\xbf",
    b" \xef\xbb\xbf",
    b"\xef\xbb\xbf \n",
    b"\xef\xbb\xbf\xef\xbb\xbf",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb",
)
AFTER = (b"", b"\0", b"\0\0\0", b"\0\n", b"\n\0", b"\0 \0\r\n", b"\0x", b"\xef\xbb\xbf", b"\n{}")


def _vector(texts: list[str]) -> str:
    return f"[{','.join(texts)}]"


def _replace(draw: Any, pairs: list[list[str]], shape: Shape) -> None:
    pair = draw(st.sampled_from(pairs))
    if length := shape.lengths.get(pair[0]):
        pair[1] = _vector(draw(st.lists(NUMBERS | PLAIN, min_size=length - 1, max_size=length + 1)))
    else:
        pair[1] = draw(NAMES.get(pair[0], NUMBERS))


def _repeat(draw: Any, pairs: list[list[str]], shape: Shape) -> None:
    name = draw(st.sampled_from(pairs))[0]
    pairs.insert(draw(st.integers(0, len(pairs))), [name, draw(NAMES.get(name, NUMBERS))])


def _surplus(draw: Any, pairs: list[list[str]], shape: Shape) -> None:
    name = draw(
        st.sampled_from(
            ["unit", "", "Step", "seq", "Timestamp", "END", "signal ", "s\\u0074ep", "condition_vectors", "ä"]
        )
    )
    words = st.sampled_from(
        ["true", "false", "null", "tru", "nul", "truefalse", "True", "[1, 2]", '{"a": [1, {"b": "}"}]}']
    )
    deep = st.sampled_from(["[" * 50 + "]" * 50, "[" * 3_000, '"' + "x" * 999 + '"', '"\\""'])
    pairs.insert(draw(st.integers(0, len(pairs))), [name, draw(words | NUMBERS | TEXTS | deep)])


def _missing(draw: Any, pairs: list[list[str]], shape: Shape) -> None:
    pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    if not pairs:
        pairs.append([shape.fields[0].name, "1"])


_ON_FIELDS = {"replace": _replace, "repeat": _repeat, "surplus": _surplus, "missing": _missing}
_JSON_ODDITIES = ("replace", "replace", "repeat", "surplus", "missing", "space", "broken", "around", "around")


@st.composite
def broken(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes changed, cut or added."""
    at = draw(st.integers(0, len(raw)))
    some = draw(
        st.binary(min_size=1, max_size=3)
        | st.sampled_from([b"\xef\xbb\xbf", b"\xff", b"\xc3", b"}", b",", b'"', b"\0"])
    )
    return draw(
        st.sampled_from([raw[:at], raw[:at] + some + raw[at + len(some) :], raw[:at] + some + raw[at:], raw + some])
    )


# MessagePack, in every width that it has.


def _number(draw: Any, value: float) -> bytes:
    if abs(value) < 2**31 and value == int(value) and draw(st.booleans()):
        return _integer(draw, int(value))
    if draw(st.booleans()):
        return b"\xca" + struct.pack(">f", value)
    return b"\xcb" + struct.pack(">d", value)


def _integer(draw: Any, value: int) -> bytes:
    fits = [msgspec.msgpack.encode(value)] if -(2**63) <= value < 2**64 else [b"\xc0"]
    for tag, layout in (
        (0xCC, "B"),
        (0xCD, "H"),
        (0xCE, "I"),
        (0xCF, "Q"),
        (0xD0, "b"),
        (0xD1, "h"),
        (0xD2, "i"),
        (0xD3, "q"),
    ):
        try:
            fits.append(bytes([tag]) + struct.pack(">" + layout, value))
        except struct.error:
            continue
    return draw(st.sampled_from(fits))


def _text(draw: Any, value: str) -> bytes:
    raw = value.encode()
    forms = [b"\xda" + struct.pack(">H", len(raw)) + raw, b"\xdb" + struct.pack(">I", len(raw)) + raw]
    if len(raw) < 256:
        forms += [b"\xd9" + bytes([len(raw)]) + raw] * 20
    if len(raw) < 32:
        forms += [bytes([0xA0 | len(raw)]) + raw] * 60
    return draw(st.sampled_from(forms))


_ODD_NUMBERS = st.sampled_from(
    [0.0, -0.0, 1e6, -1e6, 1e6 + 1, float("nan"), float("inf"), 5e-324, 1e-40, 16_777_217.0, 0.1]
)
_ODD_OBJECTS = st.sampled_from(
    [
        b"\xc0",
        b"\xc1",
        b"\xc3",
        b"\x90",
        b"\x80",
        b"\xa1A",
        b"\xc4\x01A",
        b"\xd4\x01\x00",
        b"\xd6\xff\0\0\0\0",
        b"\x93\1\2\3",
        b"\x95\1\2\3\4\5",
    ]
)
_SURPLUS = st.sampled_from(
    [
        b"\x01",
        b"\xa5hello",
        b"\xd9\x05hello",
        b"\xa2\xc3\xa4",
        b"\xa2\xff\xfe",
        b"\xd9\x01\xff",
        b"\xc2",
        b"\xcf" + b"\xff" * 8,
        b"\xca\x7f\xc0\x00\x00",
        b"\xcb" + b"\x00" * 8,
        b"\x81\xa1a\x93\x01\x02\x03",
        b"\x91" * 3000,
        b"\xcc",
        b"\xbf",
    ]
)
_ODD_WHOLE = st.sampled_from([-1, 0, 127, 128, 2**53 - 1, 2**53, -(2**53), 2**63, 2**64 - 1, -(2**63)])
_ENDS = st.sampled_from([b"\xc2", b"\xc2", b"\xc3", b"\xc0", b"\x00", b"\x01", b"\x02", b"\xa4true"])
_ODD_TEXTS = st.sampled_from(["", "B", "ä" * 127, "ä" * 128, "x" * 255, "x" * 256, "x" * 31, "x" * 32, "😀"])


def _array_head(draw: Any, length: int, long: bool) -> bytes:
    short = b"" if length > 15 else bytes([0x90 | length])
    return b"\xdc" + struct.pack(">H", length) if not short or (long and draw(st.booleans())) else short


def _map_head(draw: Any, length: int, odd: bool) -> bytes:
    short = [] if length > 15 else [bytes([0x80 | length])]
    long = [b"\xde" + struct.pack(">H", length), b"\xdf" + struct.pack(">I", length)]
    return draw(st.sampled_from([*short, *long, b"\x8f"])) if odd else (short or long)[0]


@st.composite
def msgpack_values(draw: st.DrawFn, shape: Shape, sequence: str, step: int) -> bytes:
    """A sample that fits a stream, with up to three oddities."""
    oddities = ("number", "whole", "text", "object", "surplus", "missing", "repeat", "broken", "map")
    odd = draw(st.just([]) | st.lists(st.sampled_from(oddities), max_size=3))
    strange = draw(st.sampled_from(shape.fields)).name if "number" in odd else None
    pairs = []
    for field in shape.fields:
        numbers = [draw(st.floats(-100, 100)) for _ in range(field.length or 1)]
        if field.name == strange:
            numbers[draw(st.integers(0, len(numbers) - 1))] = draw(_ODD_NUMBERS)
        packed = b"".join(_number(draw, number) for number in numbers)
        head = b"" if field.length is None else _array_head(draw, field.length, long="map" in odd)
        pairs.append([draw(st.sampled_from((field.name, field.name, *field.aliases))), head + packed])
    if shape.has_end and draw(st.sampled_from((False, False, True))):
        pairs.append(["end", draw(_ENDS)])
    if sequence or draw(st.booleans()):
        pairs.append(["sequence", _text(draw, draw(_ODD_TEXTS) if "text" in odd else sequence)])
    if draw(st.booleans()):
        pairs.append(["step", _integer(draw, draw(_ODD_WHOLE) if "whole" in odd else step)])
    if draw(st.booleans()):
        pairs.append(["timestamp_ms", _integer(draw, draw(_ODD_WHOLE) if "whole" in odd else draw(GOOD_TIMES))])
    pairs = draw(st.permutations(pairs))
    if "object" in odd:
        pairs[draw(st.integers(0, len(pairs) - 1))][1] = draw(_ODD_OBJECTS)
    if "missing" in odd:
        pairs.pop()
    if "repeat" in odd and pairs:
        pairs.append(draw(st.sampled_from(pairs)))
    if "surplus" in odd:
        name = draw(st.sampled_from(["unit", "Step", "seq", "timestampMs", "", "ä", "x" * 40]))
        pairs.insert(draw(st.integers(0, len(pairs))), [name, draw(_ODD_OBJECTS | _SURPLUS)])
    raw = _map_head(draw, len(pairs), "map" in odd) + b"".join(_text(draw, name) + packed for name, packed in pairs)
    return draw(broken(raw)) if "broken" in odd else raw


CONTENT_TYPES = (
    *(
        b"application/json; charset=utf-8",
        b'"application/json"',
        b"APPLICATION/JSON",
        b"text/json",
        b" application/json\t",
    ),
    *(b"application/vnd.plant.v1+json;x=1", b"application/x-msgpack", b"Application/VND.msgpack", b"a/b+msgpack ;"),
    *(
        b"application/json" + b" " * 50,
        b"application/x+json" + b"x" * 40,
        b"+json",
        b"json",
        b";",
        b"/+json",
        b"a/b+jsonx",
    ),
    *(b"application/json, text/plain", b"application/json\xa0", b"application/" + b"y" * 70 + b"+json"),
)
JSON_HEADERS: Any = st.sampled_from(
    [
        *[()] * 25,
        *[(("content-type", JSON_TYPE),)] * 15,
        (("trace", b"1"),),
        (("trace", None),),
        (("", b""),),
        (("content-type", MSGPACK_TYPE), ("content-type", JSON_TYPE)),
        (("content-type", JSON_TYPE), ("trace", b"1")),
        (("trace", b"1" * 200), ("content-type", JSON_TYPE)),
        (("content-type", b"application/jsoN"),),
        *[(("content-type", text),) for text in CONTENT_TYPES],
        (("content-type", None),),
        (("content-type", b""),),
        (("Content-Type", JSON_TYPE),),
        (("content-type", MSGPACK_TYPE),),
        (("content-typf", JSON_TYPE),),
        (("x" * 140, JSON_TYPE),),
    ]
)
MSGPACK_HEADERS: Any = st.sampled_from(
    [
        *[(("content-type", MSGPACK_TYPE),)] * 25,
        (("content-type", MSGPACK_TYPE), ("trace", b"1")),
        (("content-type", JSON_TYPE), ("content-type", MSGPACK_TYPE)),
        (("content-type", b"application/msgpacl"),),
        *[(("content-type", text),) for text in CONTENT_TYPES],
        (("content-type", JSON_TYPE),),
        (),
    ]
)


@st.composite
def odd_records(draw: st.DrawFn, shape: Shape = SIGNALS) -> list[tuple[bytes | None, bytes | None, Any]]:
    """(key, value, headers) of two streams that mostly go on, each with a sequence of its own."""
    steps = {b"a": 0, b"b": 0}
    sequences = {b"a": "", b"b": draw(st.sampled_from(["A", "4712", "ä😀", 'say "A"', "x" * 200]))}
    found = []
    for _ in range(draw(st.integers(1, 25))):
        key = draw(st.sampled_from((b"a", b"b")))
        if draw(st.booleans()):
            value, headers = draw(json_values(shape, sequences[key], steps[key])), draw(JSON_HEADERS)
        else:
            value, headers = draw(msgpack_values(shape, sequences[key], steps[key])), draw(MSGPACK_HEADERS)
        found.append((key, value, headers))
        with suppress(RecordError):
            sample = shape.decode(value, headers)
            if sample.sequence != sequences[key]:
                sequences[key], steps[key] = sample.sequence or "", 0
            steps[key] = (steps[key] if sample.step is None else min(sample.step, 2**40)) + 1
    return found
