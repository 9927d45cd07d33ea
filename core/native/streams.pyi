from collections.abc import Sequence

NO_STATE: int
NOT_LISTED: int
NO_STEP: int
SHIPPED_WIDTH: int

class StreamState:
    offset: int
    append_ms: int
    timestamp_ms: int
    step: int
    gap_first: int
    gap_end: int
    back_step: int
    back_ms: int
    back_offset: int
    closed: bool
    sequence: str
    previous: str | None
    width: int
    def __init__(self, width: int = 5) -> None: ...
    @property
    def sample(self) -> tuple[float, ...]: ...
    @sample.setter
    def sample(self, values: Sequence[float]) -> None: ...
    @property
    def included(self) -> int: ...
    def clear(self) -> None: ...

class LiveStream(StreamState):
    partition: int
    key: bytes
    listed: int
    repeated_at: int
    repeats: int
    is_told: bool
    def __init__(self, partition: int, key: bytes, width: int = 5) -> None: ...
    @property
    def name(self) -> str: ...

class SignalStream(LiveStream):
    row: int
    chunk: int
    run: int
    def __init__(self, partition: int, key: bytes, row: int, width: int = 5) -> None: ...
