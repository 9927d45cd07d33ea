"""The replay of files of any task, in the one layout, into a list in memory."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import DataError, RecordError, StartupError
from core.tasks.declaration import Declaration
from core.tasks.reading import declare, shipped
from core.wire.samples import sample_decoder
from replay.blocks import Block, Piece
from replay.encode import BlockEncoder
from replay.form import form_of
from replay.run import ReplayError, replay
from tests.clock import START_MS, HandClock
from tests.files import write_signals
from tests.sinks import MemorySink
from tests.strategies import examples

PUMP = {"vibration": {"length": 3, "alias": ["vib"]}, "load": {"missing": "hold"}, "flow": {"length": 1}}
LENGTHS = [5, 1, 9, 3, 12, 7]
NAMES = ["a", "b", "ü", "d", "e", "f"]


def task_of(fields: dict[str, Any], kind: str = "step") -> Declaration:
    values = {"name": "pump", "kind": kind, "fields": fields, "model": {"file": "pump.onnx"}}
    return declare(Path("pump.toml"), values, need_files=False)


def write_pump(path: Path, **more: Any) -> list[list[dict[str, Any]]]:
    """A file of six sequences; returns the fields of each sample, without what it lacks."""
    random = np.random.default_rng(1)
    total, ends = sum(LENGTHS), np.cumsum(LENGTHS)
    vibration = random.normal(size=(total, 3)).astype("f4")
    load, flow = random.uniform(0, 9, total).astype("f4"), random.normal(size=(total, 1)).astype("f4")
    lacking = random.random(total) < 0.4
    lacking[ends - LENGTHS] = False
    load[lacking] = np.nan
    with h5py.File(path, "w") as file:
        file["vib"], file["load"], file["flow"] = vibration, load, flow
        file["sequence_start"], file["sequence_length"] = ends - LENGTHS, LENGTHS
        for name, data in more.items():
            if name == "sampling_rate":
                file.attrs[name] = data
            else:
                file[name] = data
    samples = [
        {"vibration": vibration[at].tolist()}
        | ({} if lacking[at] else {"load": float(load[at])})
        | {"flow": flow[at].tolist()}
        for at in range(total)
    ]
    return [samples[end - length : end] for end, length in zip(ends, LENGTHS, strict=True)]


def play(path: Path, kind: str = "step", sink: MemorySink | None = None, **options: Any) -> Any:
    sink = sink or MemorySink()
    given: dict[str, Any] = {"client_config": {}, "topic_signal": "", "topic_casting": "", "topic": "t"}
    given |= {"data_dir": path.parent / "data", "task": task_of(PUMP, kind), "start_ms": START_MS}
    given |= {"speed": math.inf, "clock": HandClock()}
    return replay(path, sink=sink, **given | options), sink


def by_stream(sink: MemorySink) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for key, value in sink.records:
        found[key.decode()].append(json.loads(value))
    return found


def as_float32(record: dict[str, Any]) -> dict[str, Any]:
    def plain(held: Any) -> Any:
        if isinstance(held, list):
            return [plain(each) for each in held]
        return float(np.float32(held)) if isinstance(held, float) else held

    return {name: plain(held) for name, held in record.items()}


@pytest.mark.parametrize("kind", ["step", "window"])
@pytest.mark.parametrize("streams", [1, 4, 6])
def test_each_stream_sends_its_sequences_as_they_are_in_the_file(tmp_path: Path, streams: int, kind: str) -> None:
    sequences = write_pump(tmp_path / "p.h5", sequence_name=NAMES, sampling_rate=20.0)

    summary, sink = play(tmp_path / "p.h5", kind, streams=streams)

    found = by_stream(sink)
    for stream in range(streams):
        rows = range(stream, len(LENGTHS), streams)
        ends = [
            {"end": step == LENGTHS[row] - 1} if kind == "window" else {}
            for row in rows
            for step in range(LENGTHS[row])
        ]
        expected = [
            sample | {"sequence": NAMES[row], "step": step}
            for row in rows
            for step, sample in enumerate(sequences[row])
        ]
        times = [{"timestamp_ms": START_MS + 50 * at} for at in range(len(expected))]
        wanted = [record | time | end for record, time, end in zip(expected, times, ends, strict=True)]
        assert wanted == [as_float32(record) for record in found[f"pump-{stream:04d}"]]
        assert [list(record) for record in wanted] == [list(record) for record in found[f"pump-{stream:04d}"]]
    assert (summary.kind, summary.sent, summary.sequences) == ("pump", sum(LENGTHS), len(LENGTHS))


def test_every_record_is_a_sample_of_the_task(tmp_path: Path) -> None:
    write_pump(tmp_path / "p.h5")
    decode = sample_decoder(task_of(PUMP))

    _, sink = play(tmp_path / "p.h5", run="r")

    assert {decode(value).sequence for _, value in sink.records} == {f"r-{row}" for row in range(len(LENGTHS))}


def test_streams_and_times_of_the_file_are_kept(tmp_path: Path) -> None:
    times = np.arange(sum(LENGTHS)) * 250 + START_MS
    names = ["left", "right", "left", "left", "right", "third"]
    write_pump(tmp_path / "p.h5", sequence_name=NAMES, stream_name=names, timestamp_ms=times)
    clock, notes = HandClock(), []

    _, sink = play(tmp_path / "p.h5", speed=1.0, clock=clock, on_note=notes.append)

    found = by_stream(sink)
    ends = np.cumsum(LENGTHS)
    for stream in ("left", "right", "third"):
        rows = [row for row, name in enumerate(names) if name == stream]
        assert [NAMES[row] for row in rows for _ in range(LENGTHS[row])] == [each["sequence"] for each in found[stream]]
        own = [int(time) for row in rows for time in times[ends[row] - LENGTHS[row] : ends[row]]]
        assert own == [each["timestamp_ms"] for each in found[stream]]
    longest = max(len(records) for records in found.values())
    assert clock.now_s() - 50.0 == pytest.approx((longest - 1) * 0.25, abs=1e-3)
    assert any("its times say 4 Hz" in note for note in notes)
    with pytest.raises(StartupError, match="streams is 2: the file names 3 streams"):
        play(tmp_path / "p.h5", streams=2)


@pytest.mark.parametrize("fails_after", [0, 1, 7, 20, 36])
def test_a_resumed_replay_sends_the_rest_and_nothing_twice(tmp_path: Path, fails_after: int) -> None:
    write_pump(tmp_path / "p.h5", sequence_name=NAMES, sampling_rate=20.0)
    _, whole = play(tmp_path / "p.h5", streams=2, data_dir=tmp_path / "other")
    first = MemorySink(fails_after)
    with pytest.raises(ReplayError):
        play(tmp_path / "p.h5", sink=first, streams=2)

    done, rest = play(tmp_path / "p.h5", resume=True, start_ms=None)

    assert done.resumed
    parts = [by_stream(sink) for sink in (first, rest)]
    for stream, records in by_stream(whole).items():
        assert records == [record for part in parts for record in part.get(stream, [])]


def test_a_loop_names_each_pass_and_keeps_the_names(tmp_path: Path) -> None:
    write_pump(tmp_path / "p.h5", sequence_name=NAMES, sampling_rate=20.0)
    sink = MemorySink()

    play(tmp_path / "p.h5", sink=sink, loop=True, streams=6, stop=lambda: len(sink.records) > 40)

    assert {"0-a", "1-a", "0-ü", "1-ü"} <= {json.loads(value)["sequence"] for _, value in sink.records}


@pytest.mark.parametrize("name", ["signal", "casting"])
def test_a_task_that_ships_has_files_of_the_one_layout_too(tmp_path: Path, name: str) -> None:
    task = shipped(name)
    samples = {field.name: np.full((4, *([field.length] if field.length else [])), 0.5, "f4") for field in task.fields}
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for field, data in samples.items():
            file[field] = data
        file["sequence_start"], file["sequence_length"] = [0], [4]

    _, sink = play(tmp_path / "s.h5", task=task, run="r")

    decode = sample_decoder(task)
    assert [decode(value).step for _, value in sink.records] == [0, 1, 2, 3]
    assert decode(sink.records[0][1]).values == (0.5,) * 5


FLOATS = st.floats(-1e6, 1e6, width=32)


def test_a_file_of_signals_is_not_sent_as_castings(tmp_path: Path) -> None:
    write_signals(tmp_path / "x.h5", 2, 10)

    with pytest.raises(DataError, match="casting_speed"):
        play(tmp_path / "x.h5", task=shipped("casting"))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@examples(60)
@given(
    end=st.floats(1e-6, 1e9) | st.integers(1, 2**40).map(float), away=st.integers(-2, 2), side=st.sampled_from([1, -1])
)
@example(end=0.09999999999, away=0, side=1)
@example(end=16777219.0, away=0, side=1)
def test_a_number_at_the_end_of_a_range_lies_in_it_offline_and_live_alike(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, end: float, away: int, side: int
) -> None:
    path = tmp_path_factory.mktemp("range") / "x.h5"
    task = task_of({"x": {"range": [-end, end]}})
    value = np.array([side * end]).astype(dtype)
    for _ in range(abs(away)):
        value = (
            value + np.sign(away) if dtype == "i8" else np.nextafter(value, value.dtype.type(np.sign(away) * np.inf))
        )
    with h5py.File(path, "w") as file:
        file["x"] = value
    decode = sample_decoder(task)

    try:
        _, sink = play(path, task=task, run="r")
    except DataError:
        number = json.dumps({"x": float(str(value[0]))}).encode()  # as the float32 would be sent
        with pytest.raises(RecordError):
            decode(number)
    else:
        assert [np.float32(decode(record).x) for _, record in sink.records] == value.astype("f4").tolist()


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Declaration, Block, list[dict[str, Any]]]:
    """A task, two pieces of samples, and the records that they are, step by step."""
    lengths = draw(st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=4))
    fields = {f"f{place}": {"missing": "hold"} | ({"length": n} if n else {}) for place, n in enumerate(lengths)}
    task = task_of(fields, draw(st.sampled_from(["step", "window"])))
    rows, steps = 2, draw(st.integers(1, 3))
    values = np.zeros((rows, steps, sum(n or 1 for n in lengths)), np.float32)
    records = []
    firsts = [draw(st.integers(0, 2**40)) for _ in range(rows)]
    for step in range(steps):
        for row in range(rows):
            record: dict[str, Any] = {}
            for field, place in task.slices().items():
                numbers = draw(st.lists(FLOATS, min_size=place.stop - place.start, max_size=place.stop - place.start))
                if draw(st.booleans()):
                    values[row, step, place] = numbers
                    record[field] = numbers if fields[field].get("length") else numbers[0]
                else:
                    values[row, step, place] = np.nan
            record |= {"sequence": f"q{row}", "step": firsts[row] + step, "timestamp_ms": START_MS + step}
            if task.kind == "window":
                record["end"] = row == 1 and step == steps - 1
            records.append(record)
    pieces = [Piece(row, row, firsts[row], values[row], ends=row == 1) for row in range(rows)]
    return task, Block(0, steps, pieces, True), records


@given(blocks())
def test_records_of_any_form_hold_what_the_file_has(made: Any) -> None:
    task, block, expected = made
    encoder = BlockEncoder(form_of(task), block, [b"a", b"b"], ["q0", "q1"])

    records = encoder.records(0, [START_MS + step for step in range(block.steps)], np.zeros(2, np.int64))

    found = [json.loads(value) for _, value in records]
    assert [as_float32(record) for record in found] == expected
    assert [list(record) for record in found] == [list(record) for record in expected]
    assert [key for key, _ in records] == [b"a", b"b"] * block.steps
