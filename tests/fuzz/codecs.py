"""Targets: the codecs of samples and outputs, and the compiled reader of plain samples against them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from core.errors import RecordError
from core.native.fields import FieldList
from core.native.outputs import NamedOutputs
from core.native.records import Records
from core.native.signals import SignalBatch, SignalTurn
from core.native.streams import SignalStream
from core.tasks.reading import shipped
from core.wire import records
from core.wire.outputs import PREDICTION
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS
from tests.fuzz.mutation import Mutator
from tests.fuzz.values import (
    CASTS,
    JSON_TOKENS,
    MSGPACK_TOKENS,
    SIGNALS,
    good_json,
    good_msgpack,
    odd_json,
    odd_msgpack,
)

JSON_TYPE, MSGPACK_TYPE = (("content-type", b"application/json"),), (("content-type", b"application/msgpack"),)
LONGEST_MESSAGE = 250  # of an error: it becomes a header of the dead letter

FIELDS, WRITER = FieldList(shipped("signal").fields), NamedOutputs(PREDICTION, "json", "0123456789ab")

Headers = tuple[tuple[str, bytes], ...]
_DECODERS: tuple[Callable[..., Any], ...] = (
    records.decode_signal,
    records.decode_casting,
    records.decode_prediction,
    records.decode_score,
    records.decode_output_step,
)
_JSON = Mutator(good_json(), JSON_TOKENS)
_MSGPACK = Mutator(good_msgpack(), MSGPACK_TOKENS)
_SIGNALS, _CASTS = (
    (
        Mutator([json.dumps(value, ensure_ascii=False).encode() for value in values], JSON_TOKENS),
        Mutator([msgspec.msgpack.encode(value) for value in values], MSGPACK_TOKENS),
    )
    for values in (SIGNALS, CASTS)
)


def json_value(random: Random) -> bytes:
    """One input."""
    return odd_json(random) if random.random() < 0.4 else _JSON.input(random)


def msgpack_value(random: Random) -> bytes:
    """One input."""
    return odd_msgpack(random) if random.random() < 0.4 else _MSGPACK.input(random)


def check_decoders(value: bytes, headers: Headers) -> None:
    """Every decoder gives a value within its limits, or a RecordError with a reason and a short message."""
    for decode in _DECODERS:
        found = decoded(decode, value, headers)
        if isinstance(found, (records.SignalSample, records.CastingSample)):
            _check_limits(found)


def decoded(decode: Callable[..., Any], value: bytes, headers: Headers) -> Any:
    """What a decoder gives; None where it refuses."""
    try:
        return decode(value, headers)
    except RecordError as error:
        refused = error
    assert refused.reason in records.REASONS, refused.reason
    assert len(refused.message) <= LONGEST_MESSAGE, f"an error of {len(refused.message)} characters"
    return None


def _check_limits(sample: Any) -> None:
    assert all(math.isfinite(number) and abs(number) <= records.MAX_VALUE for number in sample.values), sample
    assert len((sample.sequence or "").encode()) <= records.MAX_SEQUENCE_BYTES
    assert sample.step is None or 0 <= sample.step <= records.MAX_STEP
    assert sample.timestamp_ms is None or MIN_TIME_MS <= sample.timestamp_ms <= MAX_TIME_MS


def check_json(value: bytes, random: Random) -> None:
    """JSON, with the header that says so and without one."""
    check_decoders(value, random.choice(((), JSON_TYPE)))


def check_msgpack(value: bytes, random: Random) -> None:
    """MessagePack."""
    check_decoders(value, MSGPACK_TYPE)


# The compiled reader.


def signal_value(random: Random) -> bytes:
    """A signal sample in either format; the first byte of a MessagePack map is not JSON's."""
    if random.random() < 0.3:
        return random.choice((odd_json, odd_msgpack))(random)
    return random.choice(_SIGNALS).input(random)


def cast_value(random: Random) -> bytes:
    """One input: of a casting sample, in either format."""
    return random.choice(_CASTS).input(random)


def headers_of(value: bytes, random: Random) -> Headers:
    """Headers that fit the value's format."""
    return random.choice(((), JSON_TYPE)) if value[:1] <= b"\x7f" else MSGPACK_TYPE


def check_scanner(value: bytes, random: Random) -> None:
    """What the compiled reader takes, the codec takes too, and reads the same; the rest it leaves alone."""
    headers = headers_of(value, random)
    sample = decoded(records.decode_signal, value, headers)
    stream = _stream_before(sample)
    before = _fields(stream)
    if takes(stream, value, headers):
        assert sample is not None, "taken, and the codec refuses it"
        assert _fields(stream) == _after(sample), "read otherwise than by the codec"
    else:
        assert _fields(stream) == before, "left alone, but changed"


def _stream_before(sample: records.SignalSample | None) -> SignalStream:
    """A stream whose next sample this one is, as far as step and sequence go."""
    stream = SignalStream(0, b"a", 1)
    stream.offset, stream.append_ms, stream.step, stream.sequence = 5, 6, 0, "A"
    if sample is not None:
        stream.sequence = sample.sequence or ""
        stream.step = 8 if sample.step is None else sample.step - 1
    return stream


def _after(sample: records.SignalSample) -> tuple[Any, ...]:
    event_ms = 8 if sample.timestamp_ms is None else sample.timestamp_ms
    step = 9 if sample.step is None else sample.step
    return 7, 8, event_ms, step, sample.sequence or "", _bits(sample.values)


def _fields(stream: SignalStream) -> tuple[Any, ...]:
    return stream.offset, stream.append_ms, stream.timestamp_ms, stream.step, stream.sequence, _bits(stream.sample)


def _bits(numbers: Sequence[float]) -> bytes:
    return struct.pack("5f", *numbers)  # by their bits: 0.0 and -0.0 are equal; as streams keep them


class _Row:
    """A record as `Records.add` wants it."""

    partition, offset, timestamp, key = 0, 7, 8, b"a"

    def __init__(self, value: bytes, headers: Headers) -> None:
        self.value, self.headers = value, headers


def takes(stream: SignalStream, value: bytes, headers: Headers) -> bool:
    """Whether the compiled reader takes a value as the stream's next sample."""
    chunk, left = Records(0), []
    chunk.add(_Row(value, headers))
    batch = SignalBatch(WRITER, FIELDS.width)
    turn = SignalTurn(1, batch, FIELDS, 1, 10**9, left.append, lambda stream: None)
    turn.take(chunk, {b"a": stream}, [])
    assert turn.processed + len(left) == 1
    assert len(batch) == turn.processed
    return turn.processed == 1
