"""Find the streams of an engine that have been idle for long enough, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Generic, TypeVar

from core.engines.results import StateStore
from core.native.states import peek_offset
from core.native.streams import NO_STATE, LiveStream

EVICTED_AT_ONCE = 500  # streams evicted in one step, about 2 ms: chunks are applied in between
LOOKED_AT_AT_ONCE = 10_000  # streams asked in one step whether they are idle
UNKNOWN, NEVER = float("-inf"), float("inf")

S = TypeVar("S", bound=LiveStream)
T = TypeVar("T")


class IdleStreams(Generic[S]):
    """Finds idle streams, both in memory and in the store alone.

    A stream is idle where all that its state includes lies below an offset that the caller knows. For each partition
    this keeps offsets below which no stream's is: nobody can be idle before these are, so until then there is no need
    to look.

    Args:
        streams: those in memory, by partition and key; read only.
        store: the table behind them; read only.
        stream_key: the stream whose state stands at a table key; None for other records.
    """

    def __init__(
        self,
        streams: Mapping[int, Mapping[bytes, S]],
        store: StateStore,
        stream_key: Callable[[bytes], bytes | None],
    ) -> None:
        self._streams = streams
        self._store = store
        self._stream_key = stream_key
        self._oldest: dict[int, float] = {}
        self._oldest_opened: dict[int, float] = {}  # of the streams that came into memory since the last look
        self._oldest_stored: dict[int, float] = {}

    def opened(self, stream: S) -> None:
        """A stream has come into memory."""
        oldest = self._oldest_opened.get(stream.partition, stream.included)
        self._oldest_opened[stream.partition] = min(oldest, stream.included)

    def drop(self, partition: int) -> None:
        """Know nothing of a partition any more."""
        for oldest in (self._oldest, self._oldest_opened, self._oldest_stored):
            oldest.pop(partition, None)

    def live(self, partition: int, before: int) -> Iterator[list[S]]:
        """The idle streams in memory; chunks may be applied between two lists, so ask `is_idle` again."""
        opened = self._oldest_opened.get(partition, NEVER)
        if min(opened, self._oldest.get(partition, UNKNOWN)) >= before:
            return
        self._oldest.pop(partition, None)  # known again when all have been looked at
        self._oldest_opened.pop(partition, None)
        oldest = NEVER
        streams = iter(list(self._streams.get(partition, {}).values()))
        while looked_at := list(islice(streams, LOOKED_AT_AT_ONCE)):
            yield from _some_at_a_time([s for s in looked_at if self.is_idle(s, before)])
            oldest = min(oldest, min((s.included for s in looked_at if s.offset != NO_STATE), default=oldest))
        self._oldest[partition] = oldest

    def is_idle(self, stream: S, before: int) -> bool:
        """True if a stream is in memory, and all that its state includes lies below an offset."""
        if stream.included >= before:  # first, as it is true of nearly all
            return False
        return self._streams.get(stream.partition, {}).get(stream.key) is stream

    def stored(self, partition: int, before: int) -> Iterator[list[bytes]]:
        """The keys of the idle streams that only the store knows; chunks may meet them between two lists."""
        if self._oldest_stored.get(partition, UNKNOWN) >= before:
            return
        oldest = NEVER
        table_keys = iter(self._store.keys(partition))
        while looked_at := list(islice(table_keys, LOOKED_AT_AT_ONCE)):
            keys = []
            for key, offset in self._places(partition, looked_at):
                if offset < before:
                    keys.append(key)
                else:
                    oldest = min(oldest, offset)
            yield from _some_at_a_time(keys)
        self._oldest_stored[partition] = oldest

    def _places(self, partition: int, table_keys: list[bytes]) -> Iterator[tuple[bytes, int]]:
        """Key and offset of the streams among some table keys that the store still holds."""
        for table_key in table_keys:
            key = self._stream_key(table_key)
            blob = None if key is None else self._store.get(partition, table_key)
            offset = None if blob is None else peek_offset(blob)  # None: met by a chunk since, or not of this version
            if key is not None and offset is not None:
                yield key, offset


def _some_at_a_time(found: list[T]) -> Iterator[list[T]]:
    """At least one list, of `EVICTED_AT_ONCE` at most: the caller takes a breath after each."""
    for first in range(0, max(1, len(found)), EVICTED_AT_ONCE):
        yield found[first : first + EVICTED_AT_ONCE]
