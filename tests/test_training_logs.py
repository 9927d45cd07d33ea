"""The logs of a training for TensorBoard."""

import pytest

from core.callbacks import unheard
from core.errors import StartupError
from core.training.extras import require
from core.training.loop import fit
from tests.small_training import Task, events, interrupt_at, scalars, settings

pytestmark = pytest.mark.slow


def test_logs_hold_every_curve_and_figure(tmp_path):
    chosen = settings(epochs=2)
    fitted = fit(Task(chosen), chosen, tmp_path / "a.pt", log_dir=tmp_path / "logs")
    found = events(tmp_path / "logs")
    updates = Task.updates_per_epoch

    assert set(found.Tags()["scalars"]) == {
        "train/loss",
        "train/learning_rate",
        "train/gradient_norm",
        "validation/loss",
        "validation/rmse",
    }
    assert found.Tags()["images"] == ["example/line"]
    assert [event.step for event in found.Scalars("train/loss")] == list(range(1, 2 * updates + 1))
    assert [event.step for event in found.Scalars("validation/loss")] == [updates, 2 * updates]
    assert [event.value for event in found.Scalars("validation/loss")] == pytest.approx(
        [entry["loss"] for entry in fitted.history]
    )


def test_a_resumed_training_goes_on_in_the_same_curves(tmp_path):
    chosen = settings(epochs=3)
    for resume, tell in ((False, interrupt_at(2, 5)), (True, unheard)):
        fit(Task(chosen), chosen, tmp_path / "a.pt", resume=resume, log_dir=tmp_path / "logs", on_progress=tell)

    steps = [event.step for event in scalars(tmp_path / "logs", "train/loss")]
    assert steps == list(range(1, 3 * Task.updates_per_epoch + 1))


def test_without_logs_nothing_of_them_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("core.training.board.require", lambda module: pytest.fail(f"loaded {module}"))
    monkeypatch.setattr(Task, "figures", lambda self: pytest.fail("drew"))
    fit(Task(settings(epochs=1)), settings(epochs=1), tmp_path / "a.pt")


def test_a_folder_for_logs_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="logs cannot be written"):
        fit(Task(settings()), settings(), tmp_path / "a.pt", log_dir=tmp_path / "file" / "logs")


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(StartupError, match=r"needs the packages for training: pip install 'caststream\[train\]'"):
        require("no_such_package")
