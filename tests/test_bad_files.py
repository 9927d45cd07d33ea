"""Files that cannot be used: one line that names file and dataset, exit status 2, nothing sent and nothing written."""

import signal
import sys

import h5py
import numpy as np
import pytest

from tests.files import write_castings, write_signals


def remove(file, name):
    del file[name]


def reshape(file, name):
    data = file[name][:]
    del file[name]
    file[name] = data[..., :-1]


def empty(file, name):
    del file[name]
    file[name] = np.empty((0, 40) if name == "mixed_signals" else (0,), "f4")


def poison(file, name):
    file[name][-1] = np.nan


FAULTS = [
    *((change, "signal", "mixed_signals") for change in (remove, empty, poison)),
    *((change, "signal", "condition_vectors") for change in (remove, reshape, empty, poison)),
    *((change, "casting", "superheat") for change in (remove, reshape, empty, poison)),
    (remove, "casting", "cast_length"),
]


@pytest.fixture
def caststream(tmp_path, monkeypatch, capsys):
    """Runs the command line in this process: (exit status, stdout, stderr)."""
    from stream_app.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["caststream", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", ["replay", "predict"])
@pytest.mark.parametrize(("change", "kind", "dataset"), FAULTS)
def test_a_bad_dataset_is_one_line_and_exit_status_2(tmp_path, caststream, command, change, kind, dataset):
    path = tmp_path / "f.h5"
    if kind == "signal":
        write_signals(path, rows=3, steps=40)
    else:
        write_castings(path, [20, 20])
    with h5py.File(path, "r+") as file:
        change(file, dataset)

    status, out, err = caststream(command, path)

    *progress, line = err.splitlines()
    assert (status, out) == (2, "")
    assert all(each.startswith("checking the file") for each in progress)
    assert line.startswith(f"caststream: {path}: dataset '")
    assert dataset in line


@pytest.mark.parametrize("command", ["replay", "predict"])
@pytest.mark.parametrize("fault", ["not HDF5", "truncated", "nothing", "a folder", "missing"])
def test_a_bad_file_is_one_line_and_exit_status_2(tmp_path, caststream, command, fault):
    path = tmp_path / "f.h5"
    write_signals(path, rows=3, steps=4000)
    whole = path.read_bytes()
    path.unlink()
    if fault == "a folder":
        path.mkdir()
    elif fault != "missing":
        path.write_bytes({"not HDF5": b"x" * 5000, "truncated": whole[: len(whole) // 2], "nothing": b""}[fault])

    status, out, err = caststream(command, path)

    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"caststream: {path}: ")
