"""A declared task offline: the lines that the worker publishes for the same samples, byte for byte."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import cache
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
from core.engines.base import Engine
from core.engines.declared.stepper import StepModel
from core.engines.results import StateStore, StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.engines.steps import StepEngine
from core.errors import DataError, StartupError
from core.models.factory import load_model
from core.models.shipped import ModelKind, checkpoint_path
from core.native.records import Record
from core.offline import steps
from core.offline.steps import StepModelRun
from core.offline.task_predict import predict_task
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration, shipped
from core.wire.records import SENSORS
from tests import onnx_models
from tests.commands import Run
from tests.files import write_castings, write_signals
from tests.pump import SlowPump, rounded, slow_pump, write_gru_pump, write_pump, write_scored_native_pump
from tests.replayed import outputs_of_a_replay
from tests.strategies import MemoryTable, examples

OVERLAPPING = """
name = "audio"
kind = "step"
[fields]
sound = { length = 2, overlap = 1, missing = "hold", normal = [-1, 1] }
[model]
file = "audio.onnx"
[outputs]
y = { names = ["a", "b"] }
"""
START_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pump(tmp_path_factory.mktemp("pump")).parent
    (folder / "audio.toml").write_text(OVERLAPPING)
    (folder / "audio.onnx").write_bytes(onnx_models.gru())
    return folder


@cache
def model_of(folder: Path, name: str = "pump") -> StepModel:
    declaration = read_declaration(folder / f"{name}.toml")
    return StepModel(declaration, declaration.model.file.read_bytes(), "any")


def run_of(folder: Path, name: str = "pump") -> StepModelRun:
    model = model_of(folder, name)
    return StepModelRun(model.declaration, model.fingerprint, model.outputs.fields, model.states())


def write_samples(path: Path, counts: list[int], seed: int, lacking: str = "load", **more: Any) -> Path:
    """A file of pumps, of which some samples lack a field; the sequences do not lie in their order."""
    random, total = np.random.default_rng(seed), sum(counts)
    held: dict[str, Any] = {
        "vibration": random.normal(scale=1.5, size=(total, 2)).astype("f4"),
        "load": random.uniform(0, 100, total).astype("f4"),
        "sound": random.normal(size=(total, 2)).astype("f4"),
    }
    order = random.permutation(len(counts))
    lengths = np.array(counts)[order]
    starts = (np.cumsum(counts) - counts)[order]
    gone = random.random(total) < 0.3
    gone[starts] = False
    held[lacking][gone] = np.nan
    with h5py.File(path, "w") as file:
        for name, data in held.items():
            file.create_dataset(name, data=data, chunks=(min(7, total), *data.shape[1:]))
        file["sequence_start"], file["sequence_length"] = starts, lengths
        file["timestamp_ms"] = START_MS + np.arange(total) * 10
        for name, data in more.items():
            file[name] = data
    return path


def lines_of(path: Path, model: StepModelRun, **options: Any) -> list[bytes]:
    out = io.BytesIO()
    done = predict_task(path, out, model, **options)
    lines = out.getvalue().splitlines()
    assert done.outputs == len(lines)
    return lines


def samples_of(path: Path, declaration: Declaration) -> list[tuple[str, dict[str, Any]]]:
    """The samples as a replay sends them, each with its row's number as stream: a lacking field is left out."""
    found = []
    with TaskFile(path, declaration) as file:
        for row, sequence in enumerate(file.sequences):
            times = file.times(sequence.start, sequence.count)
            assert times is not None
            for step, numbers in enumerate(file.values(sequence.start, sequence.count).tolist()):
                fields = declaration.by_field(numbers)
                there = {name: value for name, value in fields.items() if not np.isnan(value).any()}
                found.append((f"{row}", there | {"step": step, "timestamp_ms": int(times[step])}))
    return found


def stepped(model: StepModel, path: Path) -> list[bytes]:
    """What the worker publishes for the samples of a file, each row a stream without a sequence's name."""
    records = [
        Record(0, offset, START_MS, row.encode(), json.dumps(sample).encode())
        for offset, (row, sample) in enumerate(samples_of(path, model.declaration))
    ]
    engine = StepEngine(model.task, model.states(), StreamRules(), MemoryTable().recovered())
    result = engine.run(records)
    assert not result.dead_letters
    return [value for _, value, _, _ in result.outputs[0]]


