"""The findings of a check: made in a child process, kept until something changes, and told by the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import StartupError
from core.tasks.reading import read_declaration, shipped

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.tasks.check import kept
from core.tasks.check.run import CheckLimits, check_task
from core.tasks.fingerprint import fingerprint_of
from tests import onnx_models as models
from tests.checked_task import EXAMPLE, THREE, Task
from tests.commands import Run


@pytest.fixture
def make(tmp_path: Path) -> Any:
    return lambda model, *more, **given: Task(tmp_path, model, *more, **given)


# The child process.


def test_the_check_in_a_child_finds_the_same(make: Any) -> None:
    task = make(models.lstm())
    expected, found = task.check(), check_task(task.path, None)

    assert found.fingerprint == expected.fingerprint == fingerprint_of(read_declaration(task.path), task.model)
    assert (found.states, found.plan, found.outputs, found.notes) == (
        expected.states,
        expected.plan,
        expected.outputs,
        expected.notes,
    )


def test_a_refusal_comes_back_as_it_is(make: Any) -> None:
    task = make(models.carried("same"))

    with pytest.raises(StartupError) as error:
        check_task(task.path, None)

    assert str(error.value) == task.refusal()


def test_a_model_that_never_ends_is_refused(make: Any) -> None:
    task = make(models.endless(greedy=False))

    with pytest.raises(StartupError, match="the check of its model took more than 2 s"):
        check_task(task.path, None, limits=CheckLimits(cpu_seconds=2))


def test_a_model_that_wants_all_memory_is_refused(make: Any) -> None:
    task = make(models.endless(greedy=True))

    with pytest.raises(StartupError, match="pump"):
        check_task(task.path, None, limits=CheckLimits(memory_bytes=2 << 30))


def test_findings_are_kept_until_something_changes(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, folder = make(models.gru()), tmp_path / "checks"
    first = check_task(task.path, folder)
    ran: list[Path] = []
    monkeypatch.setattr("core.tasks.check.run._run", lambda path, *_: ran.append(path) or first)

    assert check_task(task.path, folder) == first
    assert ran == []

    task.file.write_bytes(models.lstm())
    check_task(task.path, folder)
    assert ran == [task.path]


@pytest.mark.parametrize("held", ["outputs.py", "window_outputs.py", "examine.py", "own_weights.py", "rows.py", "lstm"])
def test_findings_depend_on_the_code_that_tries_and_runs_a_model(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    task, whole = make(models.gru()), kept.sources()
    declaration = read_declaration(task.path)
    assert any(source.name.startswith(held) for source in whole)
    before = kept.key_of(declaration, task.model, 1)

    def changed(path: Path) -> bytes:
        return read(path) + (b"#" if path.name.startswith(held) else b"")

    read = Path.read_bytes
    kept._check.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", changed)
        after = kept.key_of(declaration, task.model, 1)
    kept._check.cache_clear()

    assert after != before == kept.key_of(declaration, task.model, 1)


@pytest.mark.parametrize("raw", ["", "{}", "[]", '{"states": 1}', "null"])
def test_findings_that_are_damaged_count_as_none(tmp_path: Path, raw: str) -> None:
    (tmp_path / "key.json").write_text(raw)

    assert kept.find(tmp_path, "key") is None


def test_findings_come_back_as_they_were_kept(make: Any, tmp_path: Path) -> None:
    checked = make(models.lstm()).check()

    kept.keep(tmp_path / "new", "key", checked)

    assert kept.find(tmp_path / "new", "key") == checked


# The command.


def test_the_command_tells_what_it_has_found(make: Any, run: Run) -> None:
    task = make(models.lstm(), EXAMPLE)
    task.write_example()

    done = run("task", "check", str(task.path), "--data-dir", str(task.path.parent / "data"))

    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"pump: the model can run; fingerprint {task.check().fingerprint}"
    assert lines[1:4] == ["  state h0 -> hn [2, 1, 8]", "  state c0 -> cn [2, 1, 8]", "  output y [1]"]
    assert lines[4].startswith("  batch plan 'any': ")
    assert lines[5] == "  example: 200 steps agree; largest difference 0 of the largest value"
    assert lines[6].startswith("  µs per row: ")
    assert lines[7].startswith("  state: 128 bytes per stream; 1,000 streams that never rest write 0.256 MB/s")
    assert len(list((task.path.parent / "data" / "checks").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--max-state-bytes", "60"), "a stream's state has 64 bytes, more than the 60 that are accepted"),
        (("--max-state-bytes", "600000"), "an integer from 1 to 524288"),
        (("--data", "nothing.h5"), "nothing.h5: cannot be read as HDF5"),
    ],
)
def test_the_command_refuses_in_one_line(make: Any, run: Run, more: tuple[str, ...], line: str) -> None:
    done = run("task", "check", str(make(models.gru()).path), *more)

    assert (done.status, done.out) == (2, "")
    assert line in done.err
    assert done.err.count("\n") == 1


def test_the_models_that_ship_are_checked_where_they_are_loaded(run: Run) -> None:
    for name, model in (("signal", "signal.safetensors"), ("casting", "defect.safetensors")):
        assert f"{model}: is a checkpoint of caststream" in run("task", "check", str(shipped(name).path)).err


# The fingerprint.


def test_the_fingerprint_follows_what_moves_outputs_alone(make: Any) -> None:
    def of(*given: Any, **more: Any) -> str:
        task = make(*given, **more)
        return fingerprint_of(read_declaration(task.path), task.model)

    model = models.lstm()
    names = of(model)

    assert len(names) == 12
    for key in (
        'unit = "mm"',
        'alias = ["vib"]',
        "normal = [-2, 2]",
        "range = [-9, 9]",
        'missing = "hold"',
        'columns = ["x", "y", "z"]',
    ):
        assert of(model, fields=f"vibration = {{ length = 3, {key} }}") == names, key
    for table in ("[rules]\nidle_timeout = 5", '[topics]\nsource = "others"\ntable = "elsewhere"'):
        assert of(model, top=table) == names, table
    assert of(model, 'states = { h0 = "hn" }') != names
    assert of(model, fields="vibration = { length = 2, overlap = 1 }") != names
    assert of(model, fields=THREE) != names
    assert of(models.gru()) != names


def test_a_check_loads_no_torch() -> None:
    code = "import core.tasks.check.examine, core.engines.onnx.task, sys; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
