"""The headers of the worker's records: their names, and how to read them.

Any sender may give a record such headers too, so their values may be no numbers, or long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from confluent_kafka import Message

Headers = Sequence[tuple[str, bytes]]

APP_ID = "app-id"
"""Header of outputs and dead letters: the application that published them."""
SOURCE_OFFSET = "source-offset"
"""Header of outputs and state records: the offset of their source record. `stream_app.native` repeats the name."""
SOURCE_TOPIC = "source-topic"
"""Header of state records: their source topic."""

ERROR = "error."
"""Before the names of all that a worker says of a record that could not be used, in this order."""
ERROR_REASON = "error.reason"
ERROR_MESSAGE = "error.message"
ERROR_TOPIC = "error.topic"
ERROR_PARTITION = "error.partition"
ERROR_OFFSET = "error.offset"
ERROR_TIMESTAMP_MS = "error.timestamp_ms"
ERROR_VALUE_BYTES = "error.value_bytes"

MOST_DIGITS = 19
"""Digits of the highest offset. Python refuses to read a number of thousands of digits."""


def number(held: bytes | None) -> int | None:
    """The number from 0 on that a header holds; None where it holds none."""
    return int(held) if held is not None and held.isdigit() and len(held) <= MOST_DIGITS else None


def signed_number(held: bytes | None) -> int | None:
    """Read a number that may be below 0, like `number`."""
    found = number(held and held.removeprefix(b"-"))
    return -found if found and held and held.startswith(b"-") else found


def headers_of(message: Message) -> Headers:
    """A record's headers, in their order; a value that is null on the wire is empty."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return [(name, value or b"") for name, value in pairs]
