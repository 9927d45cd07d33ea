"""Values as some producer might write them, good and bad, for both tasks: pieces that `inputs` makes streams of.

In JSON, ``<F>`` stands for the fields of a task, ``<1>`` for the first of them and ``<N>`` for the next step. What a
piece comes to is recorded, not stated here. None is nested deeply: how deep a value may be depends on Python.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

JSON_TYPE, MSGPACK_TYPE = b"application/json", b"application/msgpack"

FIELDS = {
    "signal": '"signal":0.5,"condition_vector":[0,1,0,0]',
    "casting": '"casting_speed":1.25,"mold_temperature":1521.5,"mold_level":150,"cooling_water_flow":201.0,'
    '"superheat":24.75',
}
FIRST = {"signal": '"signal":0.5', "casting": '"casting_speed":1.25'}
"""A number field as it stands in `FIELDS`, to be written in other ways."""
LAST = {"signal": "condition_vector", "casting": "superheat"}

GOOD_NUMBERS = (
    *("1", "-1", "0", "-0", "0.0", "-0.0", "1E+1", "1e-5", "25e-1", "1e6", "-1e6", "1000000.0", "1e-400", "5e-324"),
    *("0.30000000000000004", "0.1000000000000000055511151231257827021181583404541015625", "1.234567890123456789"),
    *(
        "99999.99999999999",
        "0.1",
        "999999.9",
        "3.4e-39",
        "0." + "3" * 400,
        "0.000000000000000000000000000000000000000000001",
    ),
)
BAD_NUMBERS = (
    *("1000000.0000000001", "1000001", "-1e7", "1e300", "1e400", "9" * 17, "9" * 30, "9" * 400),
    *("01", "-01", "00", "1.", ".5", "+1", "-", "1e", "1e+", "1.5.5", "0x10", "1_0", "--1", "NaN", "-Infinity", "inf"),
    *("null", "true", "false", '"0.5"', '" 1 "', '"0,5"', '"true"', '"high"', "[]", "[0.5]", "{}", '{"value":0.5}', ""),
)

GOOD_JSON = (
    "{<F>}",
    '{<F>,"step":<N>}',
    '{"step":<N>,<F>}',
    ' {\n "step" : <N> ,\t"sequence" :\r"" , <F> }\r\n',
    '{<F>,"step":<N>.0}',
    '{<F>,"step":<N>e0}',
    '{<F>,"step":null,"sequence":null,"timestamp_ms":null,"end":null}',
    '{<F>,"step":<N>,"timestamp_ms":1700000000123}',
    '{<F>,"step":<N>,"timestamp_ms":1700000000124.0}',
    '{<F>,"step":<N>,"timestamp_ms":1.7e12}',
    '{<F>,"step":<N>,"timestamp_ms":946684800000}',
    '{<F>,"step":<N>,"timestamp_ms":4102444800000}',
    '{<F>,"step":<N>,"end":false}',
    '{<F>,"step":<N>,"end":0}',
    '{<F>,"step":<N>,"unit":"mm"}',
    '{"unit":null,<F>,"valid":true,"step":<N>,"bad":false}',
    '{<F>,"step":<N>,"meta":{"a":[1,{"b":"}"}],"signal":"9","step":7}}',
    '{<F>,"step":<N>,"deep":' + "[" * 50 + "]" * 50 + "}",
    '{<F>,"step":<N>,"":1," ":2,"signal ":3,"ä":4,"text":"\\"\\\\\\u00e4\\ud83d\\ude00"}',
    '{<F>,"s\\u0074ep":<N>}',
    '{<F>,"step":1,"step":<N>}',
    '{<1>,"unit":"mm",<F>,"step":<N>}',
    '\ufeff{<F>,"step":<N>}',
    '{<F>,"step":<N>}\0',
    '\ufeff{<F>,"step":<N>}\0\0 \r\n\0',
    '{<F>,"Step":9}',
    '{<F>,"STEP":"9","seq":"A","timestampMs":5}',
    '{<F>,"step":<N>,"ts":1,"Timestamp":1700000000000,"time":"noon"}',
    '{<F>,"step_no":3,"meta":{"is_end":true}}',
    '{<F>,"Step":9,"step":<N>}',
)
BAD_JSON = (
    *("", " ", "\0\0", "{", "}", "{}", "[]", "[{<F>}]", "null", "7", "true", '"text"', '"{\\"signal\\":1}"', '""""'),
    *("{<F>", "{<F>}}", "{<F>}{<F>}", "{<F>}\n{<F>}", "{<F>,}", "{,<F>}", "{<F>} x"),
    *("{'signal':1}", "{<F>,'step':1}", "<xml/>", "signal=0.5", "0.5,0,1,0,0", "\ufeff\ufeff{<F>}", " \ufeff{<F>}"),
    *('{<F>,"step":1.5}', '{<F>,"step":-1}', '{<F>,"step":"7"}', '{<F>,"step":true}', '{<F>,"step":[]}'),
    *('{<F>,"step":9007199254740992}', '{<F>,"step":1e300}', '{<F>,"step":' + "9" * 400 + "}"),
    *('{<F>,"sequence":7.5}', '{<F>,"sequence":true}', '{<F>,"sequence":["A"]}', '{<F>,"sequence":1e300}'),
    *('{<F>,"sequence":18446744073709551616}', '{<F>,"sequence":"' + "x" * 256 + '"}'),
    *('{<F>,"sequence":"' + "ä" * 128 + '"}', '{<F>,"sequence":"' + "x" * 3000 + '"}'),
    *('{<F>,"sequence":"\\ud83d"}', '{<F>,"sequence":"\\x41"}', '{<F>,"sequence":"\t"}'),
    *('{<F>,"timestamp_ms":946684799999}', '{<F>,"timestamp_ms":4102444800001}', '{<F>,"timestamp_ms":0}'),
    *('{<F>,"timestamp_ms":1795450377}', '{<F>,"timestamp_ms":1795450377000000}', '{<F>,"timestamp_ms":1.5e3}'),
    *('{<F>,"timestamp_ms":1700000000000.5}', '{<F>,"timestamp_ms":"2026-11-30T14:00:00Z"}'),
    *('{<F>,"timestamp_ms":"1700000000000"}', '{<F>,"timestamp_ms":639000000000000000}'),
    *('{<F>,"timestamp_ms":1795450377000000000}', '{<F>,"timestamp_ms":true}'),
    *('{"payload":{<F>}}', '{"value":1,"data":{<F>}}', "{<1>}", '{"step":3,"sequence":"A"}'),
    *('{<F>,"text":"\x01"}', '{<F> "step":1}', '{<F>,"step" 1}', '{<F>,"step":tru}', "{<F>,1:2}"),
)
BAD_BYTES = (
    *(b"\xff\xfe{\0}\0", b"{\0}\0", b"\xff\xfe\0", b"\x00\x00\x00\x01\x07{}", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"),
    *(b"BZh9", b"\xfd7zXZ\x00", b"\x04\x22\x4d\x18", b"\x82SNAPPY\x00", b"Obj\x01", b"PK\x03\x04", b"\x89HDF\r\n"),
    *(
        b"\x82\xa6signal\x01",
        b"\xde\x00\x02\xa6signal\x01",
        b"\xc3\xa4",
        b'{"signal":\xff}',
        b'{"sig\xffnal":1}',
        b"\x80",
    ),
)
BAD_KEYS = (
    None,
    b"",
    b"k" * 256,
    b"\xff\xfe",
    b"a\xc3",
    b"\0\0\0\x01",
    b"\0\0\0\0\x07key",
    b"nul\0inside",
    "ä".encode() * 128,
)

CONTENT_TYPES = (
    *(b"application/json", b"Application/JSON; charset=utf-8", b' "text/json" ', b"application/x-json", b"'text/json'"),
    *(b"application/vnd.plant+json", b"application/ld+JSON;v=1", b"\tapplication/json\r\n"),
    *(b"text/csv", b"", b"json", b"+json", b"application", b"application/jsonx", b"avro/binary", b"a/" + b"x" * 300),
)
MSGPACK_TYPES = (
    *(b"application/msgpack", b"application/x-msgpack", b"APPLICATION/vnd.msgpack", b"application/plant+msgpack;x=y"),
    *(b"msgpack", b"application/x-message-pack"),
)


# MessagePack, in every width that it has.


def text(value: str, width: int = 0) -> bytes:
    """A text; ``width``: bytes of its length, 0 for the shortest form."""
    raw = value.encode()
    if not width:
        return msgspec.msgpack.encode(value)
    return bytes([{1: 0xD9, 2: 0xDA, 4: 0xDB}[width]]) + len(raw).to_bytes(width) + raw


def number(layout: str, value: float) -> bytes:
    """A number by the letter that `struct` has for it."""
    tags = {
        "f": 0xCA,
        "d": 0xCB,
        "B": 0xCC,
        "H": 0xCD,
        "I": 0xCE,
        "Q": 0xCF,
        "b": 0xD0,
        "h": 0xD1,
        "i": 0xD2,
        "q": 0xD3,
    }
    return bytes([tags[layout]]) + struct.pack(f">{layout}", value)


def mapped(pairs: Sequence[tuple[bytes, bytes]], width: int = 0) -> bytes:
    """A map of encoded names and values; ``width``: bytes of its size."""
    head = bytes([0x80 | len(pairs)]) if not width else bytes([{2: 0xDE, 4: 0xDF}[width]]) + len(pairs).to_bytes(width)
    return head + b"".join(name + value for name, value in pairs)


def fields(task: str, first: bytes = b"\x01") -> list[tuple[bytes, bytes]]:
    """The fields of a task, the first of them as given."""
    held = msgspec.json.decode("{" + FIELDS[task] + "}")
    pairs = [(text(name), msgspec.msgpack.encode(value)) for name, value in held.items()]
    return [(pairs[0][0], first), *pairs[1:]]


GOOD_FIRST = (
    *(b"\x00", b"\x7f", b"\xff", b"\xe0", number("B", 200), number("H", 40_000), number("I", 100_000), number("Q", 7)),
    *(number("b", -100), number("h", -30_000), number("i", -100_000), number("q", -7), number("f", 0.1)),
    *(number("d", 0.1), number("f", -0.0), number("d", 1e6), number("f", 1e-40), number("d", 5e-324), number("i", 5)),
)
BAD_FIRST = (
    *(number("d", float("nan")), number("f", float("nan")), number("d", float("inf")), number("f", -float("inf"))),
    *(
        number("d", 1e6 + 1),
        number("f", 3e38),
        number("Q", 2**64 - 1),
        number("q", -(2**63)),
        b"\xc0",
        b"\xc1",
        b"\xc2",
    ),
    *(b"\xc3", text("0.5"), text("0,5"), text(""), b"\xc4\x01A", b"\xd4\x01\x00", b"\x90", b"\x80", b"\x91\x01", b""),
    *(b"\xd6\xff\x00\x00\x00\x00", b"\xa3a", b"\xa2\xff\xfe"),
)


def good_msgpack(task: str, step: int) -> list[bytes]:
    """Values that all name this step, or the next one by naming none."""
    plain = fields(task)
    own = (text("step"), msgspec.msgpack.encode(step))
    return [
        *(mapped([*plain, (name, number(layout, step))]) for layout in "BHIQbhiqfd" for name in (text("step"),)),
        *(mapped([*plain, (text("step", width), own[1])]) for width in (1, 2, 4)),
        *(mapped([own, *plain], width) for width in (2, 4)),
        mapped(plain),
        mapped([*plain, own, (text("sequence"), b"\xc0"), (text("timestamp_ms"), b"\xc0"), (text("end"), b"\xc0")]),
        mapped([*plain, own, (text("timestamp_ms"), number("Q", 1_700_000_000_123))]),
        mapped([*plain, own, (text("timestamp_ms"), number("d", 1_700_000_000_124.0))]),
        mapped([*plain, own, (text("end"), b"\xc2")]),
        mapped([*plain, own, (text("sequence"), text("", 1))]),
        mapped([*plain, (text("step"), b"\x01"), own]),
        mapped([*plain, own, (text("unit"), text("mm")), (text("meta"), b"\x81\xa1a\x93\x01\x02\x03")]),
        mapped([*plain, own, (text("bytes"), b"\xc4\x02\xff\xfe"), (text("time"), b"\xd6\xff\x00\x00\x00\x00")]),
        mapped([*plain, (text("Step"), b"\x09"), (text("seq"), text("A"))]),
        mapped([*plain, own, (text("timestampMs"), b"\x09")]),
    ]


def bad_msgpack(task: str) -> list[bytes]:
    """Values that nobody can use."""
    plain = fields(task)
    whole = mapped(plain)
    name = text
    return [
        *(mapped(fields(task, first)) for first in BAD_FIRST),
        *(mapped([*plain, (each, b"\x01")]) for each in (b"\x01", b"\xc0", b"\xa2\xff\xfe", b"\xc4\x01A")),
        *(mapped([*plain, (name("step"), each)]) for each in (b"\xff", number("Q", 2**53), number("d", 1.5), b"\xc3")),
        *(mapped([*plain, (name("step"), each)]) for each in (number("d", float("nan")), text("7"), b"\x90")),
        *(mapped([*plain, (name("sequence"), each)]) for each in (number("d", 7.5), b"\xc3", b"\x90", b"\xc4\x01A")),
        *(mapped([*plain, (name("sequence"), each)]) for each in (text("x" * 256), text("ä" * 128), b"\xa2\xff\xfe")),
        *(mapped([*plain, (name("timestamp_ms"), each)]) for each in (b"\x07", number("d", float("inf")), text("now"))),
        *(whole[:-1], whole[:1], whole + b"\x00", whole + whole, b"\x91" + whole, b"\xc0", b"\x07", text("text"), b""),
        *(mapped(plain[:-1]), mapped(plain[1:]), mapped([(name("payload"), whole)]), b"\xdf\xff\xff\xff\xff", b"\x80"),
        *(("{" + FIELDS[task] + "}").encode(), b" {}", b"\x91" * 50, mapped([*plain, (name("deep"), b"\x91" * 50)])),
    ]


def only(task: str) -> tuple[list[str], list[bytes]]:
    """Bad values of one task alone, in JSON and MessagePack."""
    if task == "signal":
        vectors = ["[0,1,0]", "[0,1,0,0,0]", "[]", "null", "0", '"0,1,0,0"', "{}", '[0,"1",0,0]', "[0,null,0,0]"]
        vectors += ["[0,1e7,0,0]", "[0,true,0,0]", "[[0,1,0,0]]", "[0,1,0,0", "[" + "0," * 3000 + "0]"]
        packed = [
            b"\x93\1\2\3",
            b"\x95\1\2\3\4\5",
            b"\x94\1\2\3\xc0",
            b"\x94\1\2\3" + number("f", float("inf")),
            b"\xc0",
        ]
        packed += [b"\x94\1\2\3" + number("d", 1e7), b"\xc4\x04\1\2\3\4", b"\x94\1\2\3"]
        base = fields(task)[:1]
        return (
            [f'{{"signal":0.5,"condition_vector":{each}}}' for each in vectors]
            + ['{"Signal":0.5,"condition_vector":[0,1,0,0]}', '{"signal":0.5,"conditionVector":[0,1,0,0]}'],
            [mapped([*base, (text("condition_vector"), each)]) for each in packed],
        )
    ends = ['"true"', '"yes"', "2", "0.5", "[]", "{}", '"1"']
    return (
        [f'{{{FIELDS[task]},"end":{each}}}' for each in ends] + ['{"castingSpeed":1,"mold_temperature":2}'],
        [mapped([*fields(task), (text("end"), each)]) for each in (b"\x02", text("true"), b"\x90", number("d", 0.5))],
    )
