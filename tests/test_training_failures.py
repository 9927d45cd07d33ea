"""What a training that fails leaves behind, and what cannot be resumed."""

import errno
import math
import os
import subprocess
import sys

import pytest
import torch

from core.errors import RunError, StartupError
from core.models.factory import ModelFactory
from core.training.loop import fit
from core.training.snapshot import last_path
from tests.commands import ROOT
from tests.small_training import Losses, Task, assert_same, interrupt_at, settings, weights

pytestmark = pytest.mark.slow


class Failing(Task):
    """Fails in the third update of the second epoch."""

    def __init__(self, chosen, fault):
        super().__init__(chosen)
        self.fault, self.count = fault, 0

    def loss(self, batch):
        self.count += 1
        loss = super().loss(batch)
        return self.fault(loss) if self.count == self.updates_per_epoch + 3 else loss


def raising(error):
    def fault(loss):
        raise error

    return fault


class Infinite(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * math.inf


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda loss: loss * math.nan, "the loss is nan; lower --learning-rate (0.01 now)"),
        (lambda loss: loss + math.inf, "the loss is inf; lower --learning-rate (0.01 now)"),
        (Infinite.apply, "the gradient's norm is"),
        (raising(torch.OutOfMemoryError("CUDA out of memory.")), "out of memory; lower --batch-size (2 now)"),
        (raising(MemoryError()), "out of memory; lower --batch-size (2 now)"),
        (
            raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")),
            "out of memory; lower --batch-size (2 now)",
        ),
    ],
)
def test_a_failed_update_names_the_remedy_and_keeps_the_models_before(tmp_path, fault, words):
    out, chosen = tmp_path / "a.pt", settings()
    fit(Task(settings(epochs=1)), settings(epochs=1), tmp_path / "one.pt")
    with pytest.raises(RunError) as failure:
        fit(Failing(chosen, fault), chosen, out)

    assert "epoch 2, update 3: " in str(failure.value)
    assert words in str(failure.value)
    assert f"; {out} keeps the model of epoch 1 (loss " in str(failure.value)
    assert_same(weights(out), weights(tmp_path / "one.pt"))
    assert fit(Task(chosen), chosen, out, resume=True).epochs == 4


def test_a_failure_in_the_first_epoch_says_that_there_is_no_model(tmp_path):
    task = Losses(settings(), [math.nan])
    with pytest.raises(RunError, match=r"^epoch 1: the loss on held-out data is nan; .* no model was saved$"):
        fit(task, settings(), tmp_path / "a.pt")

    assert not list(tmp_path.iterdir())


def test_other_errors_are_not_disguised(tmp_path):
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        fit(Failing(settings(), raising(RuntimeError("a bug"))), settings(), tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.pt", "a.last.pt"])
def test_a_full_disk_leaves_the_previous_files_whole(tmp_path, monkeypatch, name):
    out, chosen = tmp_path / "a.pt", settings(schedule="constant")
    fit(Losses(chosen, [0.5, 0.4, 0.3, 0.2]), chosen, out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    longer = settings(schedule="constant", epochs=6)
    sync, synced = os.fsync, []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == ["a.pt", "a.last.pt"].index(name) + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as failure:
        fit(Losses(longer, [0.1, 0.05]), longer, out, resume=True)

    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert f"{tmp_path / name} cannot be written: No space left on device; {out} keeps the model of epoch " in str(
        failure.value
    )
    assert after.keys() == before.keys()
    assert after["a.last.pt"] == before["a.last.pt"]
    assert (after["a.pt"] == before["a.pt"]) == (name == "a.pt")
    monkeypatch.undo()
    assert fit(Losses(longer, [0.1, 0.05]), longer, out, resume=True).epochs == 6


SMALL_FILES = """
import resource, sys
from pathlib import Path
import tests.small_training as small
from core.errors import RunError
from core.training import loop
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
if sys.argv[2] == "logs":
    loop.save = lambda model, path, **content: None
chosen = small.settings(epochs=4)
logs = Path(sys.argv[1]) / "logs" if sys.argv[2] == "logs" else None
try:
    loop.fit(small.Task(chosen), chosen, Path(sys.argv[1]) / "a.pt", log_dir=logs)
except RunError as error:
    print(error)
"""


def trained_where_files_stay_small(folder, what):
    """What a training says in a process none of whose files grows beyond 4 kB, which torch meets while it writes.

    A process of its own: the limit would hold for what pytest writes, too.
    """
    command = [sys.executable, "-c", SMALL_FILES, str(folder), what]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def test_a_write_cut_short_is_a_clear_error(tmp_path):
    said = trained_where_files_stay_small(tmp_path, "model")

    assert "a.pt cannot be written: File too large; no epoch was completed" in said
    assert not list(tmp_path.iterdir())


def test_logs_cut_short_are_a_clear_error(tmp_path):
    assert "logs cannot be written: File too large" in trained_where_files_stay_small(tmp_path, "logs")


# --- resuming what cannot be resumed


@pytest.fixture
def trained(tmp_path):
    """A finished training of one epoch in ``a.pt``."""
    out = tmp_path / "a.pt"
    fit(Task(settings(epochs=1)), settings(epochs=1), out)
    return out


def refused(out, match, task=None, **changes):
    chosen = settings(**{"epochs": 1} | changes)
    with pytest.raises(StartupError, match=match):
        fit(task or Task(chosen), chosen, out, resume=True)


def test_nothing_to_resume_is_refused(tmp_path):
    refused(tmp_path / "a.pt", r"a\.last\.pt: no such file, so there is nothing to resume")


def test_other_settings_are_refused(trained):
    refused(trained, r"was trained with batch_size 2 \(now 4\), seed 0 \(now 1\); resume with", batch_size=4, seed=1)


def test_other_data_are_refused(trained):
    refused(trained, "was trained on other data: ", Task(settings(epochs=1), data=2))


def test_a_missing_best_model_is_refused(trained):
    trained.unlink()
    refused(trained, r"a\.pt: no such file; it holds the best model")


def test_a_damaged_last_model_is_refused(trained):
    last_path(trained).write_bytes(last_path(trained).read_bytes()[:5000])
    refused(trained, r"a\.last\.pt: nothing can be resumed: ")


def test_a_bare_model_is_refused(trained):
    ModelFactory.save_checkpoint(Task(settings()).model, last_path(trained))
    refused(trained, "nothing that a training could be resumed from")


def test_more_epochs_may_follow_where_the_learning_rate_does_not_depend_on_them(trained):
    chosen = settings(epochs=4, max_minutes=10.0)
    whole = trained.with_name("whole.pt")
    fit(Task(settings()), settings(), whole)

    assert fit(Task(chosen), chosen, trained, resume=True).epochs == 4
    assert_same(weights(trained), weights(whole))


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_more_epochs_are_refused_where_the_learning_rate_depends_on_them(tmp_path, schedule):
    chosen = settings(epochs=1, schedule=schedule)
    fit(Task(chosen), chosen, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"epochs 1 \(now 2\)", epochs=2, schedule=schedule)


def test_a_new_training_takes_the_place_of_an_old_one(trained):
    chosen = settings(seed=5)
    fit(Task(chosen), chosen, trained, on_progress=interrupt_at(1, 2))

    assert not last_path(trained).exists()


@pytest.mark.parametrize(
    ("place", "problem"), [("folder", "is a folder"), ("file/a.pt", "cannot be made"), ("locked/a.pt", "permission")]
)
def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path, place, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o500)
    if place.startswith("locked") and os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    task = Task(settings())
    with pytest.raises(StartupError, match=problem):
        fit(task, settings(), tmp_path / place)

    assert not task.validations
