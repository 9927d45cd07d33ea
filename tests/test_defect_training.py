"""Training of the defect model: windows as the stream scores them, casts held out, calibration, threshold."""

import errno

import h5py
import numpy as np
import pytest
import torch

from core.data.castings import generate_castings
from core.data.layout import open_castings
from core.errors import DataError, RunError
from core.models.checkpoint import read_checkpoint
from core.models.factory import ModelFactory, load_model
from core.training import defect
from core.training.config import read_settings
from core.training.defect import Casts, DefectTask, train_defect
from core.training.snapshot import last_path
from core.wire.records import SENSORS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("casts") / "casts.h5"
    generate_castings(path, casts=160, seed=3)
    return path


def settings(**changed):
    return read_settings("defect", **({"batch_size": 16, "epochs": 1, "hidden_size": 8} | changed))


def task(path, **changed):
    return DefectTask(open_castings(path), settings(**changed))


def raw(one, window):
    """A standardised window as the file has it."""
    return window.numpy() * np.array(one.statistics["std"]) + np.array(one.statistics["mean"])


def test_casts_without_a_label_or_too_short_for_a_score_are_left_out(tmp_path):
    path = tmp_path / "casts.h5"
    generate_castings(path, casts=60, seed=2)
    with h5py.File(path, "r+") as opened:
        opened["label"][7] = -1
        lengths = opened["cast_length"][:]
    with open_castings(path) as opened:
        casts = Casts.of(opened, 100)

    assert casts.rows.tolist() == [row for row in range(60) if lengths[row] >= 100 and row != 7]


def test_no_cast_is_held_out_and_trained_on(file):
    one = task(file)
    parts = [set(part.rows.tolist()) for part in (one.training, one.validation, one.calibration)]

    assert parts[0] | parts[1] | parts[2] == set(Casts.of(open_castings(file), 100).rows.tolist())
    assert sum(len(part) for part in parts) == len(parts[0] | parts[1] | parts[2])
    assert max(parts[0]) < min(parts[1])
    assert max(parts[1]) < min(parts[2])


def test_a_batch_holds_windows_of_one_length_that_stand_in_the_file(file):
    one = task(file)
    with h5py.File(file) as opened:
        readings = np.stack([opened[name][:] for name in SENSORS], axis=1)
        places = [
            (start, start + length)
            for start, length in zip(opened["cast_start"][:], opened["cast_length"][:], strict=True)
        ]
    batches = list(one.batches(1))
    seen, full = 0, 0
    for batch in batches:
        for window, length, target in zip(batch.inputs, batch.lengths, batch.targets, strict=True):
            found = raw(one, window[:length])
            [start] = np.flatnonzero((np.abs(readings[:, None] - found[0]) < 1e-3).all(axis=(1, 2)))[:1]
            np.testing.assert_allclose(found, readings[start : start + length], rtol=1e-5, atol=1e-4)
            [row] = [row for row, (first, end) in enumerate(places) if first <= start < end]
            assert start + length <= places[row][1]
            assert target == h5py.File(file)["label"][row]
            full += start + length == places[row][1]
            seen += 1

    assert seen == len(one.training)
    assert 0.6 < full / seen < 0.9
    assert len(batches) == one.updates_per_epoch


def test_windows_of_very_different_lengths_are_packed_and_none_is_cut(file):
    one = task(file, batch_size=200)
    [batch] = one.batches(1)

    assert len(set(batch.lengths)) > 20
    assert batch.inputs.shape[1] == max(batch.lengths)
    one.loss(batch).backward()


