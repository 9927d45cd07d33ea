from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from core.arrays import Float32s, Int64s
from core.native.fields import FieldList
from core.native.limits import Limits
from core.native.records import Record
from core.native.streams import LiveStream
from core.native.turns import Turn

class _Rules(Protocol):
    @property
    def window_length(self) -> int: ...
    @property
    def window_min(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def segment(self) -> int: ...

class WindowSamples(NamedTuple):
    samples: Float32s
    steps: Int64s

class Segment:
    number: int
    width: int
    changed: bool
    def __init__(self, number: int, width: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def steps(self) -> Int64s: ...
    @property
    def samples(self) -> Float32s: ...
    def extend(self, steps: Int64s, samples: Float32s) -> None: ...

class CastWindow:
    rules: _Rules
    width: int
    count: int
    segments: list[Segment]
    def __init__(self, rules: _Rules, width: int = 5) -> None: ...
    def open(self, number: int) -> None: ...
    def add(self, step: int, sample: Sequence[float]) -> None: ...
    def trim(self) -> list[int]: ...
    def clear(self) -> list[int]: ...
    def numbers(self) -> list[int]: ...
    @property
    def due(self) -> bool: ...
    def view(self) -> WindowSamples: ...

class CastStream(LiveStream):
    window: CastWindow
    changed: bool
    retired: list[int]
    stale: list[int]
    def __init__(self, partition: int, key: bytes, window: CastWindow) -> None: ...

class WindowTurn(Turn):
    def __init__(
        self,
        limits: Limits,
        strange: list[tuple[CastStream, int, tuple[float, ...]]],
        score: Callable[[CastStream, int, bool], Any],
        fields: FieldList,
        listing: int,
        idle_timeout_ms: int,
        take_one: Callable[[Record], Any],
        pack_early: Callable[[CastStream], Any],
    ) -> None: ...
