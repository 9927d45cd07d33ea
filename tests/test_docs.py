"""The documentation: generated pages are what the code gives, and the site is built without a broken link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from core.tasks.keys import APPLIES, TABLES, Apply, accepted, keys_of
from core.tasks.reading import read_declaration
from core.wire.records import REASONS, Prediction, Score
from stream_app.cli.main import app
from stream_app.flow.metrics import Metrics
from stream_app.settings import Settings
from tests.commands import ROOT
from tests.test_readme import blocks, leaves, rows, spans
from tools.docs.api import module_text
from tools.docs.pages import PAGES
from tools.docs.rooms import rows_of_rooms
from tools.docs.site import build_folder
from tools.import_graph import module_graph, packages_of, room_graph

PACKAGES = Path(os.environ.get("DOCS_VENV", ROOT / ".venv" / "docs"))
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the site is built."""
    out = tmp_path_factory.mktemp("site") / "docs"
    build_folder(out)
    return out


@pytest.mark.parametrize("place", PAGES)
def test_a_generated_page_is_what_the_code_gives(place: str) -> None:
    assert (ROOT / place).read_text() == PAGES[place](), "run: python -m tools.docs"


def test_the_page_of_commands_has_every_command_with_an_example() -> None:
    text = (REFERENCE / "commands.md").read_text()
    shown = {heading.removeprefix("caststream ") for heading in re.findall(r"^## (.*)$", text, flags=re.MULTILINE)}

    assert shown == leaves(typer.main.get_command(app))
    assert len(blocks(text, "sh")) == len(shown)


def test_the_page_of_settings_has_every_setting_with_its_default_and_its_meaning() -> None:
    found = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.+?) \|$", (REFERENCE / "settings.md").read_text(), re.MULTILINE
    )
    defaults = {field: info.default for field, info in Settings.model_fields.items()}

    assert {field: default.strip("`") for field, default, _, _ in found} == {
        field: str(default or "empty") for field, default in defaults.items()
    }


def test_the_page_of_metrics_has_everything_that_a_worker_shows() -> None:
    text = Metrics().exposition().decode()
    exposed = dict(re.findall(r"^# TYPE (caststream_\w+) (\w+)", text, flags=re.MULTILINE))
    shown = re.findall(r"^\| `(caststream_\w+)` \| (\w+) \|", (REFERENCE / "metrics.md").read_text(), re.MULTILINE)

    assert {each: kind for each, kind in exposed.items() if not each.endswith("_created")} == dict(shown)


def test_every_metric_says_of_which_task_it_is_but_those_of_the_whole_worker() -> None:
    text = (REFERENCE / "metrics.md").read_text()
    found = re.findall(r"^\| `caststream_(\w+)` \| \w+ \| (.*?) \| (.*?) \|$", text, flags=re.MULTILINE)

    assert len(found) > 20
    assert {metric for metric, labels, _ in found if "`task`" not in labels} == {"ready", "commit_age_seconds"}


def test_the_page_of_reasons_has_every_reason_in_the_order_of_judging() -> None:
    text = (REFERENCE / "reasons.md").read_text()

    assert tuple(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == REASONS


def test_the_page_of_task_files_has_every_key_and_an_example_that_is_read(tmp_path: Path) -> None:
    text = (REFERENCE / "task-file.md").read_text()
    keys = [key.name for table in TABLES.values() for key in keys_of(table)]
    shown = [cells[0] for cells in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.+?) \|$", text, flags=re.MULTILINE)]
    (tmp_path / "pump.toml").write_text(re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)[0])

    assert shown == keys
    assert set(APPLIES) == set(accepted(Apply).replace(" or ", ", ").split(", "))
    assert read_declaration(tmp_path / "pump.toml", need_files=False).width == 12


def test_the_page_of_outputs_has_every_field() -> None:
    shown = {
        field
        for cells in rows((ROOT / "docs" / "read.md").read_text(), "Fields of outputs")
        for field in spans(cells[0])
    }

    assert shown == {*Prediction.__struct_fields__, *Score.__struct_fields__}


