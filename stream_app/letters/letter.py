"""Read a dead letter: the record that could not be used, and what the worker has noted about it.

The record's own headers stand first, and a sender may give them our names. So only the worker's block counts, which
stands after them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Message

from stream_app.headers import (
    ERROR_MESSAGE,
    ERROR_OFFSET,
    ERROR_PARTITION,
    ERROR_REASON,
    ERROR_TIMESTAMP_MS,
    ERROR_TOPIC,
    ERROR_VALUE_BYTES,
    Headers,
    headers_of,
    number,
    signed_number,
)
from stream_app.routes import Partition


@dataclass(frozen=True)
class Letter:
    """A record of the topic of dead letters; a field is None if the record does not say it."""

    partition: int
    offset: int
    """Place of the dead letter itself."""
    sent_ms: int
    """Time at which the dead letter was appended."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    """Headers of the record that it is about."""
    reason: str | None
    message: str | None
    topic: str | None
    """The place of the record that it is about: this and the next two."""
    source_partition: int | None
    source_offset: int | None
    timestamp_ms: int | None
    value_bytes: int | None
    """The length that the value had, where it was cut."""

    @property
    def source(self) -> Partition | None:
        """The partition of the record that it is about; None where it names none."""
        if self.topic is None or self.source_partition is None:
            return None
        return self.topic, self.source_partition

    @property
    def stream(self) -> str:
        """The key as text."""
        return (self.key or b"").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Choice:
    """A choice of dead letters; a field that is empty or None excludes none."""

    reasons: Collection[str] = ()
    streams: Collection[str] = ()
    since_ms: int | None = None
    topics: Collection[str] = ()

    def takes(self, letter: Letter) -> bool:
        """True if it is one of them."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.streams or letter.stream in self.streams)
            and (self.since_ms is None or letter.sent_ms >= self.since_ms)
            and (not self.topics or letter.topic in self.topics)
        )


def letter_of(message: Message) -> Letter:
    """Read any record of the topic of dead letters."""
    own, said = split_headers(headers_of(message))
    told = dict(said)
    return Letter(
        partition=cast(int, message.partition()),
        offset=cast(int, message.offset()),
        sent_ms=message.timestamp()[1],
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=own,
        reason=_text(told.get(ERROR_REASON)),
        message=_text(told.get(ERROR_MESSAGE)),
        topic=_text(told.get(ERROR_TOPIC)),
        source_partition=number(told.get(ERROR_PARTITION)),
        source_offset=number(told.get(ERROR_OFFSET)),
        timestamp_ms=signed_number(told.get(ERROR_TIMESTAMP_MS)),
        value_bytes=number(told.get(ERROR_VALUE_BYTES)),
    )


def split_headers(headers: Sequence[tuple[str, bytes]]) -> tuple[Headers, Headers]:
    """The record's own headers, and the worker's block: from the last ``error.reason`` on."""
    names = [name for name, _ in headers]
    if ERROR_REASON not in names:
        return list(headers), []
    start = len(names) - 1 - names[::-1].index(ERROR_REASON)
    return list(headers[:start]), list(headers[start:])


def _text(held: bytes | None) -> str | None:
    return None if held is None else held.decode("utf-8", "backslashreplace")


def _bytes(data: Any) -> bytes | None:
    return cast("bytes | None", data)
