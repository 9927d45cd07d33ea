from collections.abc import Callable
from typing import Any

from core.native.fields import FieldList
from core.native.records import Record, Records

class Turn:
    processed: int
    near_misses: dict[bytes, int]
    held: dict[str, int]
    def __init__(
        self,
        fields: FieldList,
        listing: int,
        idle_timeout_ms: int,
        take_one: Callable[[Record], Any],
        pack_early: Callable[[Any], Any],
    ) -> None: ...
    def take(self, records: Records, streams: dict[bytes, Any], listed: list[Any]) -> None: ...
