"""A CSV of signals becomes a signals file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from core.data.csv import samples
from core.data.csv.import_csv import ImportOptions, import_csv
from core.data.csv.signals import SignalSummary
from core.errors import DataError

HEADER = "sequence,step,signal,c1,c2,c3,c4,target"


def imported(folder: Path, text: str, **options: object) -> SignalSummary:
    (folder / "a.csv").write_text(text)
    done = import_csv(folder / "a.csv", folder / "a.h5", options=ImportOptions(**options))  # type: ignore[arg-type]
    assert isinstance(done, SignalSummary)
    return done


def refused(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as raised:
        imported(folder, text)
    return str(raised.value)


def test_signals_come_back_in_their_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BLOCK", 3)
    rows = [(name, step) for step in range(4) for name in ("a", "b")]
    lines = [f"{name},{step},{step}.5,{int(name == 'a')},0,0,{int(name == 'b')},{step}.25" for name, step in rows]

    done = imported(tmp_path, "\n".join([HEADER, *lines]), sampling_rate=250.0)

    assert done == SignalSummary(2, 4, True, 250.0, 0, (), ())
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["mixed_signals"][:].tolist() == [[0.5, 1.5, 2.5, 3.5]] * 2
        assert file["target_signals"][:].tolist() == [[0.25, 1.25, 2.25, 3.25]] * 2
        assert file["condition_vectors"][:].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
        assert file["sequence"].asstr()[:].tolist() == ["a", "b"]
        assert file["mixed_signals"].dtype == np.float32
        assert b'"sampling_rate": 250.0' in file["metadata"][()]


def test_without_targets_none_are_written_and_times_say_the_rate(tmp_path: Path) -> None:
    lines = [f"2026-03-01T08:00:00.{4 * step:03d}Z;0,{step};0;1;0;0" for step in range(5)]

    done = imported(tmp_path, "\n".join(["timestamp;signal;c1;c2;c3;c4", *lines]))

    assert (done.rows, done.steps, done.targets, done.sampling_rate) == (1, 5, False, 250.0)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"mixed_signals", "condition_vectors", "metadata", "config"}
        assert file["mixed_signals"][0].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_the_streams_of_a_feed_become_rows(tmp_path: Path) -> None:
    lines = [f"s{number % 2},{number},0,1,0,0,{1_795_450_377_000 + number}" for number in range(6)]

    imported(tmp_path, "\n".join(["stream,signal,c1,c2,c3,c4,timestamp_ms", *lines]))

    with h5py.File(tmp_path / "a.h5") as file:
        assert file["sequence"].asstr()[:].tolist() == ["s0", "s1"]
        assert file["mixed_signals"][:].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_rows_of_another_length_are_refused_or_left_out(tmp_path: Path) -> None:
    lines = [f"{name},{step},1,1,0,0,0,1" for name, steps in (("a", 3), ("b", 2), ("c", 3)) for step in range(steps)]
    text = "\n".join([HEADER, *lines])

    assert "most sequences have 3 samples, others not: b; --skip-bad skips those" in refused(tmp_path, text)
    done = imported(tmp_path, text, skip_bad=True)
    assert (done.rows, done.steps, done.other_lengths) == (2, 3, ("b",))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,1,1,0,1,0,0,1", "the condition is (0.0, 1.0, 0.0, 0.0), on an earlier line of the same sequence it is"),
        ("a,1,1,1,0,0,0,", "target is empty"),
        ("a,1,1,1,0,0,0,2e6", "target is 2000000.0: must be a number within 1e+06"),
        ("a,0,1,1,0,0,0,1", "sequence 'a' has step 0 twice"),
        ("a,1,x,1,0,0,0,1", "signal is 'x': must be a number"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    said = refused(tmp_path, "\n".join([HEADER, "a,0,1,1,0,0,0,1", line]))

    assert f"line 3: {words}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_target_that_could_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    lines = "signal;c1;c2;c3;c4;target\n1;1;0;0;0;1.234\n0,5;1;0;0;0;2.345,5\n"

    assert "line 2: target is '1.234': 1.234 or 1234? Say it by --decimal point" in refused(tmp_path, lines)
    imported(tmp_path, lines, decimal="comma", sampling_rate=10.0)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["target_signals"][:].tolist() == [[1234.0, 2345.5]]


def test_the_target_too_shows_the_decimal_sign(tmp_path: Path) -> None:
    lines = "signal;c1;c2;c3;c4;target\n1;1;0;0;0;0,5\n1.234;1;0;0;0;1.234,5\n"

    imported(tmp_path, lines, sampling_rate=10.0)

    with h5py.File(tmp_path / "a.h5") as file:
        assert file["mixed_signals"][:].tolist() == [[1.0, 1234.0]]
        assert file["target_signals"][:].tolist() == [[0.5, 1234.5]]


def test_the_task_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n")

    with pytest.raises(DataError, match="lacks the columns casting_speed"):
        import_csv(tmp_path / "a.csv", tmp_path / "a.h5", options=ImportOptions(task="casting"))
    with pytest.raises(DataError, match="holds no samples"):
        import_csv(tmp_path / "a.csv", tmp_path / "a.h5")


def test_a_pipe_is_read_once_and_whole(tmp_path: Path) -> None:
    fifo = tmp_path / "a.csv"
    os.mkfifo(fifo)
    text = HEADER + "\n" + "".join(f"a,{step},1,1,0,0,0,1\n" for step in range(20_000))
    writer = threading.Thread(target=fifo.write_text, args=(text,))
    writer.start()

    done = import_csv(fifo, tmp_path / "a.h5")
    writer.join()

    assert isinstance(done, SignalSummary)
    assert (done.rows, done.steps) == (1, 20_000)


def test_an_import_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    fifo = tmp_path / "a.csv"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "stream_app.cli.main", "import-csv", "a.csv", "a.h5"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    with fifo.open("wb", 0) as pipe:
        pipe.write(f"{HEADER}\n".encode())
        pipe.write(b"a,0,1,1,0,0,0,1\n" * 20_000)  # more than a pipe holds: when it is written, it is being read
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=60)

    assert running.returncode == 130, err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
