"""The text of a task file with new tables of model and outputs: what else a person wrote stays, comments too.

It works on lines, and is compared with what TOML reads of both texts: where anything else would change, it refuses and
shows the lines to put there by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import StartupError
from core.tasks.toml_file import parse_tables
from core.whole_file import whole_file

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
_FIELD = re.compile(r"\s*(\"?)([A-Za-z][A-Za-z0-9_]*)\1\s*=\s*\{")
TextLines = list[str]


class _Section(NamedTuple):
    """Lines of one table: its header's, and those below it; the first section has no header."""

    table: str
    lines: TextLines


def rewritten(path: Path, text: str, tables: Mapping[str, TextLines], normal: Mapping[str, tuple[float, float]]) -> str:
    """The text with other tables.

    Args:
        path: the file, for messages.
        text: what stands in it.
        tables: new lines of tables, without their headers; one that the text has not is added at its end.
        normal: ranges of fields that get a key ``normal``; those that have one, or are written in another way than on
            one line in braces, stay as they are.

    Raises:
        StartupError: the text is written in a way in which other things would change too.
    """
    sections = _sections(text)
    made = "\n".join(_lines(sections, tables, normal)).rstrip("\n") + "\n"
    try:
        parsed = parse_tables(path, made.encode())
    except StartupError:
        parsed = {}
    if not _only_wanted(parse_tables(path, text.encode()), parsed, tables, normal):
        shown = "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in tables.items())
        raise StartupError(
            f"{path}: its tables {' and '.join(tables)} are not written as tables of their own, so they cannot be "
            f"replaced; put this in their place:\n\n{shown}"
        )
    return made


def write_text(path: Path, text: str) -> None:
    """Write a task file, whole or not at all; raises StartupError: it cannot be written."""
    try:
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sections(text: str) -> list[_Section]:
    found = [_Section("", [])]
    for line in text.splitlines():
        if header := _HEADER.fullmatch(line):
            found.append(_Section(header[1].strip(), []))
        found[-1].lines.append(line)
    return found


def _lines(
    sections: list[_Section], tables: Mapping[str, TextLines], normal: Mapping[str, tuple[float, float]]
) -> TextLines:
    made: TextLines = []
    left = dict(tables)
    for section in sections:
        name = section.table.partition(".")[0].strip().strip('"')
        if name not in tables:
            own = normal if section.table == "fields" else {}
            made += [_with_normal(line, own) for line in section.lines]
            continue
        head = section.lines[0] if section.table == name else None
        made += _replaced(section.lines[1:], head, left.pop(name, []) if head else [])
    for name, lines in left.items():
        made += ["", f"[{name}]", *lines]
    return made


def _replaced(lines: TextLines, head: str | None, new: TextLines) -> TextLines:
    """A table's lines: its comments, then the new ones, then what stands above the next header."""
    keys = [place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    end = keys[-1] + 1 if keys else 0
    comments = [line for line in lines[:end] if line.lstrip().startswith("#")]
    return [*([head] if head is not None else []), *comments, *new, *lines[end:]]


def _with_normal(line: str, normal: Mapping[str, tuple[float, float]]) -> str:
    """A line of a field with its range, where it has none."""
    match = _FIELD.match(line)
    if match is None or match[2] not in normal:
        return line
    close = _closing(line)
    if close is None or "normal" in parse_tables(Path(), line[: close + 1].encode())[match[2]]:
        return line
    low, high = normal[match[2]]
    before = line[:close].rstrip()
    comma = "" if before.endswith("{") else ","
    return f"{before}{comma} normal = [{low:g}, {high:g}] {line[close:]}"


def _closing(line: str) -> int | None:
    """The place of the brace that closes a field's table; None where the line does not end it."""
    for place in (each.start() for each in re.finditer(r"\}", line)):
        try:
            parse_tables(Path(), line[: place + 1].encode())
        except StartupError:
            continue
        return place
    return None


def _only_wanted(
    old: dict[str, Any], new: dict[str, Any], tables: Mapping[str, TextLines], normal: Mapping[str, tuple[float, float]]
) -> bool:
    """True if nothing but the tables and the ranges has changed."""
    wanted = {name: parse_tables(Path(), "\n".join(lines).encode()) for name, lines in tables.items()}
    fields = {
        name: keys | ({"normal": new["fields"][name]["normal"]} if _gained(name, keys, new, normal) else {})
        for name, keys in old.get("fields", {}).items()
    }
    return new == old | ({"fields": fields} if "fields" in old else {}) | wanted


def _gained(name: str, keys: Any, new: dict[str, Any], normal: Mapping[str, tuple[float, float]]) -> bool:
    """True if a field has a range now that it was to get."""
    has = name in normal and "normal" not in keys and "normal" in new.get("fields", {}).get(name, {})
    return has and list(map(float, new["fields"][name]["normal"])) == [float(f"{each:g}") for each in normal[name]]
