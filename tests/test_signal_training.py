"""Training of the signal model: segments follow each other, the seed decides, the filter stays, and it learns."""

import errno

import h5py
import numpy as np
import pytest
import torch

from core.data.layout import open_signals
from core.data.signals import generate_signals
from core.errors import DataError, RunError
from core.models.checkpoint import read_checkpoint
from core.models.factory import ModelFactory, load_model
from core.training.config import read_settings
from core.training.signal import SignalTask, train_signal
from core.training.snapshot import last_path

pytestmark = pytest.mark.slow

SEGMENT, SEGMENTS = 50, 8


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("signals") / "signals.h5"
    generate_signals(path, samples=20, seed=3, steps=SEGMENT * SEGMENTS)
    return path


def settings(**changed):
    return read_settings("signal", **({"batch_size": 4, "segment": SEGMENT, "epochs": 1} | changed))


def task(path, **changed):
    return SignalTask(open_signals(path), settings(**changed))


def test_rows_read_whole_samples_in_segments_and_start_new_ones_from_a_zero_state(file):
    one = task(file)
    batches = list(one.batches(1))
    with h5py.File(file) as opened:
        mixed = opened["mixed_signals"][:18]
    starts = [number for number, batch in enumerate(batches) if number and batch.kept[0] == 0]
    first = starts[0]
    played = np.concatenate([batch.inputs[0, :, 0] for batch in batches[first : first + SEGMENTS]])

    assert len(batches) == one.updates_per_epoch == 18 * SEGMENTS // 4
    assert starts == list(range(first, len(batches), SEGMENTS))
    assert any(np.array_equal(played, row) or np.array_equal(played, -row) for row in mixed)


def test_rows_are_staggered_so_that_a_batch_holds_samples_of_every_age(file):
    ages = [int((batch.kept == 0).sum()) for batch in list(task(file).batches(1))[1:]]

    assert set(ages) == {0, 1}


def test_the_seed_and_the_epoch_alone_decide_the_batches(file):
    first, again, other_epoch, other_seed = (
        torch.stack([batch.inputs for batch in task(file, seed=seed).batches(epoch)])
        for seed, epoch in ((1, 1), (1, 1), (1, 2), (2, 1))
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other_epoch)
    assert not torch.equal(first, other_seed)


def test_the_state_is_carried_between_segments_and_cut_from_the_graph(file):
    one = task(file, initialisation="chrono")
    batches = one.batches(1)
    one.loss(next(batches))
    before = one._state
    second = next(batches)
    loss = one.loss(second)

    assert before is not None
    assert not before[0].requires_grad
    kept = second.kept[:, None]
    with torch.no_grad():
        expected = one.model(second.inputs, (before[0] * kept, before[1] * kept))[0]
        fresh = one.model(second.inputs)[0]
    assert float(loss.detach()) == pytest.approx(float((second.weights * (expected - second.targets) ** 2).mean()))
    assert not torch.allclose(expected, fresh)


def test_early_segments_weigh_less(file):
    weights = torch.cat([batch.weights[:, 0, 0] for batch in task(file).batches(1)])

    assert weights.min() == pytest.approx(0.01)
    assert weights.max() == pytest.approx(0.35**2, rel=1e-3)


def test_updates_leave_the_turn_of_the_filter_alone_and_move_the_rest(file):
    one = task(file)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    optimizer = torch.optim.Adam(one.model.parameters(), lr=1e-3)
    for batch in list(one.batches(1))[:3]:
        one.loss(batch).backward()
        optimizer.step()
    after = one.model.state_dict()

    assert torch.equal(before["lstm.weight_hh_l0"][128:136, :8], after["lstm.weight_hh_l0"][128:136, :8])
    assert torch.equal(before["lstm.bias_ih_l0"][:15], after["lstm.bias_ih_l0"][:15])
    for name, value in before.items():
        assert not torch.equal(value, after[name]), name


def test_a_short_training_is_never_worse_than_the_filter_that_it_starts_from(tmp_path):
    """A high rate on little data spoils the filter within an epoch; what is kept is the start then."""
    path, out = tmp_path / "signals.h5", tmp_path / "signal.pt"
    generate_signals(path, samples=12, seed=4, steps=2500)
    start = SignalTask(open_signals(path), settings(segment=250)).validate()["loss"]

    spoilt = train_signal(path, out, settings(segment=250, learning_rate=3e-3))

    assert spoilt.history[0]["loss"] > start
    assert (spoilt.best_epoch, spoilt.best_loss) == (0, start)
    kept = SignalTask(open_signals(path), settings(segment=250))
    kept.model.load_state_dict(load_model(out, "signal").state_dict())
    assert kept.validate()["loss"] == start


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(file, tmp_path):
    def interrupt(progress):
        if (progress.epoch, progress.update) == (2, 3):
            raise KeyboardInterrupt

    chosen = settings(epochs=3, learning_rate=1e-4)
    train_signal(file, tmp_path / "whole.pt", chosen)
    first = train_signal(file, tmp_path / "cut.pt", chosen, on_progress=interrupt)
    train_signal(file, tmp_path / "cut.pt", chosen, resume=True)
    whole, cut = (read_checkpoint(last_path(tmp_path / name))["model_state_dict"] for name in ("whole.pt", "cut.pt"))

    assert (first.reason, first.epochs) == ("interrupted", 1)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_disk_that_is_full_when_the_start_is_kept_is_a_clear_error(file, tmp_path, monkeypatch):
    def full(*_, epoch, **__):
        if epoch == 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ModelFactory, "save_checkpoint", full)
    with pytest.raises(RunError, match=r"signal\.pt cannot be written: No space left on device"):
        train_signal(file, tmp_path / "signal.pt", settings(learning_rate=0.1))


def test_a_tiny_set_can_be_learnt_by_heart(tmp_path):
    path = tmp_path / "signals.h5"
    generate_signals(path, samples=4, seed=4, steps=100)
    one = SignalTask(open_signals(path), settings(segment=100, initialisation="chrono", epochs=1))
    inputs, targets = one.training.whole()
    optimizer = torch.optim.Adam(one.model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = ((one.model(inputs)[0][:, :, 0] - targets) ** 2).mean()
        loss.backward()
        optimizer.step()

    assert float(loss.detach()) < 0.05 * float(targets.var())


def test_a_file_too_small_to_train_on_is_refused_by_name(tmp_path):
    path = tmp_path / "signals.h5"
    generate_signals(path, samples=1, seed=1, steps=400)

    with pytest.raises(DataError, match=r"signals\.h5.*1 samples of 400 steps"):
        train_signal(path, tmp_path / "out.pt", settings())


def test_checkpoints_say_what_they_were_trained_on(file):
    extras = task(file, steps=200).extras()

    assert extras["data"] == {"samples": 18, "steps": 200, "held_out": 2}
    assert extras["training"]["segment"] == SEGMENT
