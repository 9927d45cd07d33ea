from collections.abc import Sequence

from core.arrays import Float64s, Int64s
from core.wire.outputs import OutputField

class NamedOutputs:
    msgpack: bool
    def __init__(self, outputs: Sequence[OutputField], output_format: str, model: str) -> None: ...
    @property
    def width(self) -> int: ...
    def of_window(
        self,
        stream: str,
        sequence: str,
        step: int,
        start: int,
        length: int,
        timestamp_ms: int,
        numbers: Float64s,
        is_final: bool,
        reason: bytes = b"",
    ) -> bytes: ...
    def lines(self, stream: str, sequence: str, first: int, times: Int64s, numbers: Float64s) -> bytes: ...
