from collections.abc import Sequence

from core.wire.outputs import OutputField

class NamedOutputs:
    msgpack: bool
    def __init__(self, outputs: Sequence[OutputField], output_format: str, model: str) -> None: ...
    @property
    def width(self) -> int: ...
