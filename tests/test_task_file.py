"""A file of any task: whatever the layout, its samples come out as records would hold them, or it is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.opening import ChangedError
from core.data.task_file import TaskFile, TaskSequence
from core.errors import DataError
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration, shipped
from tests.files import write_castings, write_signals
from tests.strategies import examples

PUMP = """
name = "pump"
kind = "step"
[fields]
vibration = { length = 3, alias = ["vib"], range = [-50, 50] }
load = { missing = "hold", range = [0, 200] }
rate = {}
[model]
file = "pump.onnx"
"""
N = 12


def task(folder: Path, text: str = PUMP) -> Declaration:
    path = folder / "pump.toml"
    path.write_text(text)
    return read_declaration(path, need_files=False)


@pytest.fixture
def pump(tmp_path: Path) -> Declaration:
    return task(tmp_path)


def samples(count: int = N) -> dict[str, Any]:
    numbers = np.arange(count, dtype="f4")
    return {"vibration": np.stack([numbers, -numbers, numbers / 8], axis=1), "load": numbers + 100, "rate": numbers * 2}


def write(path: Path, datasets: dict[str, Any], **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
        file.attrs.update(attributes)
    return path


def refused(path: Path, declaration: Declaration) -> str:
    with pytest.raises(DataError) as caught:
        TaskFile(path, declaration).close()
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_a_file_without_sequences_is_one(tmp_path: Path, pump: Declaration) -> None:
    notes: list[str] = []
    with TaskFile(write(tmp_path / "x.h5", samples()), pump, notes.append) as file:
        assert file.sequences == (TaskSequence("", 0, N),)
        assert (file.rate_hz, file.samples, file.is_named) == (None, N, False)
        assert file.times(0, N) is None
        expected = np.column_stack([samples()[name] for name in ("vibration", "load", "rate")])
        assert np.array_equal(file.values(3, 5), expected[3:8])
        assert file.values(0, N).dtype == np.float32

    (note,) = notes
    assert "tells no sampling rate: 1 Hz is assumed" in note


def test_names_times_and_the_rate_are_the_files(tmp_path: Path, pump: Declaration) -> None:
    more = {
        "sequence_start": [6, 0],
        "sequence_length": [6, 4],
        "sequence_name": ["b", "a"],
        "stream_name": ["p-1", "p-2"],
        "timestamp_ms": 1_700_000_000_000 + np.arange(N) * 10,
    }
    with TaskFile(write(tmp_path / "x.h5", samples() | more, sampling_rate=50.0), pump) as file:
        assert file.sequences == (TaskSequence("b", 6, 6, "p-1"), TaskSequence("a", 0, 4, "p-2"))
        assert file.rate_hz == 50.0
        assert file.period_ms == 20.0
        assert np.array_equal(file.times(2, 3), more["timestamp_ms"][2:5])


def test_two_streams_may_have_a_sequence_of_one_name(tmp_path: Path, pump: Declaration) -> None:
    more = {"sequence_start": [0, 6], "sequence_length": [6, 6], "sequence_name": ["a", "a"]}
    path = write(tmp_path / "x.h5", samples() | more)
    assert "rows 0 and 1 are both 'a'" in refused(path, pump)

    with TaskFile(write(path, samples() | more | {"stream_name": ["p-1", "p-2"]}), pump) as file:
        assert [sequence.stream for sequence in file.sequences] == ["p-1", "p-2"]


@pytest.mark.parametrize("dtype", ["i1", "u2", ">i4", "f2", ">f8", "?"])
def test_numbers_of_any_type_are_read(tmp_path: Path, pump: Declaration, dtype: str) -> None:
    held = samples() | {"rate": (np.arange(N) % 2).astype(dtype)}
    with TaskFile(write(tmp_path / "x.h5", held), pump) as file:
        assert file.values(0, N)[:, 4].tolist() == [0.0, 1.0] * 6


def test_a_dataset_under_an_alias_counts_where_there_is_none_of_the_name(tmp_path: Path, pump: Declaration) -> None:
    held = samples()
    held["vib"] = held["vibration"] + 1
    path = write(tmp_path / "x.h5", held)
    with TaskFile(path, pump) as file:
        assert file.values(0, 1)[0, 0] == 0.0
    del held["vibration"]
    with TaskFile(write(path, held), pump) as file:
        assert file.values(0, 1)[0, 0] == 1.0


def _set(name: str, place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        held[name] = np.array(held[name])
        held[name][place] = value

    return change


def _put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda held: held.update({name: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.pop("rate"), "dataset 'rate': is missing (the file holds load, vibration)"),
        (_set("vibration", (4, 1), 50.5), "dataset 'vibration': value at [4, 1] is 50.5: must be within 50"),
        (_set("load", 3, -1.0), "dataset 'load': value at [3] is -1.0: must be from 0 to 200"),
        (_set("rate", 2, np.nan), "dataset 'rate': value at [2] is nan: must be finite"),
        (_set("rate", 2, np.inf), "must be finite"),
        (_set("load", 2, np.inf), "must be finite"),
        (_set("vibration", 0, np.nan), "must be finite"),
        (_put("rate", np.full(N, np.iinfo("i4").min, "i4")), "value at [0] is -2147483648: must be within 1e+06"),
        (_put("rate", np.zeros(N - 1)), "'rate': has 11 samples, 'vibration' has 12"),
        (_put("rate", np.zeros((N, 2))), "must have 1 axes"),
        (_put("rate", ["a"] * N), "numbers are needed"),
        (_put("vibration", np.zeros((N, 2))), "has 2 numbers a sample (shape (12, 2)), the field has 3"),
        (_put("vibration", np.zeros((3, N))), "the field has 3: MATLAB stores matrices turned round"),
        (_put("vibration", np.zeros(N)), "has shape (12,): must have 2 axes"),
        (_set("load", 0, np.nan), "'load': sample 0 has no value, and begins a sequence"),
        (_put("sequence_start", [0]), "'sequence_length': is missing"),
        (_put("cast_length", [N]), "'cast_start': is missing"),
        (_put("timestamp_ms", np.arange(N)), "value at [0] is 0: must be milliseconds since 1970, from the year 2000"),
        (
            _put("timestamp_ms", 1.7e12 + np.arange(N) / 2),
            "[1] is 1700000000000.5: must be whole milliseconds",
        ),
        (_put("timestamp_ms", [1.7e12]), "must be (12,)"),
        (_put("stream_name", [""]), "row 0 is '': a name has 1 to 255 bytes"),
        (_put("fs", [10.0]), None),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_line(
    tmp_path: Path, pump: Declaration, change: Callable[[dict[str, Any]], None], said: str | None
) -> None:
    held = samples()
    change(held)
    path = write(tmp_path / "x.h5", held)
    if said is None:
        TaskFile(path, pump).close()
    else:
        assert said in refused(path, pump)


@pytest.mark.parametrize(
    ("start", "length", "said"),
    [
        ([0, 11], [5, 2], "the sequence must lie in 0..12"),
        ([0], [0], "a sequence has at least one step"),
        ([0.5], [2], "must be whole numbers"),
        ([np.iinfo("i8").max], [1], "must lie in"),
        ([0, 1], [1], "has shape (1,): must be (2,)"),
    ],
)
def test_sequences_lie_in_the_file(tmp_path: Path, pump: Declaration, start: Any, length: Any, said: str) -> None:
    held = samples() | {"sequence_start": start, "sequence_length": length}
    assert said in refused(write(tmp_path / "x.h5", held), pump)


def test_rates_that_contradict_each_other_are_refused(tmp_path: Path, pump: Declaration) -> None:
    path = write(tmp_path / "x.h5", samples() | {"fs": 20.0}, sampling_rate=10.0)
    assert "different sampling rates: it is 20, the attribute sampling_rate is 10" in refused(path, pump)


def test_what_was_not_measured_is_refused_or_held(tmp_path: Path, pump: Declaration) -> None:
    path = write(tmp_path / "x.h5", samples())
    with h5py.File(path, "r+") as file:
        file["load"][3], file["load"][4] = -9999.0, np.nan
        file["load"].attrs["_FillValue"] = np.float32(-9999.0)
    with TaskFile(path, pump) as file:
        assert np.flatnonzero(np.isnan(file.values(0, N)[:, 3])).tolist() == [3, 4]
    with h5py.File(path, "r+") as file:
        file["rate"].attrs["_FillValue"] = np.float32(4.0)

    assert "value at [2] is 4.0: that is its _FillValue, so nothing was measured there" in refused(path, pump)


def test_an_array_is_lacking_as_a_whole(tmp_path: Path) -> None:
    pump = task(tmp_path, PUMP.replace("range = [-50, 50] }", 'missing = "hold" }'))
    held = samples()
    held["vibration"][5] = np.nan
    path = write(tmp_path / "x.h5", held)
    with TaskFile(path, pump) as file:
        assert np.isnan(file.values(5, 1)[0]).tolist() == [True] * 3 + [False] * 2
    held["vibration"][7, 1] = np.nan

    assert "some numbers of sample 7 are lacking" in refused(write(path, held), pump)


def test_packed_values_are_unpacked_and_chunks_that_nobody_wrote_refused(tmp_path: Path, pump: Declaration) -> None:
    path = write(tmp_path / "x.h5", samples() | {"rate": np.arange(N, dtype="i2")})
    with h5py.File(path, "r+") as file:
        file["rate"].attrs.update({"scale_factor": 0.5, "add_offset": 10.0})
    with TaskFile(path, pump) as file:
        assert file.values(0, 3)[:, 4].tolist() == [10.0, 10.5, 11.0]
    with h5py.File(path, "r+") as file:
        del file["rate"]
        file.create_dataset("rate", (N,), "f4", chunks=(4,))[:4] = 1.0

    assert "'rate': was never written from [4] on" in refused(path, pump)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path, pump: Declaration) -> None:
    path = write(tmp_path / "x.h5", samples())
    with TaskFile(path, pump) as file:
        os.utime(path, ns=(1, 1))
        with pytest.raises(ChangedError):
            file.values(0, 1)


def test_a_signals_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    mixed = write_signals(path, 3, 7)
    with TaskFile(path, shipped("signal")) as file:
        assert file.sequences == tuple(TaskSequence("", row * 7, 7) for row in range(3))
        assert file.period_ms == 1.0
        for start, count in ((0, 21), (5, 11), (7, 7), (20, 1)):
            values = file.values(start, count)
            assert np.array_equal(values[:, 0], mixed.reshape(-1)[start : start + count])
            rows = np.arange(start, start + count) // 7
            assert np.array_equal(values[:, 1:], np.eye(4)[rows % 4])


def test_a_castings_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    casts = write_castings(path, [4, 6, 5])
    with h5py.File(path, "r+") as file:
        file["sequence"] = ["a", "b", "c"]
    with TaskFile(path, shipped("casting")) as file:
        assert [(each.name, each.count) for each in file.sequences] == [("a", 4), ("b", 6), ("c", 5)]
        for sequence, cast in zip(file.sequences, casts, strict=True):
            assert np.array_equal(file.values(sequence.start, sequence.count), cast)


@examples(30)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_part_of_any_chunking_is_the_whole_files(
    tmp_path_factory: pytest.TempPathFactory, count: int, width: int, chunk: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("file")
    wide = task(folder, f'name="w"\nkind="step"\n[fields]\na={{length={width}}}\nb={{}}\n[model]\nfile="m.onnx"\n')
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(count, width)), random.normal(size=count).astype("f4")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("a", data=a, chunks=(min(chunk, count), width), compression="gzip")
        file["b"] = b[None, :]  # as MATLAB has a row
    start = int(random.integers(count))
    length = int(random.integers(1, count - start + 1))
    with TaskFile(folder / "x.h5", wide) as opened:
        expected = np.column_stack([a.astype("f4"), b])[start : start + length]
        assert np.array_equal(opened.values(start, length), expected)