def renamed(lines: list[bytes]) -> list[bytes]:
    """Lines with the row as the stream, and no sequence, as `stepped` has them."""
    found = []
    for line in lines:
        told = json.loads(line)
        names = json.dumps({"stream": told["stream"], "sequence": told["sequence"]}, separators=(",", ":")).encode()
        row = told["sequence"].rpartition("-")[2]
        ours = json.dumps({"stream": row, "sequence": ""}, separators=(",", ":")).encode()
        assert line.startswith(names[:-1])
        found.append(ours[:-1] + line[len(names) - 1 :])
    return found


@examples(25)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
    st.sampled_from([5, 60, 1 << 20]),
    st.sampled_from([20, 1 << 28]),
    st.sampled_from([0, 1 << 22]),
    st.sampled_from(["pump", "audio"]),
)
def test_a_file_gives_what_the_worker_publishes_for_its_samples(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    seed: int,
    block: int,
    group: int,
    memory: int,
    name: str,
) -> None:
    lacking = "load" if name == "pump" else "sound"
    path = write_samples(tmp_path_factory.mktemp("file") / "x.h5", counts, seed, lacking)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "BLOCK_NUMBERS", block)
        patch.setattr(steps, "GROUP_NUMBERS", group)
        patch.setattr(steps, "IN_MEMORY", memory)
        patch.setattr(steps, "PART_STEPS", 7)
        lines = lines_of(path, run_of(folder, name))

    assert renamed(lines) == stepped(model_of(folder, name), path)


@pytest.mark.parametrize("streams", [None, 1, 2])
@pytest.mark.parametrize("timed", [True, False])
def test_a_replay_through_the_worker_gives_the_same_bytes(
    folder: Path, tmp_path: Path, streams: int | None, timed: bool
) -> None:
    path = write_samples(tmp_path / "x.h5", [9, 1, 14, 6, 3], seed=8)
    with h5py.File(path, "r+") as file:
        if not timed:
            del file["timestamp_ms"]
            file.attrs["sampling_rate"] = 100.0
    model = model_of(folder)
    live = outputs_of_a_replay(
        path,
        model.declaration,
        lambda rules, store: StepEngine(model.task, model.states(), rules, store),
        streams=streams,
    )
    offline = lines_of(path, run_of(folder), run="r", streams=streams, start_ms=START_MS)

    assert sorted(live) == sorted(offline)


