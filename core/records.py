"""Wire records, version 1: the structs of samples, predictions and scores, and their codecs.

JSON and MessagePack hold the same fields. Unknown fields are ignored, null means absent. Nothing here loads torch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from core.errors import RecordError

MAX_KEY_BYTES = 255
MAX_SEQUENCE_BYTES = 255
MAX_STEP = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_VALUE = 1e6
CONDITIONS = 4
FEATURES = 5  # of one sample, for both kinds

REASONS = (
    "no_key",
    "key_too_long",
    "key_not_utf8",
    "content_type",
    "not_decodable",
    "missing_field",
    "wrong_type",
    "vector_length",
    "not_finite",
    "out_of_range",
    "sequence_too_long",
    "step_jump",
    "step_back",
    "late",
)
"""Every reason of a RecordError: a header of the dead letter and a metric label."""

Headers = Sequence[tuple[str, bytes]] | None
Values = tuple[float, float, float, float, float]  # one sample as the model reads it
OutputFormat = str  # a key of CONTENT_TYPES
CONTENT_TYPES = {"json": b"application/json", "msgpack": b"application/msgpack"}

# Limits stand in the types, where they cost nothing: in Python they would double the price of decoding.
Number = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]  # NaN lies in no range
Step = Annotated[int, Meta(ge=0, le=MAX_STEP)]
TimestampMs = Annotated[int, Meta(ge=-MAX_STEP, le=MAX_STEP)]
SequenceName = Annotated[str, Meta(max_length=MAX_SEQUENCE_BYTES)]  # in characters: the bytes are checked besides


class SignalSample(msgspec.Struct, frozen=True, gc=False):
    """One record of signal-samples."""

    signal: Number
    condition_vector: tuple[Number, Number, Number, Number]
    sequence: SequenceName | None = ""
    step: Step | None = None
    timestamp_ms: TimestampMs | None = None

    @property
    def values(self) -> Values:
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
    def values(self) -> Values:
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
    """What tells the outputs of one source record apart, of a prediction or a score."""

    step: int
    final: bool = False


SENSORS = CastingSample.__struct_fields__[:FEATURES]
TOO_SHORT = "too_short"
NOT_FINITE = "not_finite"

_SHORT = MAX_SEQUENCE_BYTES // 4  # so many characters always fit: none takes more than 4 bytes

T = TypeVar("T")


class _Codec(Generic[T]):
    """Reads values of one kind in both formats."""

    def __init__(self, kind: type[T]) -> None:
        self._json: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode
        self._msgpack: Callable[[bytes], T] = msgspec.msgpack.Decoder(kind).decode

    def decode(self, value: bytes | None, headers: Headers) -> T:
        decode = self._json if not headers else self._by_content_type(headers)
        if value is None:
            raise RecordError("not_decodable", "the record has no value")
        try:
            return decode(value)
        except msgspec.ValidationError as error:
            raise _explained(error, value) from error
        except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: text that is not UTF-8
            raise RecordError("not_decodable", str(error)) from error

    def _by_content_type(self, headers: Sequence[tuple[str, bytes]]) -> Callable[[bytes], T]:
        """The reader that the header asks for; the last one counts, as in Kafka's ``lastHeader``."""
        for name, content_type in reversed(headers):
            if name == "content-type":
                if content_type == CONTENT_TYPES["json"]:
                    return self._json
                if content_type == CONTENT_TYPES["msgpack"]:
                    return self._msgpack
                found = (content_type or b"")[:64]
                raise RecordError("content_type", f"must be application/json or application/msgpack, got {found!r}")
        return self._json


_SIGNAL = _Codec(SignalSample)
_CASTING = _Codec(CastingSample)
_PREDICTION = _Codec(Prediction)
_SCORE = _Codec(Score)
_OUTPUT_STEP = _Codec(OutputStep)


def decode_signal(value: bytes | None, headers: Headers = None) -> SignalSample:
    """Read one signal sample.

    Raises:
        RecordError: what makes the record unusable, with a reason of REASONS.
    """
    sample = _SIGNAL.decode(value, headers)
    if sample.sequence and len(sample.sequence) > _SHORT:
        _check_sequence(sample.sequence)
    return sample


def decode_casting(value: bytes | None, headers: Headers = None) -> CastingSample:
    """Read one casting sample.

    Raises:
        RecordError: what makes the record unusable, with a reason of REASONS.
    """
    sample = _CASTING.decode(value, headers)
    if sample.sequence and len(sample.sequence) > _SHORT:
        _check_sequence(sample.sequence)
    return sample


