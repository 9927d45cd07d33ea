"""The training loop: what it leaves on disk, how it ends, and that a resumed run is the run that was never stopped."""

import errno
import math
import os
import signal
import subprocess
import sys
import threading

import msgspec
import numpy as np
import pytest
import torch

from core.errors import RunError, StartupError
from core.models.checkpoint import read_checkpoint
from core.models.evaluation import evaluating
from core.models.factory import ModelFactory, load_model
from core.models.signal_lstm import SignalExtractionLSTM
from core.training.config import SignalSettings
from core.training.extras import require
from core.training.loop import TrainingProgress, fit
from core.training.snapshot import last_path
from tests.commands import ROOT

ROWS, STEPS, BATCH = 8, 12, 2
SCHEDULES = ("constant", "plateau", "cosine", "one-cycle")


def settings(**changes):
    given = {"epochs": 4, "batch_size": BATCH, "learning_rate": 0.01, "dropout": 0.3, "schedule": "constant"}
    return SignalSettings(**given | changes)


class Task:
    """Delayed sums of random inputs, in two segments per batch with the state carried on."""

    updates_per_epoch = 2 * ROWS // BATCH

    def __init__(self, chosen, data=1):
        self.settings, self.data = chosen, data
        torch.manual_seed(chosen.seed)
        self.model = SignalExtractionLSTM(hidden_size=8, dropout=chosen.dropout)
        source = np.random.default_rng(data)
        self.inputs = torch.from_numpy(source.normal(size=(ROWS, STEPS, 5)).astype("f4"))
        self.targets = torch.tanh(self.inputs.cumsum(dim=1).sum(dim=2, keepdim=True) / 8)
        self.validations = 0

    def batches(self, epoch):
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(ROWS)
        for rows in np.split(order, ROWS // BATCH):
            self.state = None
            for cut in (slice(0, STEPS // 2), slice(STEPS // 2, STEPS)):
                yield self.inputs[rows, cut], self.targets[rows, cut]

    def loss(self, batch):
        predicted, (h, c) = self.model(batch[0], self.state)
        self.state = h.detach(), c.detach()
        return ((predicted - batch[1]) ** 2).mean()

    def validate(self):
        self.validations += 1
        with evaluating(self.model):
            mse = float(((self.model(self.inputs)[0] - self.targets) ** 2).mean())
        return {"loss": mse, "rmse": math.sqrt(mse)}

    def extras(self):
        return {"training": msgspec.to_builtins(self.settings), "data": {"rows": ROWS, "name": self.data}}

    def figures(self):
        figure = require("matplotlib.figure").Figure(figsize=(1, 1))
        figure.add_subplot().plot([0, torch.rand(1).item()])
        return {"line": figure}


class Losses(Task):
    """A task whose losses on held-out data are given."""

    def __init__(self, chosen, losses):
        super().__init__(chosen)
        self.losses = iter(losses)

    def validate(self):
        return {"loss": next(self.losses)}


def weights(path):
    return read_checkpoint(path)["model_state_dict"]


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(history):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]


def interrupt_at(epoch, update):
    """An `on_progress` in which Ctrl-C is pressed after that update."""

    def tell(progress):
        if (progress.epoch, progress.update) == (epoch, update):
            signal.raise_signal(signal.SIGINT)

    return tell


# --- the same with and without interruption


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path, schedule):
    chosen = settings(schedule=schedule, initialisation="chrono", optimizer="adamw", weight_decay=0.01)
    whole = fit(Task(chosen), chosen, tmp_path / "whole.pt")
    out = tmp_path / "cut.pt"
    first = fit(Task(chosen), chosen, out, on_progress=interrupt_at(3, 5))
    kept_s = torch.load(last_path(out), weights_only=True)["resume"]["seconds"]
    second = fit(Task(chosen), chosen, out, resume=True)

    assert (first.reason, first.epochs) == ("interrupted", 2)
    assert (second.reason, second.epochs) == ("epochs", 4)
    assert without_seconds(second.history) == without_seconds(whole.history)
    assert (second.best_epoch, second.best_loss) == (whole.best_epoch, whole.best_loss)
    assert first.seconds > kept_s > 0.0
    assert second.seconds > kept_s
    assert_same(weights(out), weights(tmp_path / "whole.pt"))
    assert_same(weights(last_path(out)), weights(last_path(tmp_path / "whole.pt")))


def test_dropout_makes_the_random_state_count(tmp_path):
    """The guard of the test above: with the random state of a fresh start a resumed run would differ."""
    chosen, out = settings(), tmp_path / "cut.pt"
    whole = fit(Task(chosen), chosen, tmp_path / "whole.pt")
    fit(Task(chosen), chosen, out, on_progress=interrupt_at(3, 5))
    content = torch.load(last_path(out), weights_only=True)
    content["resume"]["random_state"]["cpu"] = torch.Generator().manual_seed(chosen.seed).get_state()
    torch.save(content, last_path(out))

    assert fit(Task(chosen), chosen, out, resume=True).history[-1]["loss"] != whole.history[-1]["loss"]


def test_logs_and_figures_do_not_move_the_weights(tmp_path):
    chosen = settings(epochs=2)
    fit(Task(chosen), chosen, tmp_path / "a.pt")
    fit(Task(chosen), chosen, tmp_path / "b.pt", log_dir=tmp_path / "logs")

    assert_same(weights(tmp_path / "a.pt"), weights(tmp_path / "b.pt"))


def test_the_seed_decides_the_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(seed + 3)  # whatever was drawn before
        fit(Task(settings(seed=seed)), settings(seed=seed), tmp_path / f"{name}.pt")

    assert_same(weights(tmp_path / "a.pt"), weights(tmp_path / "b.pt"))
    assert not torch.equal(weights(tmp_path / "a.pt")["fc.weight"], weights(tmp_path / "c.pt")["fc.weight"])


def test_what_the_process_had_set_is_as_before(tmp_path, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    chosen = settings(epochs=1, threads=7)
    task = Task(chosen)
    before = torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT)
    generator = torch.get_rng_state()
    fit(task, chosen, tmp_path / "a.pt")

    assert threads == [7, torch.get_num_threads()]
    assert (torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT)) == before
    assert torch.equal(torch.get_rng_state(), generator)


