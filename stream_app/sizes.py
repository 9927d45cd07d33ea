"""Limits on records and batches: the size that a topic takes (``max.message.bytes``), and the least that it must take.

A batch that is too large is refused for good, and the worker that sent it would be refused again at every start. So the
worker asks for the limits, keeps batches and dead letters below them, and names a topic whose limit is too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from core.errors import StartupError
from core.wire.outputs import OutputField

SETTING = "max.message.bytes"
KAFKAS_DEFAULT = 1_048_588
LARGEST_BATCH_BYTES = 900_000
"""Larger batches bring nothing. A single record may be larger."""
BATCH_OVERHEAD_BYTES = 200
"""The head of a batch and of the one record in it, rounded up."""

# Key and `stream`, 255 bytes; `sequence` as much; both may be six times as long where JSON escapes each byte. The rest
# is for the outputs of the two tasks that ship, and of most others.
OUTPUT_BYTES = 5_000
_HEAD_OF_OUTPUT_BYTES = 4_000
_NUMBER_BYTES = 32  # of any number as text, with the comma and more
# What we say of a record has up to 700 bytes: the rest is for the record.
LETTER_BYTES = 1_500
_HEAD_BYTES, _STEP_BYTES, _SEGMENT_BYTES, _SEGMENT_SAMPLES = 2_000, 12, 800, 50


def limit_of(config: Mapping[str, str]) -> int:
    """The limit that a topic's settings give; Kafka's default where they do not say."""
    return int(config.get(SETTING) or KAFKAS_DEFAULT)


def state_bytes(state_numbers: int, sample_numbers: int) -> int:
    """Return the largest size of a stream's state record, for a model with so many numbers of state and of a sample."""
    return _HEAD_BYTES + 4 * (state_numbers + sample_numbers)


def output_bytes(outputs: Iterable[OutputField]) -> int:
    """Return the largest size of an output record; `OUTPUT_BYTES` at least."""
    return max(OUTPUT_BYTES, _HEAD_OF_OUTPUT_BYTES + sum(map(_bytes_of, outputs)))


def _bytes_of(output: OutputField) -> int:
    names = sum(map(_encoded_bytes, (output.name, *output.names)))
    return names + output.numbers * max(map(_encoded_bytes, output.texts), default=_NUMBER_BYTES)


def _encoded_bytes(text: str | bool) -> int:
    """The bytes of a name or a text in JSON, with a colon and a comma."""
    return len(msgspec.json.encode(text)) + 2


def window_bytes(window_length: int, sample_numbers: int, filled: int = 0) -> int:
    """The most that the records of a whole window take, which go in one batch.

    A segment is dropped only as a whole, so nearly one more is kept. ``filled``: the most samples that a gap adds.
    """
    samples, segments = window_length + _SEGMENT_SAMPLES + filled, window_length // _SEGMENT_SAMPLES + 4
    return _HEAD_BYTES + samples * (_STEP_BYTES + 4 * sample_numbers) + segments * _SEGMENT_BYTES


def check_limit(topic: str, limit: int, needed: int, what: str) -> None:
    """Raises StartupError where a topic may be given more than it takes."""
    if limit < needed:
        raise StartupError(
            f"topic {topic} has {SETTING}={limit}, and {what} may need {needed}: set it to {needed} or more (Kafka's "
            f"default is {KAFKAS_DEFAULT})"
        )
