from collections.abc import Callable
from typing import Any

from core.arrays import Float32s, Float64s, Int64s
from core.native.fields import FieldList
from core.native.limits import Limits
from core.native.outputs import NamedOutputs
from core.native.records import Outputs, Record
from core.native.streams import SignalStream
from core.native.turns import Turn

class SignalBatch:
    def __init__(self, writer: NamedOutputs, width: int) -> None: ...
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
    def encode(self, numbers: Float64s, outputs: dict[int, Outputs]) -> tuple[int, int]: ...

class SignalTurn(Turn):
    def __init__(
        self,
        chunk: int,
        batch: SignalBatch,
        fields: FieldList,
        listing: int,
        idle_timeout_ms: int,
        take_one: Callable[[Record], Any],
        pack_early: Callable[[SignalStream], Any],
    ) -> None: ...
