"""No command writes over what it reads, whatever the name; a file that changes while it is read ends the command."""

import io
import os
import sys

import h5py
import numpy as np
import pytest

from core.data import opening
from core.data.layout import open_castings, open_checked, open_signals
from core.data.outputs import create_lines, keep_inputs
from core.errors import DataError
from core.offline.predict import predict
from core.training.config import read_settings
from core.training.defect import train_defect
from core.training.signal import train_signal
from replay.progress import progress_place
from replay.run import replay
from tests.files import write_castings, write_signals
from tests.sinks import MemorySink
from tests.test_bad_files import caststream  # noqa: F401  # a fixture

NAMES = ["f.h5", "./sub/../f.h5", "soft.h5", "hard.h5", "soft.jsonl", "hard.jsonl"]


@pytest.fixture
def file(tmp_path):
    """A castings file, reachable by other names too."""
    write_castings(tmp_path / "f.h5", [120, 130])
    (tmp_path / "sub").mkdir()
    for suffix in ("h5", "jsonl", "pt"):
        (tmp_path / f"soft.{suffix}").symlink_to("f.h5")
        (tmp_path / f"hard.{suffix}").hardlink_to(tmp_path / "f.h5")
    return tmp_path / "f.h5"


@pytest.mark.parametrize("name", NAMES)
def test_predict_never_writes_over_its_input(file, tmp_path, name):
    before = file.read_bytes()

    with pytest.raises(DataError, match=r"is the file to read .* another name"):
        predict(file, tmp_path / name)

    assert before == file.read_bytes()
    assert (tmp_path / "soft.h5").is_symlink()


@pytest.mark.parametrize("name", ["f.h5", "soft.pt", "hard.pt"])
def test_a_training_never_writes_over_its_input(file, tmp_path, name):
    before = file.read_bytes()

    for train, kind in ((train_defect, "defect"), (train_signal, "signal")):
        with pytest.raises(DataError, match="is the file to read"):
            train(file, tmp_path / name, read_settings(kind, None))

    assert before == file.read_bytes()


@pytest.mark.parametrize(
    ("out", "read"),
    [("f.pt", "f.last.pt"), ("f.pt", "f.md"), ("f.toml", "f.toml")],
)
def test_what_a_training_writes_besides_is_no_input_either(tmp_path, caststream, out, read):  # noqa: F811
    write_castings(tmp_path / "casts.h5", [120])
    (tmp_path / read).write_bytes((tmp_path / "casts.h5").read_bytes())
    before = (tmp_path / read).read_bytes()
    given = ("--config", read) if read.endswith("toml") else ()

    status, _, err = caststream("train", "defect", "casts.h5" if given else read, "--out", out, *given)

    assert (status, "is the file to read" in err) == (2, True)
    assert before == (tmp_path / read).read_bytes()


def test_plots_never_replace_the_file_that_is_judged(tmp_path, caststream):  # noqa: F811
    (tmp_path / "plots").mkdir()
    write_castings(tmp_path / "plots" / "roc.png", [120])

    status, _, err = caststream("evaluate", "defect", "plots/roc.png", "--plots", "plots")

    assert (status, "is the file to read" in err) == (2, True)


def test_a_checkpoint_and_the_sources_of_a_file_are_inputs_too(tmp_path):
    samples = write_castings(tmp_path / "f.h5", [120])[0]
    with h5py.File(tmp_path / "raw.h5", "w") as raw:
        raw["x"] = samples[:, 2]
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        del file["mold_level"]
        file["mold_level"] = h5py.ExternalLink("raw.h5", "/x")
    (tmp_path / "m.pt").write_bytes(b"a model")

    with pytest.raises(DataError, match=r"raw\.h5: is the file to read"):
        predict(tmp_path / "f.h5", tmp_path / "raw.h5")
    with pytest.raises(DataError, match=r"m\.pt: is the file to read"):
        predict(tmp_path / "f.h5", tmp_path / "m.pt", defect_checkpoint=tmp_path / "m.pt")


def test_standard_output_may_not_be_the_input(file):
    with file.open("ab") as stream, pytest.raises(DataError, match="standard output: is the file to read"):
        predict(file, stream)


def test_the_progress_of_a_replay_never_replaces_its_file(tmp_path):
    place = progress_place(tmp_path, tmp_path / "x.h5", "", "c")
    place.parent.mkdir()
    write_castings(place, [5])
    (tmp_path / "x.h5").symlink_to(place)
    place = progress_place(tmp_path, tmp_path / "x.h5", "", "c")
    place.hardlink_to(tmp_path / "x.h5") if not place.exists() else None
    os.replace(place, place.with_suffix(".old"))
    place.hardlink_to(place.with_suffix(".old"))

    with pytest.raises(DataError, match="is the file to read"):
        play(place.with_suffix(".old"), tmp_path, MemorySink(), place)


