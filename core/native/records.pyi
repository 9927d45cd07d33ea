from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

class Record:
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    def __init__(
        self,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None: ...

class Records:
    partition: int
    timestamp_type: int
    def __init__(self, partition: int = 0, timestamp_type: int = -1) -> None: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __iter__(self) -> Iterator[Record]: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    def since(self, offset: int) -> Records: ...
    def groups(self) -> Iterator[list[Record]]: ...
    def timestamps(self) -> NDArray[np.int64]: ...
    def append(
        self, key: bytes | None, value: bytes | None, offset: int, timestamp: int, tied: bool = False
    ) -> None: ...
    def add(self, record: Any) -> None: ...
    def extend(self, other: Records) -> None: ...

class Outputs(Records):
    def __getitem__(self, index: int) -> tuple[bytes, bytes, int, int]: ...  # type: ignore[override]
    def __iter__(self) -> Iterator[tuple[bytes, bytes, int, int]]: ...  # type: ignore[override]

def parts_of(records: Iterable[Any]) -> list[Records]: ...
