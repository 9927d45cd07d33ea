"""The tables that a training has written into the task file, and the normal ranges of fields that had none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.drafts.rewriting import rewritten, write_text
from core.tasks.declaration import Declaration
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables
from core.training.tasks.declare import normal_ranges
from core.training.tasks.statistics import FieldStatistics

Tables = Mapping[str, list[str]]


@dataclass(frozen=True)
class WrittenTables:
    """The tables that the task file has now, the ranges that fields without one got, and what it declares with them."""

    tables: Tables
    ranges: Mapping[str, tuple[float, float]]
    declaration: Declaration


def text_of(declaration: Declaration) -> str:
    """The text of the task file."""
    return declaration.path.read_text(encoding="utf-8-sig")


def with_tables(path: Path, text: str, tables: Tables) -> Declaration:
    """The declaration that a task file would be with other tables; nothing is written."""
    return _declared(path, rewritten(path, text, tables, {}))


def write_tables(declaration: Declaration, text: str, tables: Tables, statistics: FieldStatistics) -> WrittenTables:
    """Write tables and normal ranges into the task file.

    Args:
        declaration: of the task, as the user wrote it.
        text: of the task file; its comments and other tables stay.
        statistics: of what was learnt from.

    Raises:
        StartupError: the file cannot be rewritten; its text is as it was.
    """
    path, ranges = declaration.path, normal_ranges(declaration, statistics)
    made = rewritten(path, text, tables, ranges)
    final = _declared(path, made)
    write_text(path, made)
    gained = _with_range(final) - _with_range(declaration)
    return WrittenTables(tables, {name: each for name, each in ranges.items() if name in gained}, final)


def _with_range(declaration: Declaration) -> set[str]:
    return {field.name for field in declaration.fields if field.normal is not None}


def _declared(path: Path, text: str) -> Declaration:
    return replace(declare(path, parse_tables(path, text.encode())), path=path)
