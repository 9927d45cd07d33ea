"""Tables and paragraphs of Markdown, and files of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import TextWrapper

from core.data.outputs import create_lines
from core.errors import DataError, RunError

WIDTH = 118


def wrapped(part: str) -> str:
    """Sentences and lists in lines of a readable length; headings, tables and commands as they are."""
    if part.startswith("```"):
        return part
    filler = TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in part.split("\n"):
        filler.subsequent_indent = "  " if line.startswith("- ") else ""
        lines.append(line if line.startswith(("#", "|", "!")) else filler.fill(line))
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells; a bar in one of them does no harm."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write parts with empty lines between them; raises RunError: the file cannot be written."""
    try:
        with create_lines(path) as lines:
            lines.write(("\n\n".join(map(wrapped, parts)) + "\n").encode())
    except DataError as error:
        raise RunError(f"{path} {error.problem}") from error