def test_every_room_is_in_the_picture_above_what_it_imports() -> None:
    height = {room: -number for number, row in enumerate(rows_of_rooms()) for room in row}
    rooms = packages_of(ROOT)
    edges = room_graph(module_graph(ROOT), rooms)

    assert height.keys() == set(rooms)
    assert all(height[room] > height[other] for room in rooms for other in edges[room])
    assert all(f">{room}</text>" in (ROOT / "docs" / "images" / "rooms.svg").read_text() for room in rooms)


def test_every_document_of_the_site_is_in_its_menu(folder: Path) -> None:
    menu = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    pages = {name_of.relative_to(folder).as_posix() for name_of in folder.rglob("*.md")}

    assert len(menu) == len(set(menu))
    assert {page for page in pages if not page.startswith(("files/", "api/core"))} == set(menu)


def test_the_api_has_every_public_function_and_class_with_its_docstring(folder: Path) -> None:
    text = (folder / "api" / "core.wire.md").read_text()

    assert "## core.wire.records" in text
    assert "def decode_signal(" in text
    assert "**Raises**" in text
    assert "_" not in {heading[0] for heading in re.findall(r"^#{3,4} (\S+)$", text, flags=re.MULTILINE)}


def test_a_docstring_becomes_markdown_with_its_sections_as_lists(tmp_path: Path) -> None:
    module = tmp_path / "some.py"
    module.write_text(
        '"""A module about ``bytes``."""\n\n\ndef read(blob: bytes, *, most: int = 3) -> int:\n'
        '    """Read [a, b) of it.\n\n    Args:\n        blob: some bytes,\n            of any length.\n'
        '        most: how many.\n\n    Raises:\n        ValueError: none are there.\n    """\n'
        "    return 1\n\n\ndef _own() -> None: ...\n"
    )

    text = module_text(module, tmp_path)

    assert text == (
        "## some\n\nA module about `bytes`.\n\n### read\n\n"
        "```python\ndef read(blob: bytes, *, most: int=3) -> int:\n```\n\n"
        "Read \\[a, b) of it.\n\n**Args**\n\n- blob: some bytes, of any length.\n- most: how many.\n\n"
        "**Raises**\n\n- ValueError: none are there."
    )


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link_or_anything_from_elsewhere(folder: Path) -> None:
    made = subprocess.run(["make", "docs-packages", f"DOCS_VENV={PACKAGES}"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    build = folder.parent
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text()) | {"docs_dir": "docs", "site_dir": "site"}
    (build / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False))

    done = subprocess.run(
        [PACKAGES / "bin" / "zensical", "build", "--strict"], cwd=build, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(build / "site").as_posix(): path.read_text() for path in (build / "site").rglob("*.html")}
    assert len(pages) > 30
    for page, text in pages.items():
        loaded = re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"?(https?://[^\s\">]+)", text)
        assert [each for each in loaded if "127.0.0.1" not in each] == [], page


@pytest.mark.slow
def test_a_broken_link_fails_the_site(tmp_path: Path) -> None:
    subprocess.run(["make", "docs-packages", f"DOCS_VENV={PACKAGES}"], cwd=ROOT, check=True, capture_output=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("site_name: broken\ntheme: {name: material, font: false}\n")
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[nowhere](nowhere.md)\n")

    done = subprocess.run(
        [PACKAGES / "bin" / "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode != 0


def test_the_generator_runs_as_make_calls_it(tmp_path: Path) -> None:
    copy = tmp_path / "docs"

    done = subprocess.run(
        [sys.executable, "-m", "tools.docs", "--site", copy], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (copy / "index.md").read_text().startswith("# caststream")


def test_a_docstring_does_not_open_with_a_clause_without_a_verb() -> None:
    opens = re.compile(r'^\s*r?"""(?:What|Whom|Whose|Of|Whether|Where|How|Who)\b.*', re.MULTILINE)
    folders = [*(room.replace(".", "/") for room in packages_of(ROOT)), "benchmarks", "tools", "tools/docs"]
    places = [path for folder in folders for path in (ROOT / folder).glob("*.py")]
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in places for line in opens.findall(path.read_text())]

    assert len(places) > 100
    assert found == [], "say what it is or does: 'Return ...', 'The ...', 'True if ...'"
