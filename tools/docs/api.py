"""The pages of the API of `core`: one for each room, from signatures and docstrings, without importing anything."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools.docs.tables import page

SECTIONS = ("Args", "Returns", "Raises", "Yields", "Attributes")
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def api_pages(root: Path, package: str = "core") -> dict[str, str]:
    """File name -> page, for every room of a package; ``index.md`` lists them."""
    rooms = sorted(path.parent for path in (root / package).rglob("__init__.py"))
    pages = {f"{name_of(room, root)}.md": room_page(room, root) for room in rooms}
    listed = [f"- [{name[:-3]}]({name}): {_opening(root, name[:-3])}" for name in pages]
    introduction = "Everything public in `core`, room by room: signatures and docstrings."
    return pages | {"index.md": page("The API of core", introduction, "\n".join(listed))}


def room_page(room: Path, root: Path) -> str:
    """The modules of one room; a compiled one by its stub."""
    modules = [*sorted(room.glob("*.py")), *sorted(room.glob("*.pyi"))]
    texts = [module_text(path, root) for path in modules if path.name != "__init__.py"]
    return page(
        name_of(room, root), docstring_text(ast.parse((room / "__init__.py").read_text())), *filter(None, texts)
    )


def name_of(path: Path, root: Path) -> str:
    """The dotted name of a module or of a folder."""
    return ".".join(path.relative_to(root).with_suffix("").parts)


def module_text(path: Path, root: Path) -> str:
    """A module's docstring, then its public classes and functions."""
    tree = ast.parse(path.read_text())
    parts = [f"## {name_of(path, root)}", docstring_text(tree)]
    for node in _public(tree):
        parts += [f"### {node.name}", *definition(node)]
        if isinstance(node, ast.ClassDef):
            for method in _public(node):
                parts += [f"#### {node.name}.{method.name}", *definition(method)]
    return "\n\n".join(filter(None, parts))


def definition(node: Definition) -> Iterator[str]:
    """The signature as code, and the docstring."""
    yield f"```python\n{signature(node)}\n```"
    yield docstring_text(node)


def signature(node: Definition) -> str:
    """The line that defines it, without its body; the decorators that say how it is called, before it."""
    shown = {"property", "classmethod", "staticmethod", "dataclass(frozen=True)", "dataclass"}
    above = [f"@{text}" for decorator in node.decorator_list if (text := ast.unparse(decorator)) in shown]
    empty = type(node)(**{**{field: getattr(node, field) for field in node._fields}, "body": [], "decorator_list": []})
    fields = _fields(node) if isinstance(node, ast.ClassDef) else []
    return "\n".join([*above, ast.unparse(ast.fix_missing_locations(empty)).strip(), *fields])


def docstring_text(node: ast.Module | Definition) -> str:
    """A docstring as Markdown: its sections ("Args:" and others) become lists with a bold title."""
    text = (ast.get_docstring(node) or "").replace("``", "`")
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.MULTILINE)
    titles = [f"**{title}**\n\n{_items(body)}" for title, body in zip(parts[1::2], parts[2::2], strict=True)]
    return "\n\n".join([_plain(parts[0]).strip(), *titles])


def _public(node: ast.Module | ast.ClassDef) -> list[Definition]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [each for each in node.body if isinstance(each, kinds) and not each.name.startswith("_")]


def _fields(node: ast.ClassDef) -> list[str]:
    named = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    return [f"    {ast.unparse(each)}" for each in named if not ast.unparse(each.target).startswith("_")]


def _items(body: str) -> str:
    """The entries of a section, each a list item; lines that are indented further belong to the one before."""
    entries: list[str] = []
    for line in _dedented(body):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        elif line:
            entries.append(line)
    return "\n".join(f"- {_plain(entry)}" for entry in entries)


def _dedented(body: str) -> list[str]:
    return [line.removeprefix("    ").rstrip() for line in body.splitlines()]


def _plain(text: str) -> str:
    """Text without what Markdown would take for markup: brackets, stars and tags outside of code."""
    blocks = re.split(r"(`[^`\n]*`)", text)
    escaped = [part if part.startswith("`") else re.sub(r"([<*\[\]])", r"\\\1", part) for part in blocks]
    return "".join(escaped)


def _opening(root: Path, room: str) -> str:
    text = docstring_text(ast.parse((root / room.replace(".", "/") / "__init__.py").read_text()))
    return text.split("\n\n")[0].replace("\n", " ")
