from core.wire.records import SampleValues

NO_STATE: int
NOT_LISTED: int
NO_STEP: int

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
    sample: SampleValues
    def __init__(self) -> None: ...
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
    def __init__(self, partition: int, key: bytes) -> None: ...
    @property
    def name(self) -> str: ...

class SignalStream(LiveStream):
    row: int
    chunk: int
    run: int
    def __init__(self, partition: int, key: bytes, row: int) -> None: ...
