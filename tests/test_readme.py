"""The documents name only what there is: commands, options, settings, metrics, fields, files, sections."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.wire.records import CastingSample, Prediction, Score, SignalSample, decode_signal
from stream_app.cli.options import commands_of
from stream_app.flow.metrics import Metrics
from stream_app.settings import PREFIX, Settings
from tests.commands import ROOT, commands_in, parse

README = ROOT / "README.md"
SEND = ROOT / "docs" / "send.md"
READ = ROOT / "docs" / "read.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("benchmarks/*.md"))]
DOCUMENTS += sorted(ROOT.glob("examples/**/*.md"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its head left out."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    assert table is not None, f"no table under {heading}"
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def anchors(path: Path) -> set[str]:
    """The headings of a document as a Git host links to them."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leaves(command: Any, words: tuple[str, ...] = ()) -> set[str]:
    """Every command that does something, such as ``send signal``."""
    inner = commands_of(command)
    if not inner:
        return {" ".join(words)}
    return {leaf for word, one in inner.items() for leaf in leaves(one, (*words, word))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_command_line_in_a_document_is_accepted(document: Path) -> None:
    text = document.read_text()
    scripts = [*blocks(text, "sh"), *(span for span in spans(prose(text)) if span.startswith("caststream "))]

    for words in (words for script in scripts for words in commands_in(script)):
        parse(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_make_target_in_a_document_is_there(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    scripts = [*blocks(text, "sh"), *(span for span in spans(prose(text)) if span.startswith("make "))]

    for [target, *_] in (words for script in scripts for words in commands_in(script, "make")):
        assert target in targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_inside_the_repository_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document

        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_metric_in_a_document_is_one_of_the_workers(document: Path) -> None:
    found = re.findall(r"^# TYPE (caststream_\w+)", Metrics().exposition().decode(), flags=re.MULTILINE)

    for metric in re.findall(r"\bcaststream_[a-z_]+[a-z]\b", document.read_text()):
        assert metric in found or metric == "caststream_1"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_environment_variable_in_a_document_is_a_setting(document: Path) -> None:
    for variable in re.findall(rf"\b{PREFIX}([A-Z_]+)\b", document.read_text()):
        assert variable.lower() in Settings.model_fields


def test_the_page_of_sending_has_the_fields_of_the_samples() -> None:
    fields: dict[str, type[msgspec.Struct]] = {"signal-samples": SignalSample, "casting-samples": CastingSample}
    shown = {cells[0].strip("`"): cells[1:] for cells in rows(SEND.read_text(), "Fields")}

    assert shown.keys() == fields.keys()
    for topic, kind in fields.items():
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert set(spans(shown[topic][0])) == required
        assert set(spans(shown[topic][1])) == set(kind.__struct_fields__) - required


@pytest.mark.parametrize("document", [README, READ], ids=name)
def test_the_outputs_shown_have_the_fields_of_outputs(document: Path) -> None:
    decoder, outputs = json.JSONDecoder(), []
    for block in blocks(document.read_text(), "json"):
        while block := block.strip():
            output, end = decoder.raw_decode(block)
            outputs.append(output)
            block = block[end:]

    assert len(outputs) == 2
    for output in outputs:
        kind = Score if "final" in output else Prediction
        msgspec.convert(output, kind)
        assert set(output) <= set(kind.__struct_fields__)


def test_the_record_for_kcat_is_a_sample() -> None:
    [value] = re.findall(r"'press-8:(\{.*\})'", SEND.read_text())

    assert decode_signal(value.encode()).step == 0


@pytest.mark.parametrize("document", [README, SEND], ids=name)
def test_the_python_shown_is_python_and_stands_in_the_example(document: Path) -> None:
    [block] = blocks(document.read_text(), "python")
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)}
    example = (ROOT / "examples" / "send_samples.py").read_text()

    assert calls == {"Producer", "json.dumps", "producer.produce"}
    assert all(call.rpartition(".")[2] in example for call in calls)


def test_the_way_of_a_sample_names_modules_that_stand_in_the_rooms_beside_them() -> None:
    named = 0
    for cells in rows(ARCHITECTURE.read_text(), "The way of a sample"):
        room = ""
        for one in spans(cells[1]):
            room = one if "." in one else room
            place = ROOT / (room if one == room else f"{room}.{one}").replace(".", "/")
            named += 1
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"{room}: {one}"

    assert named > 20


def test_every_module_that_a_document_names_is_there() -> None:
    for document in [ARCHITECTURE, ROOT / "CONTRIBUTING.md"]:
        for one in re.findall(r"`((?:core|stream_app|replay|tools|dashboards)(?:\.\w+)+)`", document.read_text()):
            place = ROOT / one.replace(".", "/")
            inside = place.parent.with_suffix(".py")
            known = inside.is_file() and re.search(rf"\b{place.name}\b", inside.read_text())
            assert place.is_dir() or place.with_suffix(".py").is_file() or known, f"{document.name}: {one}"


def test_the_readme_is_short_and_its_first_screen_has_what_a_reader_looks_for() -> None:
    lines = README.read_text().splitlines()
    screen = "\n".join(lines[:40])
    sections = re.split(r"^## ", README.read_text(), flags=re.MULTILINE)

    assert len(lines) <= 200
    assert {"make demo", "make test"} <= {" ".join(line.split()[:2]) for line in blocks(screen, "sh")[0].splitlines()}
    assert "](docs/images/demo.svg)" in screen
    assert all(f"| **{word}** |" in screen for word in ("speed", "latency", "guarantee"))
    for title in ("Try it", "Send your samples", "Read predictions", "Your own model", "Run it for real"):
        [section] = [text for text in sections if text.startswith(f"{title}\n")]
        assert len(section.splitlines()) < 32, title
        assert "](" in section


def test_the_architecture_can_be_read_in_one_sitting() -> None:
    assert len(ARCHITECTURE.read_text().splitlines()) <= 320
    assert len(ARCHITECTURE.read_bytes()) <= 27_000


def test_the_figures_of_the_readme_stand_in_the_documents() -> None:
    screen = "\n".join(README.read_text().splitlines()[:40])
    figures = re.findall(r"\d{1,3}(?:,\d{3})+", screen)
    known = "".join((ROOT / "docs" / page).read_text() for page in ("performance.md", "reliability.md"))
    latency = re.search(r"^\| caststream \| 5,000 \|(.*)$", known, flags=re.MULTILINE)

    assert len(figures) > 3
    assert all(figure in known for figure in figures)
    assert "433 restarts" in screen
    assert "433 restarts" in known
    assert latency is not None
    assert [float(cell) for cell in (latency[1].split("|")[0], latency[1].split("|")[2])] == [2, 7]
    assert "2 ms median and 7 ms at the 99th percentile" in screen


def test_the_newest_version_in_the_changelog_is_that_of_the_package() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert f'version = "{versions[0]}"' in (ROOT / "pyproject.toml").read_text()
