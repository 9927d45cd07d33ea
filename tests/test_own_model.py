"""The page "Bring your own model" does what it says: all its files and commands, in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker import wait_until
from tests.commands import ROOT, shell_lines
from tests.conftest import MakeSettings
from tests.consistency import drained

PAGE = ROOT / "docs" / "own-model.md"
PATIENCE_S = 240.0
STAYS = ("caststream worker", "caststream tail")
"""What goes on until somebody ends it; a broker is there already."""


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks of the page, with their languages."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who does what the page says, in a folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.folder, self._environment = folder, os.environ | environment | {"PATH": path}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def save(self, text: str) -> None:
        """A file whose name stands in its first line."""
        (self.folder / text.splitlines()[0].removeprefix("# ")).write_text(text)

    def type(self, line: str) -> None:
        """A line at the prompt; it must succeed, or it goes on beside the next ones."""
        command = ["bash", "-c", line]
        if line.startswith(STAYS):
            with self.said(line).open("wb") as out:
                place = {"cwd": self.folder, "env": self._environment, "start_new_session": True}
                self.running[line] = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **place)
            return
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def said(self, line: str) -> Path:
        """Where the words of a command go that is still running."""
        return self.folder / f"{line.split()[1]}.log"

    def outputs(self) -> list[str]:
        """The lines that `caststream tail` has shown."""
        [log] = [self.said(line) for line in self.running if line.startswith("caststream tail")]
        return [line for line in log.read_text().splitlines() if "pump-1" in line]


@contextmanager
def reader(folder: Path, environment: dict[str, str]) -> Iterator[Reader]:
    """A reader who ends at last what still runs."""
    one = Reader(folder, environment)
    try:
        yield one
    finally:
        for process in one.running.values():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE_S)


def files() -> dict[Path, int]:
    """The files of the product, and when each was written."""
    rooms = [ROOT / name for name in ("core", "replay", "stream_app", "examples")]
    found = [path for room in rooms for path in room.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
@pytest.mark.kafka
def test_the_page_leads_from_a_torch_module_to_live_outputs_and_touches_no_file_of_caststream(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings, before = make_settings(), files()
    folder = tmp_path / "empty"
    folder.mkdir()

    with reader(folder, settings.environment()) as newcomer:
        for language, text in blocks():
            if language in ("python", "toml") and text.startswith("# "):  # others show a part of a file
                newcomer.save(text)
            for line in shell_lines(text.replace("#", "\n#")) if language == "sh" else []:
                if line and not line.startswith("caststream broker"):
                    newcomer.type(line)
            if "caststream send" in text:
                wait_until(lambda: len(newcomer.outputs()) == 200, PATIENCE_S, "200 outputs on the screen")
                drained(settings.replace(tasks=str(folder / "pump.toml")))

    assert files() == before
    assert all("drive_end" in line for line in newcomer.outputs())


def test_the_sample_that_the_page_shows_fits_its_task(tmp_path: Path) -> None:
    from core.tasks.reading import read_declaration

    [declared] = [text for language, text in blocks() if language == "toml" and text.startswith("# pump.toml")]
    [shown] = [text for language, text in blocks() if language == "json"]
    (tmp_path / "pump.toml").write_text(declared)

    [field] = read_declaration(tmp_path / "pump.toml", need_files=False).fields

    assert len(json.loads(shown)[field.name]) == field.numbers
