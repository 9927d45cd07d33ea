"""docs/images/rooms.svg: the rooms of the code, each above those that it imports."""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path
from textwrap import wrap

from tools.import_graph import levels, module_graph, packages_of, room_graph

ROOT = Path(__file__).resolve().parent.parent.parent
WIDTH, HEIGHT, GAP, LEFT = 196, 92, 14, 24
LINE, LETTERS = 15, 30
COLOURS = {"core": "#dcebf7", "replay": "#e4f2dc", "stream_app": "#fbe9d3", "dashboards": "#eee3f5"}


def rooms_picture() -> str:
    """Each room as low as its imports let it stand, and a colour is a package."""
    rows = rows_of_rooms()
    width = LEFT + max(map(len, rows)) * (WIDTH + GAP)
    height = len(rows) * (HEIGHT + GAP) + GAP
    boxes = [
        _box(room, LEFT + place * (WIDTH + GAP), GAP + number * (HEIGHT + GAP))
        for number, row in enumerate(rows)
        for place, room in enumerate(row)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    title = "<title>The rooms of the code, each as low as its imports let it stand: it imports from below only</title>"
    return "\n".join([head, title, '<rect width="100%" height="100%" fill="#ffffff"/>', *boxes, "</svg>"]) + "\n"


def rows_of_rooms() -> list[list[str]]:
    """The rooms by level, the highest first."""
    rooms = packages_of(ROOT)
    height = levels(room_graph(module_graph(ROOT), rooms))
    return [
        sorted(room for room in rooms if height[room] == level) for level in sorted(set(height.values()), reverse=True)
    ]


def what_is_in(room: str) -> str:
    """The first sentence of the room's docstring, up to a colon or a full stop."""
    text = ast.get_docstring(ast.parse((ROOT / room.replace(".", "/") / "__init__.py").read_text())) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("`", "").split(". ")[0].split(": ")[0].rstrip(".")


def _box(room: str, x: int, y: int) -> str:
    colour = COLOURS[room.partition(".")[0]]
    lines = wrap(what_is_in(room), LETTERS)[:4]
    texts = [
        f'<text x="{x + 10}" y="{y + 40 + number * LINE}" font-size="12" fill="#333333">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colour}" stroke="#777777"/>',
            f'<text x="{x + 10}" y="{y + 21}" font-size="14" font-weight="bold" fill="#111111">{escape(room)}</text>',
            *texts,
        ]
    )