def stream_id(key: bytes | None) -> str:
    """The stream that a record key names.

    Raises:
        RecordError: no key, an empty one, one above 255 bytes, or bytes that are not UTF-8.
    """
    if not key:
        raise RecordError("no_key", "the record has no key: it names the stream")
    if len(key) > MAX_KEY_BYTES:
        raise RecordError("key_too_long", f"the key has {len(key)} bytes, at most {MAX_KEY_BYTES} are allowed")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise RecordError("key_not_utf8", f"the key is not UTF-8: {error.reason} at byte {error.start}") from error


def encoder(output_format: OutputFormat) -> Callable[[Any], bytes]:
    """The function that turns a Prediction or a Score into a record's value.

    Raises:
        ValueError: the format is not in CONTENT_TYPES.
    """
    if output_format not in CONTENT_TYPES:
        raise ValueError(f"output_format must be one of {', '.join(CONTENT_TYPES)}, got {output_format!r}")
    return msgspec.json.Encoder().encode if output_format == "json" else msgspec.msgpack.Encoder().encode


def decode_prediction(value: bytes | None, headers: Headers = None) -> Prediction:
    """Read one prediction as the worker published it; raises RecordError."""
    return _PREDICTION.decode(value, headers)


def decode_score(value: bytes | None, headers: Headers = None) -> Score:
    """Read one score as the worker published it; raises RecordError."""
    return _SCORE.decode(value, headers)


def decode_output_step(value: bytes | None, headers: Headers = None) -> OutputStep:
    """Read of a prediction or a score what tells it apart; raises RecordError."""
    return _OUTPUT_STEP.decode(value, headers)


def published(probability: float | None, peak: int | None) -> tuple[float | None, int | None, str | None]:
    """Probability, attention peak and reason of a score, of what the model gave; None: the window was too short."""
    if probability is None:
        return None, None, TOO_SHORT
    return (probability, peak, None) if math.isfinite(probability) else (None, None, NOT_FINITE)


def _check_sequence(sequence: str) -> None:
    size = len(sequence.encode())
    if size > MAX_SEQUENCE_BYTES:
        raise RecordError(
            "sequence_too_long", f"sequence has {size} bytes of UTF-8, at most {MAX_SEQUENCE_BYTES} are allowed"
        )


def _explained(error: msgspec.ValidationError, value: bytes) -> RecordError:
    """What the codec found, with a reason: it tells the kinds of error apart in its text only."""
    text = str(error)
    if "got `nu" in text or "got `No" in text:  # null (JSON) or None (MessagePack) for a whole field: it is absent
        absent = " - at `$." in text and not text.endswith("]`")
        return RecordError("missing_field" if absent else "wrong_type", text)
    reason = next((reason for words, reason in _REASON_OF.items() if words in text), "wrong_type")
    if reason == "out_of_range" and _holds_not_finite(value):
        reason = "not_finite"
    return RecordError(reason, text)


_REASON_OF = {
    "missing required field": "missing_field",
    "`array` of length": "vector_length",
    "`str` of length": "sequence_too_long",
    " >= ": "out_of_range",
    " <= ": "out_of_range",
    "out of range": "out_of_range",
}


def _holds_not_finite(value: bytes) -> bool:
    """Whether NaN or an infinity stands in a sample in MessagePack. JSON has no words for them.

    Only the fields that count are made objects: a hostile value of a few MB could hold hundreds of MB of others.
    """
    with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
        fields = msgspec.structs.astuple(_NUMBER_FIELDS.decode(value))
        return any(not math.isfinite(number) for raw in fields for number in _numbers_in(raw))
    return False


def _numbers_in(raw: msgspec.Raw) -> tuple[float, ...]:
    """A number, or the four of a vector; none where the field is missing or holds something else."""
    for kind in (float, tuple[float, float, float, float]):
        with contextlib.suppress(msgspec.DecodeError):
            found: Any = msgspec.msgpack.decode(raw, type=kind)
            return found if isinstance(found, tuple) else (found,)
    return ()


_NUMBER_FIELDS: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    msgspec.defstruct(
        "_NumberFields", [(name, msgspec.Raw, msgspec.Raw()) for name in ("signal", "condition_vector", *SENSORS)]
    )
)