@pytest.mark.parametrize(
    "write", [write_pump, write_gru_pump, write_scored_native_pump], ids=["onnx", "a GRU's weights", "a forecaster"]
)
def test_a_file_gives_what_plain_python_computes(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = write(tmp_path).parent
    path = write_samples(tmp_path / "x.h5", [30, 1, 12], seed=5)
    pumps: dict[str, SlowPump] = {}
    expected = []
    for row, sample in samples_of(path, model_of(folder).declaration):
        slow = pumps.setdefault(row, slow_pump(folder)).step(f"pump-000{row}", sample)
        expected.append(slow | {"sequence": f"offline-{row}"})

    found = [json.loads(line) for line in lines_of(path, run_of(folder))]
    assert rounded(list(enumerate(found))) == rounded(list(enumerate(expected)))


def test_streams_and_sequences_keep_the_names_of_the_file(folder: Path, tmp_path: Path) -> None:
    more = {"stream_name": ["p-2", "p-1"], "sequence_name": ["monday", "tuesday"]}
    path = write_samples(tmp_path / "x.h5", [2, 2], seed=1, **more)

    def names(**options: Any) -> list[tuple[str, str]]:
        found = [json.loads(line) for line in lines_of(path, run_of(folder), **options)]
        return [(each["stream"], each["sequence"]) for each in found]

    assert names() == [("p-2", "monday")] * 2 + [("p-1", "tuesday")] * 2
    with pytest.raises(StartupError, match="streams is 3: the file names 2 streams"):
        names(streams=3)
    assert names(run="w7") == [("p-2", "w7-monday")] * 2 + [("p-1", "w7-tuesday")] * 2


def test_without_times_event_time_goes_on_within_a_stream(folder: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [2, 3, 2], seed=1)
    with h5py.File(path, "r+") as file:
        del file["timestamp_ms"]
        file.attrs["sampling_rate"] = 100.0
        counts = file["sequence_length"][:].tolist()
    found = [json.loads(line) for line in lines_of(path, run_of(folder), streams=2, start_ms=START_MS)]
    first, second, third = counts

    assert {each["stream"] for each in found} == {"pump-0000", "pump-0001"}
    times = [each["timestamp_ms"] - START_MS for each in found]
    assert times == [10 * place for place in [*range(first), *range(second), *range(first, first + third)]]


def test_an_hdf5_file_has_no_number_where_no_forecast_was_made_yet(tmp_path: Path) -> None:
    folder = write_scored_native_pump(tmp_path).parent
    path = write_samples(tmp_path / "x.h5", [3], seed=2)

    predict_task(path, tmp_path / "out.h5", run_of(folder))

    with h5py.File(tmp_path / "out.h5") as file:
        assert "ahead" not in file
        for name in ("expected", "surprise", "ratio"):
            assert np.isfinite(file[name][:]).tolist() == [False, True, True]
        assert file["leading"][:].tolist() == [-1, 0, 0]
        assert json.loads(file["leading"].attrs["texts"]) == ["vibration_1"]


def test_an_hdf5_file_of_outputs_holds_what_the_lines_say(folder: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [5, 3], seed=2)
    found = [json.loads(line) for line in lines_of(path, run_of(folder))]
    predict_task(path, tmp_path / "out.h5", run_of(folder))

    with h5py.File(tmp_path / "out.h5") as file:
        assert (file.attrs["task"], file.attrs["model"]) == ("pump", model_of(folder).fingerprint)
        starts, lengths = file["sequence_start"][:].tolist(), file["sequence_length"][:].tolist()
        names = [name.decode() for name in file["sequence_name"][:]]
        rows = [name for name, length in zip(names, lengths, strict=True) for _ in range(length)]
        assert starts == [0, lengths[0]]
        assert rows == [each["sequence"] for each in found]
        assert file["timestamp_ms"][:].tolist() == [each["timestamp_ms"] for each in found]
        assert json.loads(file["forecast"].attrs["names"]) == ["de", "nde"]
        forecasts = [[each["forecast"]["de"], each["forecast"]["nde"]] for each in found]
        assert np.array_equal(file["forecast"][:], np.array(forecasts, "f4"))
        scores = [np.nan if each["score"] is None else each["score"] for each in found]
        assert np.array_equal(file["score"][:], np.array(scores, "f4"), equal_nan=True)
        assert json.loads(file["alarm"].attrs["texts"]) == [False, True]
        assert file["alarm"][:].tolist() == [each["alarm"] for each in found]


def test_values_that_are_not_normal_are_told_with_their_place(folder: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [4], seed=3, lacking="sound")
    with h5py.File(path, "r+") as file:
        file["sound"][...] = 0.5
        file["sound"][2] = [0.25, -3.0]
    notes: list[str] = []
    lines_of(path, run_of(folder, "audio"), on_note=notes.append)

    assert notes == [
        "sound: 1 of 4 samples are outside the normal range: [0.25, -3] in row 0 at step 2, expected -1 to 1"
    ]


def test_what_cannot_be_used_writes_nothing(folder: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path / "x.h5", [4], seed=3)
    run = run_of(folder)
    with pytest.raises(DataError, match="is the file to read"):
        predict_task(path, path, run)
    with pytest.raises(DataError, match="is the file to read"):
        predict_task(path, folder / "pump.onnx", run)
    with pytest.raises(StartupError, match="streams is 0"):
        predict_task(path, tmp_path / "out.jsonl", run, streams=0)
    with h5py.File(path, "r+") as file:
        file["load"][1] = 101.0
    with pytest.raises(DataError, match="must be from 0 to 100"):
        predict_task(path, tmp_path / "out.jsonl", run)

    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_changes_in_between_is_told_with_what_was_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_samples(tmp_path / "x.h5", [4, 4], seed=3)

    def change(done: int, total: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(steps, "GROUP_NUMBERS", 1)
    with pytest.raises(DataError, match="4 were written before"):
        predict_task(path, io.BytesIO(), run_of(folder), on_progress=change)


def test_the_command_predicts_a_task_of_ones_own(folder: Path, tmp_path: Path, run: Run) -> None:
    path = write_samples(tmp_path / "x.h5", [3, 4], seed=3)
    done = run("predict", str(path), "--task", str(folder / "pump.toml"), "--run", "r")

    assert done.status == 0
    assert [json.loads(line)["sequence"] for line in done.out.splitlines()] == [
        json.loads(line)["sequence"] for line in lines_of(path, run_of(folder), run="r")
    ]
    assert f"7 outputs of model {model_of(folder).fingerprint}" in done.err


def test_the_command_says_what_is_wrong(folder: Path, tmp_path: Path, run: Run) -> None:
    path = write_samples(tmp_path / "x.h5", [3], seed=3)
    castings = tmp_path / "c.h5"
    write_castings(castings, [120])

    without = run("predict", str(path))
    other = run("predict", str(castings), "--task", "signal")
    unknown = run("predict", str(path), "--task", "signl")

    assert (without.status, other.status, unknown.status) == (2, 2, 2)
    assert "--task" in without.err
    assert "dataset 'signal': is missing" in other.err
    assert "'signl'" in unknown.err
    assert "signal" in unknown.err


def test_signals_in_the_layout_of_any_task_are_predicted_as_those_of_a_signals_file(tmp_path: Path, run: Run) -> None:
    write_signals(tmp_path / "s.h5", 3, 40)
    with h5py.File(tmp_path / "s.h5") as signals, h5py.File(tmp_path / "x.h5", "w") as file:
        file["signal"] = signals["mixed_signals"][:].reshape(-1)
        file["condition_vector"] = np.repeat(signals["condition_vectors"][:], 40, axis=0)
        file["sequence_start"], file["sequence_length"] = [0, 40, 80], [40, 40, 40]
    expected = run("predict", str(tmp_path / "s.h5"))
    found = run("predict", str(tmp_path / "x.h5"), "--task", "signal")

    assert (expected.status, found.status) == (0, 0)
    lines = [[json.loads(line) for line in done.out.splitlines()] for done in (expected, found)]
    assert rounded(list(enumerate(lines[1]))) == rounded(list(enumerate(lines[0])))
    assert run("predict", str(tmp_path / "s.h5"), "--task", "signal").out == expected.out


def write_shipped(path: Path, task: Declaration, counts: list[int]) -> Path:
    """A file of a task that ships in the layout of any task, whose streams, sequences and times are its own."""
    random, total, rows = np.random.default_rng(3), sum(counts), len(counts)
    with h5py.File(path, "w") as file:
        for field in task.fields:
            file[field.name] = random.normal(size=(total, field.length) if field.length else total).astype("f4")
        file["sequence_start"], file["sequence_length"] = np.cumsum(counts) - counts, counts
        file["sequence_name"] = [f"heat-{row}" for row in range(rows)]
        file["stream_name"] = [f"line-{row % 2}" for row in range(rows)]
        file["timestamp_ms"] = START_MS + np.cumsum(random.integers(1, 5000, total))
    return path


@pytest.mark.parametrize(("name", "options"), [("signal", True), ("casting", True), ("casting", False)])
def test_a_task_that_ships_has_the_names_and_times_of_the_file_as_a_replay_of_it_has(
    tmp_path: Path, run: Run, name: str, options: bool
) -> None:
    task = shipped(name)
    path = write_shipped(tmp_path / "x.h5", task, [160, 40, 100, 131])
    kind: ModelKind = "signal" if name == "signal" else "defect"
    model: Any = load_model(checkpoint_path(kind), kind)

    def engine(rules: StreamRules, store: StateStore) -> Engine[Any]:
        signal = name == "signal"
        return SignalStepper(model, rules, store) if signal else CastScorer(model, rules, WindowRules(), store)

    live = outputs_of_a_replay(path, task, engine)

    done = run("predict", str(path), "--run", "r", *(["--task", name] if options else []))

    assert done.status == 0
    for offline, online in zip(in_order(done.out.splitlines()), in_order(live), strict=True):
        for number in ("prediction", "probability"):  # another batch may give other last bits
            assert offline.pop(number, None) == pytest.approx(online.pop(number, None), abs=1e-6)
        assert offline == online


def in_order(lines: Sequence[str | bytes]) -> list[dict[str, Any]]:
    outputs = [json.loads(line) for line in lines]
    return sorted(outputs, key=lambda output: (output["sequence"], output["step"], output.get("final", False)))


def test_values_far_outside_the_training_are_told_also_of_a_file_in_the_layout_of_any_task(
    tmp_path: Path, run: Run
) -> None:
    path = write_shipped(tmp_path / "x.h5", shipped("casting"), [120])

    told = run("predict", str(path)).err

    assert "mold_temperature: 120 of 120 samples are far outside what the model was trained on" in told


def test_casts_in_the_layout_of_any_task_are_scored_one_by_one(tmp_path: Path, run: Run) -> None:
    write_castings(tmp_path / "c.h5", [120, 40])
    with h5py.File(tmp_path / "c.h5") as casts, h5py.File(tmp_path / "x.h5", "w") as file:
        for name in SENSORS:
            file[name] = casts[name][:]
        file["sequence_start"], file["sequence_length"] = casts["cast_start"][:], casts["cast_length"][:]
    expected = run("predict", str(tmp_path / "c.h5"), "--task", "casting")

    assert len(expected.out.splitlines()) == 3
    for options in ((), ("--task", "casting")):
        assert run("predict", str(tmp_path / "x.h5"), *options).out == expected.out
