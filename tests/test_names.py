"""One name, one meaning: no two classes or types of the product are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app import routes

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "replay", "stream_app", "dashboards")


def names_in(code: str) -> Iterator[str]:
    """The classes and aliases of types that a module declares: names in CamelCase, at its top."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for one in targets if isinstance(one, ast.Name) and is_a_type(one.id))


def is_a_type(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def declared() -> dict[str, list[str]]:
    """Each public name, and the files that declare it."""
    places = defaultdict(list)
    for package in PACKAGES:
        for pattern in ("*.py", "*.pyi"):
            for path in sorted((ROOT / package).rglob(pattern)):
                for name in names_in(path.read_text(encoding="utf-8")):
                    places[name].append(path.relative_to(ROOT).as_posix())
    return places


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("class Cut: pass", ["Cut"]),
        ("Rows = dict[str, int]", ["Rows"]),
        ("Rows: object = dict", ["Rows"]),
        ("LIMIT = 3; x = 4; _Rows = dict", []),
        ("def f():\n    class Inner: pass", []),
    ],
)
def test_classes_and_aliases_are_found(code: str, names: list[str]) -> None:
    assert list(names_in(code)) == names


def test_no_two_classes_or_types_have_one_name() -> None:
    twice = {name: places for name, places in declared().items() if len(places) > 1 and not name.startswith("_")}

    assert len(declared()) > 100
    assert twice == {}


WIRE_NAMES = {value for name, value in vars(routes).items() if name.isupper() and isinstance(value, str)}
# A task of a user's own has topics by default, and may not take the one of dead letters.
DECLARING = {"stream_app/routes.py", "core/tasks/reading.py"}
COMMAND_WORDS = {("stream_app/cli/dead_letter_commands.py", "dead-letters"), ("stream_app/cli/tail.py", "dead-letters")}


def test_names_on_the_broker_are_declared_once() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), node.value)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in WIRE_NAMES or node.value in {"-samples", "-predictions", "-scores"}
    }

    assert len(WIRE_NAMES) == 7
    assert {place for place in found if place[0] not in DECLARING} == COMMAND_WORDS
