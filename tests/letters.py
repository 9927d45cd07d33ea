"""Dead letters as a worker writes them, for tests of what is resent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.wire.records import SENSORS
from stream_app.routes import DEAD_LETTERS
from tests.broker import Received, ToSend, consume_all, produce
from tests.commands import Done
from tests.feeds import Feed

# A sample of either kind.
GOOD = {"sequence": "a", "step": 3, "signal": 0.5, "condition_vector": [1, 0, 0, 0]} | dict.fromkeys(SENSORS, 1.0)
BAD = GOOD | {"signal": "0.5"}
PARTITION = 2

Headers = list[tuple[str, bytes]]
Resend = Callable[..., Done]


def block(topic: str, offset: int, reason: str = "wrong_type", partition: int = PARTITION, **more: Any) -> Headers:
    """The headers that a worker puts behind a record's own."""
    said = {"reason": reason, "message": "signal", "topic": topic, "partition": partition, "offset": offset}
    said |= {"timestamp_ms": 1_700_000_000_000, **more}
    return [*((f"error.{name}", str(value).encode()) for name, value in said.items()), ("app-id", b"some-worker")]


def letter(feed: Feed, offset: int, value: Any = GOOD, own: Headers | None = None, **more: Any) -> None:
    """Send the dead letter that a worker writes for the record at this offset."""
    headers = [*(own or []), *block(feed.topic, offset, **more)]
    produce(feed.settings, feed.settings.topic(DEAD_LETTERS), [ToSend(feed.name, value, headers, PARTITION)])


def refused(feed: Feed, value: Any = GOOD, own: Headers | None = None, **more: Any) -> int:
    """Send a record and its dead letter. It is good, as one that was refused until a worker's settings were put right.

    Returns:
        The record's offset.
    """
    (offset,) = feed.send(value, headers=own or [])
    letter(feed, offset, value, own, **more)
    return offset


def source(feed: Feed) -> list[Received]:
    return [record for record in consume_all(feed.settings, feed.topic) if record.partition == feed.partition]


def corrected(feed: Feed, offset: int, path: Path, **fields: Any) -> Path:
    """A file with one correction."""
    place = {"topic": feed.topic, "partition": PARTITION, "offset": offset, "value": GOOD}
    path.write_text(json.dumps(place | fields))
    return path
