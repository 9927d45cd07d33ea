"""The training loop: what it leaves on disk, how it ends, and that a resumed run is the run that was never stopped."""

import math
import signal
import threading

import numpy as np
import pytest
import torch

from core.models.checkpoint import read_checkpoint
from core.models.factory import load_model
from core.training.loop import TrainingProgress, fit
from core.training.snapshot import last_path
from tests.small_training import (
    ROWS,
    Losses,
    Task,
    assert_same,
    interrupt_at,
    scalars,
    settings,
    weights,
    without_seconds,
)

pytestmark = pytest.mark.slow

SCHEDULES = ("constant", "plateau", "cosine", "one-cycle")

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
