"""A sink of a replay without a broker, and what `send` puts into it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from core.errors import CaststreamError, RunError
from core.tasks.declaration import Declaration
from core.tasks.reading import shipped
from core.wire.records import SENSORS
from replay.send import send
from replay.sink import Pair


class MemorySink:
    """Keeps the records in a list; acknowledges at once. ``fails_after`` records it behaves as a lost broker."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.records: list[Pair] = []
        self.acked: defaultdict[bytes, int] = defaultdict(int)
        self.flushes = 0
        self._fails_after = fails_after

    def send(self, records: Iterable[Pair]) -> None:
        for record in records:
            if len(self.records) == self._fails_after:
                raise RunError("the sink takes no more records")
            self.records.append(record)
            self.acked[record[0]] += 1

    def poll(self) -> None:
        return

    def flush(self) -> None:
        self.flushes += 1

    def close(self, wait_s: float) -> None:
        return


class Sent:
    """The result of `send`: records, values of sensors, bad lines by number, notices, and why it ended."""

    def __init__(self, kind: str | Declaration, data: bytes, **options: Any) -> None:
        task = shipped(kind) if isinstance(kind, str) else kind
        self.bad: list[tuple[int, str]] = []
        self.notices: list[str] = []
        self.error = ""
        sink = MemorySink()
        try:
            send(
                task,
                client_config={},
                topic="t",
                stream="s",
                chunks=[data],
                sink=sink,
                on_bad=lambda number, why: self.bad.append((number, why)),
                on_notice=self.notices.append,
                **options,
            )
        except CaststreamError as error:
            self.error = str(error)
        self.keyed = [(key, json.loads(value)) for key, value in sink.records]
        self.records: list[dict[str, Any]] = [record for _, record in self.keyed]
        names = SENSORS if task.name == "casting" else ("signal",)
        self.values = [[record.get(name) for name in names] for record in self.records]

    @property
    def said(self) -> str:
        return (
            f"send: {len(self.records)} records, {len(self.bad)} bad lines {self.bad[:1]} {self.notices} {self.error}"
        )