# --- learning


@pytest.mark.slow
def test_a_tiny_set_is_overfitted(tmp_path):
    chosen = settings(epochs=40, dropout=0.0, learning_rate=0.05, schedule="one-cycle")
    fitted = fit(Task(chosen), chosen, tmp_path / "a.pt")

    assert fitted.history[0]["loss"] > 0.1
    assert fitted.best_loss < 0.002


def test_the_best_model_and_the_last_one_are_kept_apart(tmp_path):
    chosen, out = settings(epochs=3), tmp_path / "models" / "a.pt"
    fitted = fit(Losses(chosen, [0.5, 0.2, 0.4]), chosen, out)
    best, last = read_checkpoint(out), read_checkpoint(last_path(out))

    assert (fitted.best_epoch, fitted.best_loss, fitted.reason, fitted.epochs) == (2, 0.2, "epochs", 3)
    assert [entry["loss"] for entry in fitted.history] == [0.5, 0.2, 0.4]
    assert (best["epoch"], best["loss"], last["epoch"], last["loss"]) == (2, 0.2, 3, 0.4)
    assert best["data"] == last["data"] == {"rows": ROWS, "name": 1}
    assert "optimizer_state_dict" in last
    assert "optimizer_state_dict" not in best
    assert [entry["epoch"] for entry in best["history"]] == [1, 2]
    for path in (out, last_path(out)):
        assert load_model(path, "signal").hidden_size == 8
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.last.pt", "a.pt"]


