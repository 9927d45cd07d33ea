"""Tables: the states of the partitions that this worker owns, as they stand in the changelog.

Faust's windowed tables are not used: they cut sizes to whole seconds, and their windows do not expire after a recovery
(faust-streaming/faust, issue 385).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import faust
from faust.types import TP

from core.native.records import Records
from stream_app.logs import FAUST

StoredRow = tuple[bytes, int]
"""A changelog value with the source offset that it includes."""


class PartitionedStore:
    """Changelog keys and values as raw bytes, one dictionary per partition: a `core.engines.results.StateStore`.

    A state belongs to its source partition: the same key in two partitions is two states, while Faust's memory store
    is one dictionary over all partitions. It is filled by recovery and holds what no stream in memory stands for: an
    engine takes out what it loads, and commits write from the engine's memory.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[bytes, StoredRow]] = {}
        self.ends: dict[int, int] = {}
        """Partition -> the changelog offset up to which recovery has read."""
        self.used: dict[int, bool] = {}
        """Partition -> whether a state was ever written to the changelog since it was made."""
        self.overtaken: dict[int, Records] = {}
        """Rows, by partition, after which an older record stands in the changelog: they are written again."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """A changelog value, None where the key has none."""
        row = self._rows.get(partition, {}).get(key)
        return row[0] if row else None

    def take(self, partition: int, key: bytes) -> bytes | None:
        """A changelog value, which is its taker's from now on; None where the key has none."""
        row = self._rows.get(partition, {}).pop(key, None)
        return row[0] if row else None

    def keys(self, partition: int) -> list[bytes]:
        """All keys of a partition, as they are now."""
        return list(self._rows.get(partition, {}))

    def rows(self, partition: int) -> Iterable[tuple[bytes, StoredRow]]:
        """All keys of a partition with values and source offsets."""
        return self._rows.get(partition, {}).items()

    def fill(self, partition: int, rows: dict[bytes, tuple[bytes | None, int]]) -> None:
        """Take over what a changelog partition holds: key -> (value, source offset). Tombstones are dropped."""
        for key in [key for key, (value, _) in rows.items() if value is None]:
            del rows[key]
        self._rows[partition] = rows  # type: ignore[assignment]  # no value is None any more

    def drop(self, kept: Collection[int] = ()) -> None:
        """Drop everything but the ``kept`` partitions: new partitions are read again."""
        for of_partition in (self._rows, self.ends, self.used, self.overtaken):
            for partition in [partition for partition in of_partition if partition not in kept]:
                del of_partition[partition]

    def size(self, partition: int) -> int:
        """Keys held for a partition."""
        return len(self._rows.get(partition, {}))


class StateTable(faust.Table[bytes, bytes]):
    """A Faust table whose changelog belongs to the consumer group and whose rows live in ``states``.

    Faust assigns its changelog partitions together with the source's; `stream_app.worker.recovery` fills it, and
    `stream_app.flow.commits` writes it after the broker has acknowledged the same records. Faust's item access, which
    needs a current event and sends one message per write, is not used.
    """

    logger = FAUST

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states = PartitionedStore()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Do nothing: recovery drops and fills partitions."""
