"""The documents name only what there is: commands, options, settings, metrics, fields, files, sections."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from core.wire.records import REASONS, CastingSample, Prediction, Score, SignalSample, decode_signal
from stream_app.cli.main import app
from stream_app.flow.metrics import Metrics
from stream_app.settings import PREFIX, Settings
from tests.commands import ROOT, commands_in, parse

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("benchmarks/*.md"))]


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
    if not hasattr(command, "commands"):
        return {" ".join(words)}
    return {leaf for word, inner in command.commands.items() for leaf in leaves(inner, (*words, word))}


def options_of(words: list[str]) -> set[str]:
    command: Any = typer.main.get_command(app)
    for word in words:
        if word in getattr(command, "commands", ()):
            command = command.commands[word]
    return {option for parameter in command.params for option in parameter.opts}


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


def test_the_readme_has_every_command_in_its_table_with_options_that_it_has() -> None:
    shown = set()
    for first, does in rows(README.read_text(), "Step by step"):
        commands = [words for span in spans(first) for words in commands_in(span)]
        shown |= {" ".join(word for word in words if word.islower()) for words in commands}
        options = {span.split()[0] for span in spans(does) if span.startswith("--")}
        assert options <= {option for words in commands for option in options_of(words)}, first

    assert shown == leaves(typer.main.get_command(app))


def test_the_readme_has_every_setting_in_order_with_its_default() -> None:
    shown = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(README.read_text(), "Settings")}
    defaults = {field: info.default for field, info in Settings.model_fields.items()}

    assert list(shown) == list(defaults)
    assert shown == {field: str(default or "empty") for field, default in defaults.items()}


def test_the_readme_has_the_fields_of_the_samples() -> None:
    fields: dict[str, type[msgspec.Struct]] = {"signal-samples": SignalSample, "casting-samples": CastingSample}
    shown = {cells[0].strip("`"): cells[1:] for cells in rows(README.read_text(), "Send your own samples")}

    assert shown.keys() == fields.keys()
    for topic, kind in fields.items():
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert set(spans(shown[topic][0])) == required
        assert set(spans(shown[topic][1])) == set(kind.__struct_fields__) - required


def test_the_readmes_outputs_have_the_fields_of_outputs() -> None:
    decoder, outputs = json.JSONDecoder(), []
    for block in blocks(README.read_text(), "json"):
        while block := block.strip():
            output, end = decoder.raw_decode(block)
            outputs.append(output)
            block = block[end:]

    assert len(outputs) == 2
    for output in outputs:
        kind = Score if "final" in output else Prediction
        msgspec.convert(output, kind)
        assert set(output) <= set(kind.__struct_fields__)


def test_the_readmes_record_for_kcat_is_a_sample() -> None:
    [value] = re.findall(r"'press-8:(\{.*\})'", README.read_text())

    assert decode_signal(value.encode()).step == 0


def test_the_readmes_python_is_python_and_stands_in_the_example() -> None:
    [block] = blocks(README.read_text(), "python")
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)}
    example = (ROOT / "examples" / "send_samples.py").read_text()

    assert calls == {"Producer", "json.dumps", "producer.produce"}
    assert all(call.rpartition(".")[2] in example for call in calls)


def test_the_layers_in_the_architecture_are_modules_and_packages() -> None:
    section = ARCHITECTURE.read_text().split("\n## Layers of the code\n")[1]
    names = {span for span in spans(section) if span.isidentifier()} - {"at_least_once", "exactly_once"}

    for one in names:
        places = [ROOT / one, *(ROOT / package / one for package in ("core", "stream_app"))]
        assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), one
    assert len(names) > 20


def test_every_reason_of_a_dead_letter_is_explained_in_order() -> None:
    table = ARCHITECTURE.read_text().split("| `error.reason` |")[1].split("\n\n")[0]

    assert tuple(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == REASONS


def test_the_newest_version_in_the_changelog_is_that_of_the_package() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert f'version = "{versions[0]}"' in (ROOT / "pyproject.toml").read_text()