def test_training_stops_when_patience_ends(tmp_path):
    chosen = settings(epochs=9, patience=2)
    fitted = fit(Losses(chosen, [0.5, 0.4, 0.4, 0.6]), chosen, tmp_path / "a.pt")

    assert (fitted.reason, fitted.epochs, fitted.best_epoch) == ("patience", 4, 2)

    again = fit(Losses(chosen, []), chosen, tmp_path / "a.pt", resume=True)
    assert (again.reason, again.history) == ("patience", fitted.history)


def rates(tmp_path, schedule, losses, epochs=4):
    chosen = settings(schedule=schedule, epochs=epochs)
    task = Losses(chosen, losses)
    fitted = fit(task, chosen, tmp_path / "a.pt")
    return [entry["learning_rate"] for entry in fitted.history]


def test_constant_keeps_the_learning_rate(tmp_path):
    assert rates(tmp_path, "constant", [1.0] * 4) == [0.01] * 4


def test_cosine_falls_to_a_hundredth(tmp_path):
    found = rates(tmp_path, "cosine", [1.0] * 4)

    ends = [(updates - 1) / 32 for updates in (8, 16, 24, 32)]  # an epoch tells the rate of its last update
    expected = [0.01 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))) for done in ends]
    assert found == pytest.approx(expected)


def test_one_cycle_rises_then_falls_to_almost_nothing(tmp_path):
    chosen = settings(schedule="one-cycle")
    fit(Task(chosen), chosen, tmp_path / "a.pt", log_dir=tmp_path / "logs")
    found = [event.value for event in scalars(tmp_path / "logs", "train/learning_rate")]

    assert len(found) == 4 * Task.updates_per_epoch
    assert found[0] == pytest.approx(0.01 / 25)
    assert max(found) == pytest.approx(0.01, rel=0.05)
    assert 0.2 < np.argmax(found) / len(found) < 0.4
    assert found[-1] < 1e-6


def test_plateau_lowers_the_learning_rate_when_nothing_improves(tmp_path):
    assert rates(tmp_path, "plateau", [1.0, 0.5, 0.6, 0.6, 0.6, 0.6], 6) == pytest.approx([0.01] * 5 + [0.003])


def test_gradients_are_clipped_and_their_norm_is_told(tmp_path):
    """Plain gradient descent by a hand: Adam does not see the size of a gradient, its first moments do."""
    norms = {}
    for clip in (0.0, 1e-3):
        chosen = settings(epochs=1, gradient_clip=clip)
        fitted = fit(Task(chosen), chosen, tmp_path / f"{clip}.pt")
        state = read_checkpoint(last_path(tmp_path / f"{clip}.pt"))["optimizer_state_dict"]["state"]
        norms[clip] = math.sqrt(sum(float((each["exp_avg"] ** 2).sum()) for each in state.values()))
        assert fitted.history[0]["gradient_norm"] > 0.05

    assert norms[1e-3] <= 1e-3
    assert norms[0.0] > 0.01


def test_frozen_weights_stay(tmp_path):
    chosen = settings(epochs=1)
    task = Task(chosen)
    task.model.fc.weight.requires_grad_(False)
    before = task.model.fc.weight.clone()
    fit(task, chosen, tmp_path / "a.pt")

    assert torch.equal(weights(tmp_path / "a.pt")["fc.weight"], before)


# --- ends before the end


def test_a_limit_within_the_first_epoch_keeps_what_there_is(tmp_path):
    chosen = settings(max_minutes=1e-9)
    fitted = fit(Task(chosen), chosen, tmp_path / "a.pt")

    assert (fitted.reason, fitted.epochs, fitted.best_epoch) == ("max_minutes", 0, 1)
    assert fitted.history[0]["updates"] == 1
    assert fitted.best_loss == fitted.history[0]["loss"]
    assert load_model(tmp_path / "a.pt", "signal").hidden_size == 8
    assert not last_path(tmp_path / "a.pt").exists()


