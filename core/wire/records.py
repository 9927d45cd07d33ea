"""Wire records, version 1: the structs of samples, predictions and scores, and their codecs.

JSON and MessagePack hold the same fields. Unknown fields are ignored, null means absent. Nothing here loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from core.errors import RecordError
from core.tasks.reading import shipped
from core.wire.codecs import Codec, SampleCodec
from core.wire.codecs import SampleHeaders as SampleHeaders
from core.wire.reasons import REASON_TEXTS
from core.wire.record_limits import MAX_KEY_BYTES
from core.wire.record_limits import MAX_SEQUENCE_BYTES as MAX_SEQUENCE_BYTES
from core.wire.record_limits import MAX_STEP as MAX_STEP
from core.wire.record_limits import MAX_VALUE as MAX_VALUE
from core.wire.sample_types import Number, SequenceName, Step, TimestampMs

REASONS = tuple(REASON_TEXTS)
"""Every reason of a RecordError: a header of the dead letter and a metric label."""

SampleValues = tuple[float, float, float, float, float]  # one sample as the model reads it
OutputFormat = str  # a key of CONTENT_TYPES
CONTENT_TYPES = {"json": b"application/json", "msgpack": b"application/msgpack"}


class SignalSample(msgspec.Struct, frozen=True, gc=False):
    """One record of signal-samples."""

    signal: Number
    condition_vector: tuple[Number, Number, Number, Number]
    sequence: SequenceName | None = ""
    step: Step | None = None
    timestamp_ms: TimestampMs | None = None

    @property
    def values(self) -> SampleValues:
        """The model's input [S, C1..C4]."""
        return (self.signal, *self.condition_vector)


class CastingSample(msgspec.Struct, frozen=True, gc=False):
    """One record of casting-samples."""

    casting_speed: Number  # m/min
    mold_temperature: Number  # °C
    mold_level: Number  # mm
    cooling_water_flow: Number  # L/min
    superheat: Number  # °C
    sequence: SequenceName | None = ""
    step: Step | None = None
    timestamp_ms: TimestampMs | None = None
    end: bool | None = False

    @property
    def values(self) -> SampleValues:
        """The model's input, in the order of the fields."""
        return (
            self.casting_speed,
            self.mold_temperature,
            self.mold_level,
            self.cooling_water_flow,
            self.superheat,
        )


class Prediction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One record of signal-predictions."""

    stream: str
    sequence: str
    step: int
    timestamp_ms: int
    prediction: float | None  # None: the model's number was not finite
    model: str
    gap: int = 0  # steps missing right before; on the wire only when > 0


class Score(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One record of casting-scores: the window ``[start, step + 1)``, of ``length`` samples."""

    stream: str
    sequence: str
    step: int
    start: int
    length: int
    timestamp_ms: int
    probability: float | None
    attention_peak: int | None  # the step with the most attention
    final: bool
    model: str
    reason: str | None = None  # why there is no probability


class OutputStep(msgspec.Struct, frozen=True, gc=False):
    """The fields that tell the outputs of one source record apart, of a prediction or a score."""

    step: int
    final: bool = False


SENSORS = tuple(field.name for field in shipped("casting").fields)
TOO_SHORT = "too_short"
NOT_FINITE = "not_finite"

_SIGNAL = SampleCodec(SignalSample, shipped("signal").fields)
_CASTING = SampleCodec(CastingSample, shipped("casting").fields)
_PREDICTION = Codec(Prediction)
_SCORE = Codec(Score)
_OUTPUT_STEP = Codec(OutputStep)


def decode_signal(value: bytes | None, headers: SampleHeaders = None) -> SignalSample:
    """Read one signal sample.

    Raises:
        RecordError: what makes the record unusable, with a reason of REASONS.
    """
    return _SIGNAL.decode(value, headers)


def decode_casting(value: bytes | None, headers: SampleHeaders = None) -> CastingSample:
    """Read one casting sample.

    Raises:
        RecordError: what makes the record unusable, with a reason of REASONS.
    """
    return _CASTING.decode(value, headers)


def stream_id(key: bytes | None) -> str:
    """The stream that a record key names.

    Raises:
        RecordError: no key, an empty one, one above 255 bytes, bytes that are not UTF-8, or a NUL among them, as of
            numbers and of schema registries' serializers.
    """
    if not key:
        raise RecordError("no_key", "the record has no key: it names the stream")
    if len(key) > MAX_KEY_BYTES:
        raise RecordError("key_too_long", f"the key has {len(key)} bytes, at most {MAX_KEY_BYTES} are allowed")
    if b"\0" in key:
        raise RecordError("key_not_utf8", _about_nul(key))
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise RecordError("key_not_utf8", f"the key is not UTF-8: {error.reason} at byte {error.start}") from error


def _about_nul(key: bytes) -> str:
    number = int.from_bytes(key[1:5])
    if key[:1] == b"\0" and len(key) > 5 and number > 0:
        return f"the key begins with byte 0: written by a schema registry's serializer (id {number})? Send it as text"
    return f"the key holds byte 0 at {key.index(0)}, so it is no text: a number of 4 or 8 bytes? Send it as text"


def encoder(output_format: OutputFormat) -> Callable[[Any], bytes]:
    """The function that turns a Prediction or a Score into a record's value.

    Raises:
        ValueError: the format is not in CONTENT_TYPES.
    """
    if output_format not in CONTENT_TYPES:
        raise ValueError(f"output_format must be one of {', '.join(CONTENT_TYPES)}, got {output_format!r}")
    return msgspec.json.Encoder().encode if output_format == "json" else msgspec.msgpack.Encoder().encode


def decode_prediction(value: bytes | None, headers: SampleHeaders = None) -> Prediction:
    """Read one prediction as the worker published it; raises RecordError."""
    return _PREDICTION.decode(value, headers)


def decode_score(value: bytes | None, headers: SampleHeaders = None) -> Score:
    """Read one score as the worker published it; raises RecordError."""
    return _SCORE.decode(value, headers)


def decode_output_step(value: bytes | None, headers: SampleHeaders = None) -> OutputStep:
    """Read of a prediction or a score what tells it apart; raises RecordError."""
    return _OUTPUT_STEP.decode(value, headers)


def published(probability: float | None, peak: int | None) -> tuple[float | None, int | None, str | None]:
    """Probability, attention peak and reason of a score, of what the model gave; None: the window was too short."""
    if probability is None:
        return None, None, TOO_SHORT
    return (probability, peak, None) if math.isfinite(probability) else (None, None, NOT_FINITE)
