"""A worker loads what was checked: a task's file or model that changes in between is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import StartupError
from core.tasks.check import run
from stream_app.rules import load_step_model
from stream_app.settings import load_settings
from tests.own_tasks import OTHER, write_task
from tests.recurrent_files import safetensors, weights

Change = Callable[[Path], Any]


def other_model(folder: Path) -> None:
    (folder / "pump.safetensors").write_bytes(safetensors(weights(seed=1)))


def replace(folder: Path, old: str, new: str) -> None:
    path = folder / "pump.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def other_names(folder: Path) -> None:
    replace(folder, '["de", "nde"]', '["nde", "de"]')


def other_unit(folder: Path) -> None:
    replace(folder, "length = 3", 'length = 3, unit = "mm/s"')


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, before: Change | None, after: Change | None) -> Any:
    """Load a task whose folder is changed when the check begins, and when it has ended."""
    (folder / "pump.safetensors").write_bytes(safetensors(weights()))
    settings = load_settings(tasks=str(write_task(folder, "pump", OTHER, file="pump.safetensors")), data_dir=folder)
    (task,) = settings.declarations()
    check_task = run.check_task

    def checked(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(folder)
        found = check_task(*arguments, **named)
        if after is not None:
            after(folder)
        return found

    monkeypatch.setattr(run, "check_task", checked)
    return load_step_model(settings, task)


@pytest.mark.parametrize(
    ("before", "after"), [(None, other_model), (other_names, None)], ids=["the model", "the task's file"]
)
def test_what_changes_between_the_check_and_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Change | None, after: Change | None
) -> None:
    with pytest.raises(StartupError, match=r"pump.toml or .*pump.safetensors: has changed while it was checked"):
        load(tmp_path, monkeypatch, before, after)


@pytest.mark.parametrize("change", [None, other_unit], ids=["nothing", "a unit"])
def test_what_moves_no_output_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change | None
) -> None:
    assert load(tmp_path, monkeypatch, change, None).outputs.width == 2
