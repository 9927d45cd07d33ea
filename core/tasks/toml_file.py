"""A task file -> its tables, unchecked, and errors that say where in the file something is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from core.errors import StartupError

LARGEST_BYTES = 256 * 1024
"""The size of the largest task file. The time of parsing grows faster than the size."""
_DEEPEST_KEY = 64  # parts of a.b.c: tomllib takes seconds for thousands of them
_NO_KEY = frozenset("=,[]{}\n#")
_SHOWN = 60  # characters of a value


class Place(NamedTuple):
    """A table of a file."""

    path: Path
    table: str = ""

    def refuse(self, key: str, value: Any, must: str) -> NoReturn:
        """Raise StartupError: a key has a value that is not accepted."""
        raise self.error(f"{key} is {shown(value)}: must be {must}")

    def error(self, what: str) -> StartupError:
        """An error about this table."""
        return StartupError(f"{self.path}: {f'[{self.table}] ' if self.table else ''}{what}")

    def under(self, table: str) -> Place:
        """A table in this one."""
        return Place(self.path, f"{self.table}.{table}" if self.table else table)


def shown(value: Any) -> str:
    """A value as the file has it, on one line, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return "a number that is too large"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_tables(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises:
        StartupError: it cannot be read, is too large, no UTF-8 or no TOML.
    """
    return parse_tables(path, _read(path))


def parse_tables(path: Path, raw: bytes) -> dict[str, Any]:
    """Read what stands in a file; raises StartupError as `read_tables`."""
    if len(raw) > LARGEST_BYTES:
        raise StartupError(f"{path}: is larger than {LARGEST_BYTES:,} bytes: no task file is")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StartupError(f"{path}: is not UTF-8 text, at byte {error.start:,}: save it as UTF-8") from error
    if _deepest(text) > _DEEPEST_KEY:
        raise StartupError(f"{path}: has a key of more than {_DEEPEST_KEY} parts with dots between them")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise StartupError(f"{path}: is nested too deeply for a task file") from None
    except ValueError as error:  # TOMLDecodeError; and whole numbers of more digits than Python reads
        raise StartupError(f"{path}: is not TOML: {error}") from error


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise StartupError(f"{path}: {'is no file' if path.exists() else 'there is no such task file'}")
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise StartupError(f"{shown(str(path))}: is no name of a file") from error


def _deepest(text: str) -> int:
    """The most parts that a dotted key of the text may have."""
    most = parts = 0
    for piece in text.split("."):
        parts = parts + 1 if piece.strip() and _NO_KEY.isdisjoint(piece) else 0
        most = max(most, parts)
    return most
