"""The folder from which the site is built: every document of the repository, the API, and the files that they link to.

A document keeps its text; its links are written again, because it moves: README.md becomes the first page, and a link
to a file that is no document leads to a copy of it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tools.docs.api import api_pages
from tools.docs.tables import page

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "core/checkpoints/signal.md": "card-signal.md",
    "core/checkpoints/defect.md": "card-defect.md",
}
FILES = "files"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def build_folder(out: Path) -> None:
    """Write the whole folder again."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs", out)
    places = {**NAMES, **{str(path.relative_to(ROOT)): _below_docs(path) for path in (ROOT / "docs").rglob("*.md")}}
    for source, place in places.items():
        (out / place).write_text(with_links(ROOT / source, place, places, out))
    (out / "api").mkdir()
    for name, text in api_pages(ROOT).items():
        (out / "api" / name).write_text(text)


def with_links(source: Path, place: str, places: dict[str, str], out: Path) -> str:
    """The text of a document, with links that fit its place in the folder."""

    def link(found: re.Match[str]) -> str:
        return found[1] + new_target(source, place, found[2], places, out) + found[3]

    parts = FENCE.split(source.read_text())
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def new_target(source: Path, place: str, target: str, places: dict[str, str], out: Path) -> str:
    """Return where a link leads from the document's new place; the target is copied if it is no document."""
    path, _, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return target
    found = (source.parent / path).resolve()
    name = str(found.relative_to(ROOT))
    new = places.get(name) or _copy(found, name, places, out)
    return os.path.relpath(new, Path(place).parent) + (f"#{anchor}" if anchor else "")


def _copy(found: Path, name: str, places: dict[str, str], out: Path) -> str:
    """Copy a file, or list a folder; the name of what is to be linked to. A text beside code keeps its links, too."""
    if found.is_relative_to(ROOT / "docs"):
        return _below_docs(found)
    if found.is_dir():
        return _listing(found, name, places, out)
    place = f"{FILES}/{name}"
    if not (out / place).exists():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, out / place)
        if found.suffix == ".md":
            (out / place).write_text(with_links(found, place, places, out))
    return place


def _listing(folder: Path, name: str, places: dict[str, str], out: Path) -> str:
    """A page that links to a copy of each file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    kept = [path for path in files if not {"secrets"} & set(path.parts)]
    for path in kept:
        _copy(path, str(path.relative_to(ROOT)), places, out)
    place = out / FILES / name / "index.md"
    lines = [f"- [{path.relative_to(folder)}]({path.relative_to(folder)})" for path in kept if path.suffix != ".md"]
    place.write_text(page(f"Files in {name}", "\n".join(lines)))
    return f"{FILES}/{name}/index.md"


def _below_docs(path: Path) -> str:
    return str(path.relative_to(ROOT / "docs"))