def test_a_limit_later_drops_the_unfinished_epoch(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    chosen = settings(max_minutes=1.0)

    def tell(progress):
        clock[0] += 6.0 / 1.5  # 15 updates, 8 in each epoch and one call after it

    fitted = fit(Task(chosen), chosen, tmp_path / "a.pt", on_progress=tell)

    assert (fitted.reason, fitted.epochs, fitted.seconds) == ("max_minutes", 1, 60.0)
    assert read_checkpoint(last_path(tmp_path / "a.pt"))["epoch"] == 1


def test_ctrl_c_in_the_first_epoch_keeps_what_there_is(tmp_path):
    fitted = fit(Task(settings()), settings(), tmp_path / "a.pt", on_progress=interrupt_at(1, 3))

    assert (fitted.reason, fitted.epochs, fitted.history[0]["updates"]) == ("interrupted", 0, 3)
    assert load_model(tmp_path / "a.pt", "signal").hidden_size == 8


def test_ctrl_c_during_an_update_waits_for_its_end(tmp_path):
    class Pressed(Task):
        def loss(self, batch):
            signal.raise_signal(signal.SIGINT)
            return super().loss(batch)

    fitted = fit(Pressed(settings()), settings(), tmp_path / "a.pt")

    assert (fitted.reason, fitted.history[0]["updates"]) == ("interrupted", 1)


def test_the_second_ctrl_c_ends_at_once(tmp_path):
    class Pressed(Task):
        def validate(self):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")

    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs start with it ignored
    with pytest.raises(KeyboardInterrupt):
        fit(Pressed(settings()), settings(), tmp_path / "a.pt")

    assert signal.getsignal(signal.SIGINT) is before


def test_a_keyboard_interrupt_of_the_caller_is_a_ctrl_c(tmp_path):
    def tell(progress):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    fitted = fit(Task(settings()), settings(), tmp_path / "a.pt", on_progress=tell)

    assert (fitted.reason, fitted.epochs) == ("interrupted", 1)


def test_training_works_in_a_thread(tmp_path):
    done = []
    chosen = settings(epochs=1)
    thread = threading.Thread(target=lambda: done.append(fit(Task(chosen), chosen, tmp_path / "a.pt")))
    thread.start()
    thread.join()

    assert done[0].reason == "epochs"


def test_progress_is_told_after_each_update_and_each_check(tmp_path):
    told = []
    fit(Losses(settings(epochs=2), [0.5, 0.7]), settings(epochs=2), tmp_path / "a.pt", on_progress=told.append)
    count = Task.updates_per_epoch

    assert [(each.epoch, each.update) for each in told[: count + 2]] == [
        *((1, update) for update in range(1, count + 1)),
        (1, count),
        (2, 1),
    ]
    assert [each.best for each in told[count - 1 : count + 2]] == [None, 0.5, 0.5]
    assert isinstance(told[0], TrainingProgress)
    assert {(each.epochs, each.updates) for each in told} == {(2, count)}


# --- failures


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
import test_training_loop as tests
from core.errors import RunError
from core.training import loop
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
if sys.argv[2] == "logs":
    loop.save = lambda model, path, **content: None
chosen = tests.settings(epochs=4)
logs = Path(sys.argv[1]) / "logs" if sys.argv[2] == "logs" else None
try:
    tests.fit(tests.Task(chosen), chosen, Path(sys.argv[1]) / "a.pt", log_dir=logs)
except RunError as error:
    print(error)
"""


def trained_where_files_stay_small(folder, what):
    """What a training says in a process none of whose files grows beyond 4 kB, which torch meets while it writes.

    A process of its own: the limit would hold for what pytest writes, too.
    """
    command = [sys.executable, "-c", SMALL_FILES, str(folder), what]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


@pytest.mark.slow
def test_a_write_cut_short_is_a_clear_error(tmp_path):
    said = trained_where_files_stay_small(tmp_path, "model")

    assert "a.pt cannot be written: File too large; no epoch was completed" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
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


# --- logs


def events(log_dir):
    loaded = require("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(log_dir))
    loaded.Reload()
    return loaded


def scalars(log_dir, tag):
    return events(log_dir).Scalars(tag)


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
    for resume, tell in ((False, interrupt_at(2, 5)), (True, None)):
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
