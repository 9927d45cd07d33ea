from collections.abc import Iterable

from core.tasks.declaration import Field

MAX_FLOAT32: float

class FieldList:
    fields: tuple[Field, ...]
    may_lack: tuple[str, ...]
    def __init__(self, fields: Iterable[Field], end: bool = False, booleans: bool = False) -> None: ...
    @property
    def width(self) -> int: ...
    @property
    def most_msgpack_bytes(self) -> int: ...
