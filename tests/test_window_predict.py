"""A declared window task offline: the outputs that the worker publishes for the same samples, byte for byte."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.data.task_file import TaskFile
from core.engines.results import StreamRules
from core.engines.window_engine import WindowEngine
from core.native.records import Record
from core.offline import windows
from core.offline.task_predict import predict_task
from core.offline.windows import WindowModelRun
from tests.commands import Run
from tests.files import write_castings
from tests.motion import WINDOW, model_of, write_motion
from tests.own_tasks import LIKE_CASTING, write_task
from tests.replayed import outputs_of_a_replay
from tests.strategies import MemoryTable, examples

START_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion(tmp_path_factory.mktemp("motion"))


def run_of(motion: Path) -> WindowModelRun:
    model = model_of(motion)
    return WindowModelRun(model.declaration, model.fingerprint, model.outputs.fields, WINDOW, model.score)


def write_samples(path: Path, counts: list[int], seed: int) -> Path:
    random, total = np.random.default_rng(seed), sum(counts)
    load = random.uniform(-3, 3, total)
    starts = np.cumsum(counts) - counts
    gone = random.random(total) < 0.3
    gone[starts] = False
    load[gone] = np.nan
    with h5py.File(path, "w") as file:
        file["acc"] = random.normal(size=(total, 3)).astype("f4")
        file["rotation"] = random.normal(size=(total, 2)).astype("f4")
        file["load"] = load.astype("f4")
        file["sequence_start"], file["sequence_length"] = starts, counts
        file["sequence_name"] = [f"s-{row}" for row in range(len(counts))]
        file["stream_name"] = [f"stream-{row}" for row in range(len(counts))]
        file["timestamp_ms"] = START_MS + np.arange(total) * 20
    return path


def published(motion: Path, path: Path) -> list[bytes]:
    """What the worker publishes for a file's samples; the last one of each sequence says so."""
    model, records = model_of(motion), []
    with TaskFile(path, model.declaration) as file:
        for sequence in file.sequences:
            times = file.times(sequence.start, sequence.count)
            assert times is not None
            for step, numbers in enumerate(file.values(sequence.start, sequence.count).tolist()):
                fields = model.declaration.by_field(numbers)
                sample = {name: value for name, value in fields.items() if not np.isnan(value).any()}
                sample |= {"sequence": sequence.name, "step": step, "timestamp_ms": int(times[step])}
                sample |= {"end": True} if step == sequence.count - 1 else {}
                key, value = sequence.stream.encode(), json.dumps(sample).encode()
                records.append(Record(0, len(records), START_MS, key, value))
    result = WindowEngine(model.task, StreamRules(), WINDOW, MemoryTable().recovered()).run(records)
    assert not result.dead_letters
    return [value for _, value, _, _ in result.outputs[0]]


def lines_of(path: Path, model: WindowModelRun, **options: Any) -> list[bytes]:
    out = io.BytesIO()
    done = predict_task(path, out, model, **options)
    assert done.outputs == len(out.getvalue().splitlines())
    return out.getvalue().splitlines()


@examples(25)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(0, 2**32 - 1), st.sampled_from([6, 40, 1 << 20])
)
def test_a_file_gives_what_the_worker_publishes_for_its_samples(
    motion: Path, tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int, block: int
) -> None:
    path = write_samples(tmp_path_factory.mktemp("file") / "x.h5", counts, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "BLOCK_NUMBERS", block)
        patch.setattr(windows, "BATCH_WINDOWS", 5)
        lines = lines_of(path, run_of(motion))

    assert lines == published(motion, path)


def test_a_replay_through_the_worker_gives_the_same_bytes(motion: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [15, 2, 9, 30], seed=4)
    model = model_of(motion)
    live = outputs_of_a_replay(
        path, model.declaration, lambda rules, store: WindowEngine(model.task, rules, WINDOW, store)
    )

    assert sorted(live) == sorted(lines_of(path, run_of(motion), run="r"))


def test_an_hdf5_file_has_a_row_for_each_window(motion: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [12, 2], seed=1)
    found = [json.loads(line) for line in lines_of(path, run_of(motion))]
    predict_task(path, tmp_path / "out.h5", run_of(motion))

    with h5py.File(tmp_path / "out.h5") as file:
        names = [name.decode() for name in file["sequence_name"][:]]
        assert [names[row] for row in file["row"][:]] == [each["sequence"] for each in found]
        for name in ("step", "start", "length", "timestamp_ms", "final"):
            assert file[name][:].tolist() == [each[name] for each in found]
        labels = json.loads(file["activity"].attrs["texts"])
        shown = [None if number < 0 else labels[number] for number in file["activity"][:]]
        assert shown == [each["activity"] for each in found]
        assert file["peak"][:].tolist() == [-1 if each["peak"] is None else each["peak"] for each in found]
        assert np.isnan(file["odds"][-1]).all()


def test_a_task_like_casting_scores_its_own_files_and_those_of_castings(tmp_path: Path, run: Run) -> None:
    task = write_task(tmp_path, "strand", LIKE_CASTING)
    write_castings(tmp_path / "c.h5", [120, 40])
    expected = [json.loads(line) for line in run("predict", str(tmp_path / "c.h5")).out.splitlines()]
    found = [json.loads(line) for line in run("predict", str(tmp_path / "c.h5"), "--task", str(task)).out.splitlines()]

    assert len(found) == 3
    assert [each | {"stream": ""} for each in found] == [each | {"stream": ""} for each in expected]


def test_the_command_scores_a_window_task_of_ones_own(motion: Path, tmp_path: Path, run: Run) -> None:
    path = write_samples(tmp_path / "x.h5", [12, 2], seed=1)
    done = run("predict", str(path), "--task", str(motion))

    assert done.status == 0
    assert len(done.out.splitlines()) == len(lines_of(path, run_of(motion)))
