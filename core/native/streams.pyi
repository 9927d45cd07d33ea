from core.records import Values

NO_STATE: int
NOT_LISTED: int

class StreamState:
    offset: int
    append_ms: int
    timestamp_ms: int
    step: int
    closed: bool
    sequence: str
    previous: str | None
    sample: Values
    def __init__(self) -> None: ...
    def clear(self) -> None: ...

class LiveStream(StreamState):
    partition: int
    key: bytes
    listed: int
    def __init__(self, partition: int, key: bytes) -> None: ...
    @property
    def name(self) -> str: ...

class SignalStream(LiveStream):
    row: int
    chunk: int
    run: int
    def __init__(self, partition: int, key: bytes, row: int) -> None: ...