def test_inputs_are_standardised_by_statistics_that_travel_in_the_checkpoint(file):
    one = task(file)
    rows = np.concatenate([one._read(index, 0, int(n)) for index, n in enumerate(one.training.lengths)])

    np.testing.assert_allclose(one.statistics["mean"], rows.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(one.statistics["std"], rows.std(axis=0, dtype=float), rtol=1e-5)
    assert one.model.input_statistics == one.statistics


def test_defective_casts_weigh_as_much_as_all_others_unless_told(file):
    labels = task(file).training.labels

    assert task(file).pos_weight == pytest.approx((labels == 0).sum() / (labels == 1).sum())
    assert task(file, pos_weight=3.0).pos_weight == 3.0


def test_a_known_probability_can_be_learnt_instead_of_the_label(file):
    one = task(file, target="probability")

    assert all(0.0 < value < 1.0 for batch in one.batches(1) for value in batch.targets.tolist())


def test_training_leaves_a_calibrated_checkpoint_with_a_threshold(file, tmp_path):
    out = tmp_path / "defect.pt"
    done = train_defect(file, out, settings(epochs=2, cost_missed=4.0))
    model, content = load_model(out, "defect"), read_checkpoint(out)

    assert done.epochs == 2
    assert set(model.calibration) == {"a", "b"}
    assert model.input_statistics is not None
    assert content["decision"] == {"threshold": 0.2, "cost_missed": 4.0, "cost_false_alarm": 1.0}
    assert [entry["epoch"] for entry in content["history"]] == [1, 2]
    assert content["data"]["casts"] == len(task(file).training)


def test_a_training_that_is_interrupted_at_once_leaves_an_older_model_as_it_is(file, tmp_path):
    out = tmp_path / "defect.pt"
    train_defect(file, out, settings())
    before = out.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefectTask, "batches", interrupt)
        done = train_defect(file, out, settings(seed=5))

    assert done.reason == "interrupted"
    assert out.read_bytes() == before


def test_a_disk_that_is_full_at_calibration_is_a_clear_error(file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    platt, out = defect.platt, tmp_path / "defect.pt"

    def fitted(*given):
        if last_path(out).exists():  # the epoch is done
            monkeypatch.setattr(ModelFactory, "save_checkpoint", full)
        return platt(*given)

    monkeypatch.setattr(defect, "platt", fitted)
    with pytest.raises(RunError, match=r"defect\.pt cannot be written: No space left on device"):
        train_defect(file, out, settings())


def test_the_file_that_is_trained_on_cannot_be_held_out(file, tmp_path):
    with pytest.raises(DataError, match=r"casts\.h5: is the file to train on"):
        train_defect(file, tmp_path / "defect.pt", settings(), validation=file)

    assert not list(tmp_path.iterdir())


def test_another_file_can_be_held_out(file, tmp_path):
    other = tmp_path / "other.h5"
    generate_castings(other, casts=80, seed=9)
    one = DefectTask(open_castings(file), settings(), open_castings(other))

    assert len(one.training) == len(Casts.of(open_castings(file), 100))
    assert one.validation.file.filename == str(other)


def test_a_tiny_set_can_be_learnt_by_heart(file):
    one = task(file, hidden_size=16, batch_size=16)
    batch = next(iter(one.batches(1)))
    targets = torch.arange(len(batch.targets)) % 2 * 1.0
    optimizer = torch.optim.Adam(one.model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        logits = one.model(batch.inputs, batch.lengths)[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        loss.backward()
        optimizer.step()

    assert float(loss.detach()) < 0.1


def test_a_file_with_one_class_only_is_refused_by_name(tmp_path):
    path = tmp_path / "casts.h5"
    generate_castings(path, casts=40, seed=2)
    with h5py.File(path, "r+") as opened:
        opened["label"][:] = 0

    with pytest.raises(DataError, match=r"casts\.h5: dataset 'label': .* defective and good ones are needed"):
        train_defect(path, tmp_path / "out.pt", settings())


def test_an_unknown_probability_cannot_be_learnt(file, tmp_path):
    path = tmp_path / "casts.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as opened:
        opened["defect_probability"][5] = np.nan

    with pytest.raises(DataError, match="dataset 'defect_probability': unknown for some casts"):
        train_defect(path, tmp_path / "out.pt", settings(target="probability"))
