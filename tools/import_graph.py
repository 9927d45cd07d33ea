"""`python -m tools.import_graph [FOLDER]`: how the modules and the rooms of this repository import each other.

A room is a package: a folder with an ``__init__.py``, and the modules that stand in it. An edge says that one imports
another, anywhere in its text but under ``if TYPE_CHECKING``. The level of what imports nothing is 1; of others it is
one more than the highest level they import. A circle has no level of its own: its members count as one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("core", "replay", "stream_app", "dashboards")
Graph = dict[str, set[str]]
"""Name -> the names that it imports, itself left out."""


def module_graph(root: Path, packages: Iterable[str] = PACKAGES) -> Graph:
    """The imports between the modules of some packages in a folder."""
    paths = {_name(path.relative_to(root)): path for package in packages for path in (root / package).rglob("*.py")}
    return {name: _imports(name, path, paths.keys()) - {name} for name, path in paths.items()}


def room_graph(modules: Graph, rooms: Iterable[str]) -> Graph:
    """The imports between rooms, each one with all that stands in it."""
    names = sorted(rooms, key=len, reverse=True)
    home = {module: room_of(module, names) for module in modules}
    graph: Graph = {room: set() for room in home.values()}
    for module, imported in modules.items():
        graph[home[module]] |= {home[name] for name in imported} - {home[module]}
    return graph


def room_of(module: str, rooms: Iterable[str]) -> str:
    """The innermost of the rooms that a module stands in; without one its own name."""
    inside = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    return max(inside, key=len, default=module)


def packages_of(root: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """All rooms of some packages in a folder."""
    return sorted(
        ".".join(path.parent.relative_to(root).parts)
        for package in packages
        for path in (root / package).rglob("__init__.py")
    )


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups that import each other, by Tarjan's algorithm (SIAM J. Comput. 1, 1972)."""
    return sorted(group for group in _groups(graph) if len(group) > 1)


def levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """The level of each name."""
    found: dict[str, int] = {}
    for group in _groups(graph):  # what a group imports comes before it
        below = [found[name] for member in group for name in graph[member] if name not in group]
        found |= dict.fromkeys(group, 1 + max(below, default=0))
    return found


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(module: str, path: Path, known: Iterable[str]) -> set[str]:
    tree = ast.parse(path.read_text())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    named = {name for node in _runtime_nodes(tree) for name in _names_in(node, package)}
    return {nearest for name in named if (nearest := _nearest(name, known))}


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _runtime_nodes(node)


def _names_in(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
        source = ".".join(part for part in (base, node.module) if part)
        yield from (f"{source}.{alias.name}" for alias in node.names)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The module that a dotted name is in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def _groups(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected components; one that is imported by another comes before it."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            cut = stack.index(name)
            groups.append(sorted(stack[cut:]))
            del stack[cut:]

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return groups


def _line(title: str, graph: Graph) -> str:
    found = circles(graph)
    edges = sum(map(len, graph.values()))
    deepest = max(levels(graph).values(), default=0)
    text = f"{title:<28}{len(graph):>8}{deepest:>8}{edges:>8}{len(found):>9}"
    return text + "".join(f"\n    circle: {', '.join(group)}" for group in found)


def main() -> None:
    """Print the figures of a folder, and its rooms from the lowest level up."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    modules = module_graph(root)
    rooms = room_graph(modules, packages_of(root))
    print(f"{'':<28}{'modules':>8}{'levels':>8}{'edges':>8}{'circles':>9}")
    print(_line("all modules", modules))
    for package in PACKAGES:
        print(_line(package, module_graph(root, [package])))
    print(_line("rooms", rooms))
    height = levels(rooms)
    for room in sorted(rooms, key=lambda room: (height[room], room)):
        print(f"{height[room]:>4}  {room:<26} imports {', '.join(sorted(rooms[room])) or 'none of them'}")


if __name__ == "__main__":
    main()
