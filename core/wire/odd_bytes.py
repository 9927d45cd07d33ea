"""Names a value that is no sample at all, by its first bytes, so that its sender knows what to change."""

from __future__ import annotations

import re

import msgspec

from core.wire.packings import packing_of

WRAPPERS = ("payload", "fields", "value", "data", "body", "message", "metrics", "sample", "record", "after")
"""Names under which gateways and converters put a sample."""

HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""JSON's way to write half of a surrogate pair; of whole ones too, so look only where a decoder has refused a text."""

_BOM = b"\xef\xbb\xbf"
_FORMATS = {b"Obj\x01": "an Avro file", b"PK\x03\x04": "a ZIP file", b"<": "XML or HTML", b"\x89HDF": "an HDF5 file"}
_MOST_SAID = 100
_MOST_LOOKED_AT = 10_000
_NO_NUMBER = re.compile(rb"-?(NaN|Infinity|nan|inf)")
_SINGLE_QUOTES = re.compile(rb"\s{0,20}\{\s{0,20}'")


def trimmed(value: bytes) -> bytes:
    """A JSON value without the byte order mark before it, and the NULs after it, of some producers."""
    return value.rstrip(b"\0 \t\r\n").removeprefix(_BOM)


def explain_bytes(value: bytes, error: Exception, is_json: bool) -> tuple[str, str]:
    """Reason and message for bytes that hold no object of the format.

    Args:
        value: as it came.
        error: of the decoder.
        is_json: what the record's header says.
    """
    said = _known(value, is_json)
    if said is not None:
        return "not_decodable", said
    if isinstance(error, msgspec.ValidationError):
        return "wrong_type", _no_object(value, is_json)
    return "not_decodable", _broken(value, str(error)[:_MOST_SAID], is_json)


def _known(value: bytes, is_json: bool) -> str | None:
    if not value.strip(b"\0 \t\r\n"):
        return "the value is empty"
    if value[:1] == b"\0" and not _is_utf16(value):
        number = int.from_bytes(value[1:5])
        return f"begins with byte 0: written by a schema registry's serializer (id {number})? Send plain JSON"
    if packing := packing_of(value):
        return f"is compressed by {packing}: send it plain, a producer's compression.type is undone by Kafka's clients"
    for magic, name in _FORMATS.items():
        if value.startswith(magic):
            return f"is {name}: must be a JSON object"
    if is_json and _is_utf16(value):
        return "is UTF-16: must be UTF-8"
    if is_json and _begins_map(value):
        return "looks like MessagePack: it needs the header content-type: application/msgpack"
    if not is_json and value.lstrip()[:1] == b"{":
        return "looks like JSON, but its content-type says MessagePack"
    return None


def _is_utf16(value: bytes) -> bool:
    return value[:2] in (b"\xff\xfe", b"\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0[")


def _begins_map(value: bytes) -> bool:
    """True if it begins as a MessagePack map whose first key is a text."""
    skip = {0xDE: 3, 0xDF: 5}.get(value[0], 1 if value[0] & 0xF0 == 0x80 else 0)
    key = value[skip : skip + 1]
    return bool(skip) and (b"\xa0" <= key <= b"\xbf" or key in (b"\xd9", b"\xda", b"\xdb"))


def _no_object(value: bytes, is_json: bool) -> str:
    if not is_json:
        if value[0] & 0xF0 == 0x90 or value[0] in (0xDC, 0xDD):
            return "is an array of samples: send one record for each"
        return "must be a map of the sample's fields"
    first = value.lstrip()[:2]
    if first[:1] == b"[":
        return "is an array of samples: send one record for each"
    if first[:1] == b'"':
        is_twice = first == b'""' or value.lstrip()[1:].lstrip()[:1] in b"{\\"
        return "is a JSON text that holds JSON: encoded twice" if is_twice else "is a JSON text: must be an object"
    return f"is {_start(value)}: must be a JSON object"


def _broken(value: bytes, said: str, is_json: bool) -> str:
    if not is_json:
        return f"is no MessagePack: {said}"
    place = _place(said)
    if "trailing" in said and value[max(place - 1, 0) : place + 100].lstrip()[:1] == b"{":
        return "holds several objects: send one record for each"
    if word := _NO_NUMBER.match(value, place):
        return f"holds {word[0].decode()}: JSON has no such number; leave the sample out"
    if HALF_A_PAIR.search(value, 0, _MOST_LOOKED_AT) and ("truncated" in said or "hex escape" in said):
        return "holds half a surrogate pair, as \\ud83d: no text"
    if _SINGLE_QUOTES.match(value):
        return "has names in single quotes: JSON needs double ones"
    return f"{said}; begins with {_start(value)}"


def _place(said: str) -> int:
    """The byte that msgspec names in ``... (byte 12)``; beyond the end where it names none."""
    digits = said.rpartition("(byte ")[2].rstrip(")")
    return int(digits) if digits.isdigit() else 2**31


def _start(value: bytes) -> str:
    return repr(value[:20].decode("utf-8", "backslashreplace"))
