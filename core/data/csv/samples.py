"""Samples on their way into a file: kept in a nameless file beside it, so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

import numpy as np

from core.arrays import Float32s

BLOCK = 1 << 14  # samples written, and read, at once


class Samples:
    """Rows of ``width`` float32. A context manager: what it holds ends with it."""

    def __init__(self, folder: Path, width: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._width = width
        self._rows: list[list[float]] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: list[float]) -> None:
        """Keep a row behind those before."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == BLOCK:
            self._flush()

    def all(self) -> Float32s:
        """(count, width), on disk; at least one row is there."""
        self._flush()
        rows: Float32s = np.memmap(self._file, np.float32, "r", shape=(self.count, self._width))
        return rows

    def _flush(self) -> None:
        if self._rows:
            self._file.write(np.array(self._rows, np.float32).tobytes())
            self._rows = []
        self._file.flush()
