"""Pieces of Markdown that several pages use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `python -m tools.docs` from the code; do not edit. -->"


def page(title: str, *parts: str) -> str:
    """A whole page: its title, the note that it is generated, and its parts, with an empty line between them."""
    return "\n\n".join([f"# {title}", GENERATED, *(part.strip("\n") for part in parts)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. A bar inside a cell would end it, so it is escaped."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def code(text: str) -> str:
    """Text in backticks."""
    return f"`{text}`"
