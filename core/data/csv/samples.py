"""Samples on their way into a file: kept in a nameless file beside it, so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 14  # samples written, and read, at once


class Samples:
    """Rows of ``width`` numbers. A context manager: what it holds ends with it."""

    def __init__(self, folder: Path, width: int, dtype: str = "f4") -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._width, self._dtype = width, dtype
        self._rows: list[Sequence[float]] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what it holds."""
        self._file.close()

    def add(self, row: Sequence[float]) -> None:
        """Keep a row behind those before."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == BLOCK:
            self._flush()

    def all(self) -> NDArray[Any]:
        """(count, width), on disk; at least one row is there."""
        self._flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self.count, self._width))

    def _flush(self) -> None:
        if self._rows:
            self._file.write(np.array(self._rows, self._dtype).tobytes())
            self._rows = []
        self._file.flush()
