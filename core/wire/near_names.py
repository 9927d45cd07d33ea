"""Names that are nearly those of optional fields: ``Step``, ``seq``, ``timestampMs``.

Unknown fields are ignored: such a sample is taken, without its sequence, step or time. It is counted and reported once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from core.native.fields import FieldList
from core.native.names import near_field_of, near_names_json

_BOM = 0xEF  # the first byte of a byte order mark, which no map in MessagePack begins with
_NIL = b"\xc0"
_names_of = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode


def near_names(value: bytes, sample: Any, fields: FieldList) -> Iterable[bytes]:
    """The names in a value that stand nearly for fields which its sample lacks, one for each field, the last of each.

    Args:
        value: in either format.
        sample: what it was decoded to.
        fields: of the task. Of MessagePack no longer value is searched than the compiled scanner looks at.
    """
    is_msgpack = value[0] & 0x80 and value[0] != _BOM
    found = _of_msgpack(value, fields.most_msgpack_bytes) if is_msgpack else near_names_json(value)
    return () if not found else [name for name, field in found.items() if hasattr(sample, field)]


def _of_msgpack(value: bytes, most_bytes: int) -> dict[bytes, str]:
    if len(value) > most_bytes:
        return {}
    try:
        raws = _names_of(value)
    except (msgspec.DecodeError, ValueError):  # a name that is no text, which the decoders of samples skip
        return {}
    found = {field: name for name in raws if (field := near_field_of(name.encode())) is not None and name != field}
    return {name.encode(): field for field, name in found.items() if field not in raws or bytes(raws[field]) == _NIL}
