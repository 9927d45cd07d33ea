from core.arrays import Float32s, Int64s
from core.native.records import Records
from core.native.streams import SignalStream, StreamState

PLAIN_VERSION: int
EXTENDED_VERSION: int
WIDE_VERSION: int

def pack_head(state: StreamState, model: bytes) -> bytes: ...
def read_head(
    payload: bytes,
) -> (
    tuple[
        tuple[bool, bool],
        tuple[int, int],
        tuple[int, int, int, int],
        bytes,
        tuple[float, ...],
        tuple[int, int, int, int, int] | None,
        int,
    ]
    | None
): ...
def peek_offset(blob: bytes) -> int | None: ...

class StatePacker:
    def __init__(self, model: str) -> None: ...
    def __len__(self) -> int: ...
    def add(self, stream: SignalStream) -> None: ...
    def rows(self) -> Int64s: ...
    def finish(self, hidden: Float32s, packed: dict[int, Records]) -> None: ...
