from collections.abc import Callable
from typing import Any

from core.arrays import Float32s, Int64s
from core.native.limits import Limits
from core.native.records import Outputs, Record, Records
from core.native.streams import SignalStream

class SignalBatch:
    def __init__(self, model: str, output_format: str) -> None: ...
    def __len__(self) -> int: ...
    @property
    def rows(self) -> int: ...
    def start(self, stream: SignalStream, row: int) -> None: ...
    def add(self, stream: SignalStream) -> None: ...
    def publish(self, stream: SignalStream, gap: int) -> None: ...
    def is_within(self, limits: Limits) -> bool: ...
    def published(self) -> Int64s: ...
    def place_of(self, number: int) -> tuple[str, int]: ...
    def arrays(
        self,
    ) -> tuple[
        Float32s,
        Int64s,
        Int64s,
        Int64s,
        Int64s,
        Int64s,
        Int64s,
    ]: ...
    def encode(self, predictions: Float32s, outputs: dict[int, Outputs]) -> tuple[int, int]: ...

class Turn:
    processed: int
    near_misses: dict[bytes, int]
    def __init__(
        self,
        chunk: int,
        listing: int,
        idle_timeout_ms: int,
        take_one: Callable[[Record], Any],
        pack_early: Callable[[SignalStream], Any],
    ) -> None: ...
    def take(self, records: Records, streams: dict[bytes, Any], listed: list[Any], batch: SignalBatch) -> None: ...
