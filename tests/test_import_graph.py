"""The figures of `tools.import_graph`, on small trees made for it."""

from __future__ import annotations

from pathlib import Path

from tools.import_graph import circles, levels, module_graph, packages_of, room_graph


def tree(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    (root / "core" / "__init__.py").touch()
    return root


def test_every_form_of_an_import_counts_but_that_for_types(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        core__low="",
        core__room__a="import core.low",
        core__room__b="def later():\n    from core.room import a\n",
        core__room__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from core.room.b import x\n",
        core__room__d="from .b import later",
    )

    graph = module_graph(root, ["core"])

    assert graph["core.room.a"] == {"core.low"}
    assert graph["core.room.b"] == {"core.room.a"}
    assert graph["core.room.c"] == set()
    assert graph["core.room.d"] == {"core.room.b"}
    assert levels(graph)["core.room.d"] == 4
    assert room_graph(graph, packages_of(root, ["core"])) == {"core": set(), "core.room": {"core"}}


def test_modules_that_import_each_other_are_a_circle(tmp_path: Path) -> None:
    root = tree(tmp_path, core__a="import core.b", core__b="import core.a", core__c="import core.a")

    graph = module_graph(root, ["core"])

    assert circles(graph) == [["core.a", "core.b"]]
    assert levels(graph) == {"core": 1, "core.a": 1, "core.b": 1, "core.c": 2}