def play(path, data_dir, sink, place=None, **options):
    topics = {"topic_signal": "s", "topic_casting": "c"}
    with pytest.MonkeyPatch.context() as patch:
        if place is not None:
            patch.setattr("replay.run.progress_place", lambda *_: place)
        return replay(path, client_config={}, data_dir=data_dir, speed=float("inf"), sink=sink, **topics, **options)


def test_an_output_that_is_not_there_yet_is_compared_by_its_place(tmp_path):
    (tmp_path / "to").symlink_to("new")

    with pytest.raises(DataError):
        keep_inputs([tmp_path / "to"], [tmp_path / "new"])
    keep_inputs([tmp_path / "other", io.BytesIO()], [tmp_path / "new", None])


def test_lines_that_are_not_complete_leave_the_old_file(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")

    def interrupted(path):
        with create_lines(path) as lines:
            lines.write(b"half")
            raise KeyboardInterrupt

    for name in ("target", "link"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / name)

    assert (tmp_path / "target").read_bytes() == b"old"
    assert {"target", "link"} == set(os.listdir(tmp_path))


def touch(path):
    os.utime(path, ns=(1, 1))


def shrink(path):
    os.truncate(path, path.stat().st_size - 100)


def exchange(path):
    path.with_suffix(".new").write_bytes(path.read_bytes())
    os.replace(path.with_suffix(".new"), path)


def remove(path):
    path.unlink()


CHANGES = [(touch, "has changed"), (shrink, "has changed from"), (exchange, "was replaced"), (remove, "is gone")]


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_a_file_that_changes_while_it_is_read_ends_every_reader(tmp_path, change, told):
    for write, opener, name in (
        (lambda path: write_signals(path, 3, 40), open_signals, "mixed_signals"),
        (lambda path: write_castings(path, [20, 30]), open_castings, "superheat"),
        (lambda path: write_castings(path, [20, 30]), lambda path: open_checked(path)[0], "mold_level"),
    ):
        write(tmp_path / "f.h5")
        with opener(tmp_path / "f.h5") as file:
            change(tmp_path / "f.h5")

            with pytest.raises(opening.ChangedError, match=told):
                file[name][:5]


class Changing(MemorySink):
    """Changes the file when it gets its first records."""

    def __init__(self, path, change):
        super().__init__()
        self._path, self._change = path, change

    def send(self, records):
        super().send(records)
        if self._change is not None:
            self._change(self._path)
            self._change = None


@pytest.mark.parametrize(("change", "told"), CHANGES)
@pytest.mark.parametrize("loop", [False, True])
def test_a_replay_tells_how_much_it_had_sent_when_its_file_changed(tmp_path, monkeypatch, change, told, loop):
    monkeypatch.setattr("replay.hdf5.BLOCK_SAMPLES", 20)
    write_castings(tmp_path / "f.h5", [50] * 8)
    sink = Changing(tmp_path / "f.h5", change)

    with pytest.raises(DataError, match=told) as caught:
        play(tmp_path / "f.h5", tmp_path / "data", sink, loop=loop, streams=2)

    assert f"; {len(sink.records)} records were sent before" in str(caught.value)
    assert 0 < len(sink.records) < 400


def change_while_the_model_is_loaded(path, monkeypatch):
    load = sys.modules["core.offline.predict"].open_model
    monkeypatch.setattr("core.offline.predict.open_model", lambda *given: (touch(path), load(*given))[1])


def test_a_prediction_of_a_file_that_changed_leaves_nothing(tmp_path, monkeypatch):
    write_castings(tmp_path / "f.h5", [120, 130])
    change_while_the_model_is_loaded(tmp_path / "f.h5", monkeypatch)

    with pytest.raises(DataError, match=r"has changed.*; nothing was written"):
        predict(tmp_path / "f.h5", tmp_path / "out.jsonl")

    assert os.listdir(tmp_path) == ["f.h5"]


def test_the_command_ends_with_status_2(tmp_path, caststream, monkeypatch):  # noqa: F811
    write_castings(tmp_path / "f.h5", [120, 130])
    change_while_the_model_is_loaded(tmp_path / "f.h5", monkeypatch)

    status, out, err = caststream("predict", "f.h5")

    assert (status, out) == (2, "")
    assert "f.h5: has changed while it was read" in err
    assert "0 were written before" in err


def test_other_files_that_are_read_may_not_change_either(tmp_path):
    samples = write_castings(tmp_path / "f.h5", [120])[0]
    with h5py.File(tmp_path / "raw.h5", "w") as raw:
        raw["x"] = np.asarray(samples[:, 2])
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        del file["mold_level"]
        file["mold_level"] = h5py.ExternalLink("raw.h5", "/x")

    with open_checked(tmp_path / "f.h5")[0] as file:
        touch(tmp_path / "raw.h5")

        with pytest.raises(opening.ChangedError, match=r"raw\.h5: has changed"):
            file["superheat"][:]
