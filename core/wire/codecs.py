"""Reads the values of records of one kind, in both formats.

The strict decoders are fast and say little; what they refuse is read again, so that the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from core.errors import RecordError
from core.tasks.declaration import Field
from core.wire.media_types import value_format
from core.wire.odd_bytes import explain_bytes, trimmed
from core.wire.odd_values import RawReader, readers_of
from core.wire.record_limits import MAX_SEQUENCE_BYTES
from core.wire.sample_types import sample_type

SampleHeaders = Sequence[tuple[str, bytes]] | None

_SHORT = MAX_SEQUENCE_BYTES // 4  # so many characters always fit: none takes more than 4 bytes

T = TypeVar("T")


class Codec(Generic[T]):
    """Reads values of one kind in both formats."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._json: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode
        self._msgpack: Callable[[bytes], T] = msgspec.msgpack.Decoder(kind).decode

    def decode(self, value: bytes | None, headers: SampleHeaders = None) -> T:
        decode = self._json if not headers else self._by_content_type(headers)
        if value is None:
            raise RecordError("not_decodable", "the record has no value: a tombstone")
        try:
            return decode(value)
        except _REFUSED as error:
            return self._look_again(value, decode is self._json, error)

    def _by_content_type(self, headers: Sequence[tuple[str, bytes]]) -> Callable[[bytes], T]:
        """The reader that the header asks for; the last one counts, as in Kafka's ``lastHeader``."""
        for name, content_type in reversed(headers):
            if name == "content-type":
                if (found := value_format(content_type)) is None:
                    told = (content_type or b"")[:64]
                    raise RecordError(
                        "content_type", f"content-type is {told!r}: must be application/json or application/msgpack"
                    )
                return self._json if found == "json" else self._msgpack
        return self._json

    def _look_again(self, value: bytes, is_json: bool, error: Exception) -> T:
        if isinstance(error, msgspec.ValidationError):
            raise RecordError("wrong_type", str(error)) from error
        raise RecordError(*explain_bytes(value, error, is_json)) from error


_REFUSED = (msgspec.DecodeError, ValueError, RecursionError)  # ValueError: text that is not UTF-8


class SampleCodec(Codec[T]):
    """Reads samples: accepts small differences of form, and names the fault of refused ones.

    Args:
        kind: of the samples, as `core.wire.sample_types.sample_type` makes them.
        fields: of their task.
        booleans: true and false are 1 and 0.
    """

    def __init__(self, kind: type[T], fields: Sequence[Field], booleans: bool = False) -> None:
        super().__init__(kind)
        names = kind.__struct_fields__  # type: ignore[attr-defined]
        readers = readers_of(names, fields, booleans)
        self._raw_json, self._raw_msgpack = (
            RawReader(readers, fields, codec) for codec in (msgspec.json, msgspec.msgpack)
        )
        # The strict decoders know no other names: of fields that may be missing such a one must be looked for.
        self._hidden = [field.name for field in fields if field.missing == "hold" and field.aliases]

    def decode(self, value: bytes | None, headers: SampleHeaders = None) -> T:
        sample = super().decode(value, headers)
        if self._hidden and value is not None and any(getattr(sample, name) is None for name in self._hidden):
            is_json = not headers or self._by_content_type(headers) is self._json
            sample = self._read_slowly(value, is_json)
        _check_sequence(sample.sequence)  # type: ignore[attr-defined]
        return sample

    def _look_again(self, value: bytes, is_json: bool, error: Exception) -> T:
        if is_json and len(kept := trimmed(value)) != len(value):
            try:
                return self._json(kept)
            except _REFUSED:
                pass
        return self._read_slowly(value, is_json)

    def _read_slowly(self, value: bytes, is_json: bool) -> T:
        read = self._raw_json.fields(trimmed(value)) if is_json else self._raw_msgpack.fields(value)
        return self._kind(**read)


def task_codec(name: str, fields: Sequence[Field]) -> SampleCodec[Any]:
    """The codec of a declared task's samples: live, offline and for dead letters that are sent again."""
    return SampleCodec(sample_type(name, fields, has_end=True), fields, booleans=True)


def _check_sequence(sequence: str | None) -> None:
    if not sequence or len(sequence) <= _SHORT:
        return
    size = len(sequence.encode())
    if size > MAX_SEQUENCE_BYTES:
        raise RecordError(
            "sequence_too_long", f"sequence has {size} bytes of UTF-8, at most {MAX_SEQUENCE_BYTES} are allowed"
        )
