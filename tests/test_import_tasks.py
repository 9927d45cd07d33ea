"""Tables of a declared task: CSV, Parquet and Feather become the same file; bad cells are named by row and column."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.csv import arrow
from core.data.csv.import_csv import ImportOptions, import_csv
from core.data.csv.tasks import TaskSummary
from core.data.task_file import TaskFile
from core.errors import DataError
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration, shipped
from tests.commands import Run
from tests.strategies import examples

pyarrow = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")

PUMP = """
name = "pump"
kind = "step"
[fields]
vibration = { length = 2, range = [-50, 50], alias = ["vib"] }
load = { missing = "hold", columns = ["Load [%]"] }
[model]
file = "pump.onnx"
"""
ENDINGS = (".csv", ".parquet", ".feather")
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)


def task(folder: Path) -> Declaration:
    (folder / "pump.toml").write_text(PUMP)
    return read_declaration(folder / "pump.toml", need_files=False)


@pytest.fixture
def pump(tmp_path: Path) -> Declaration:
    return task(tmp_path)


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A table; None is an empty cell."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path
    made = pyarrow.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(made, path, row_group_size=7)
    else:
        feather.write_feather(made, str(path), chunksize=5)
    return path


def table(rows: int = 6, **more: list[Any]) -> dict[str, list[Any]]:
    numbers = [float(row) for row in range(rows)]
    held = {"vibration_1": numbers, "vibration_2": [-number / 4 for number in numbers], "Load [%]": [50.0] * rows}
    return held | more


def imported(path: Path, declaration: Declaration, **options: Any) -> tuple[Path, TaskSummary, list[str]]:
    out, notes = path.with_name("out.h5"), list[str]()
    done = import_csv(path, out, options=ImportOptions(declaration=declaration, **options), on_notice=notes.append)
    assert isinstance(done, TaskSummary)
    return out, done, notes


def refused(path: Path, declaration: Declaration, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        imported(path, declaration, **options)
    assert not path.with_name("out.h5").exists()
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_becomes_a_file_that_the_task_reads(tmp_path: Path, pump: Declaration, ending: str) -> None:
    times = [(BEGIN + timedelta(milliseconds=20 * row)).isoformat() for row in range(6)]
    columns = table(stream=["p-1"] * 4 + ["p-2"] * 2, sequence=["a", "a", "b", "b", "a", "a"], timestamp=times)
    columns["Load [%]"][1] = None
    out, done, notes = imported(write(tmp_path / f"x{ending}", columns), pump)

    assert (done.sequences, done.samples, done.lacking, done.times) == (3, 6, 1, True)
    assert done.sampling_rate == 50.0
    assert notes == []
    with TaskFile(out, pump) as file:
        assert [(each.stream, each.name, each.count) for each in file.sequences] == [
            ("p-1", "a", 2),
            ("p-1", "b", 2),
            ("p-2", "a", 2),
        ]
        values = file.values(0, 6)
        assert np.array_equal(values[:, :2], np.column_stack([columns["vibration_1"], columns["vibration_2"]]))
        assert np.isnan(values[:, 2]).tolist() == [False, True, False, False, False, False]
        begin = int(BEGIN.timestamp() * 1000)
        assert np.array_equal(file.times(0, 6), begin + 20 * np.arange(6))


@examples(15)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([1, 7, 8192]))
def test_all_kinds_of_tables_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int, batch: int
) -> None:
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(seed)
    pump = task(folder)
    names = random.choice(["a", "b", "c"], rows).tolist()
    steps = {name: iter(range(rows)) for name in "abc"}
    columns: dict[str, list[Any]] = {
        "vib_1": random.uniform(-50, 50, rows).tolist(),
        "vib_2": random.integers(-50, 50, rows).tolist(),
        "Load [%]": random.normal(size=rows).astype("f4").tolist(),
        "sequence": names,
        "step": [next(steps[name]) for name in names],
    }
    order = random.permutation(rows)
    columns = {name: [values[place] for place in order] for name, values in columns.items()}
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BATCH_ROWS", batch)
        for ending in ENDINGS:
            out, _, _ = imported(write(folder / f"x{ending}", columns), pump)
            with h5py.File(out) as file:
                found.append({name: np.asarray(file[name]).tolist() for name in file})

    assert found[0].keys() == {"vibration", "load", "sequence_start", "sequence_length", "sequence_name"}
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("vibration_2", "x", "vibration_2 is 'x': must be a number"),
        ("vibration_2", None, "vibration_2 is empty"),
        ("vibration_1", float("nan"), "vibration_1 is nan: must be a finite number"),
        ("vibration_1", float("inf"), "vibration_1 is inf: must be a finite number"),
        ("vibration_1", 50.5, "vibration_1 is 50.5: must be from -50 to 50"),
        ("step", -1, "step is '-1': must be a whole number from 0"),
        ("step", None, "step is empty"),
        ("sequence", "n" * 300, "sequence is"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(
    tmp_path: Path, pump: Declaration, ending: str, column: str, value: Any, said: str
) -> None:
    columns = table(step=list(range(6)), sequence=["a"] * 6)
    columns[column][3] = value
    if isinstance(value, str) and column != "sequence":
        columns[column] = [each if each is None else str(each) for each in columns[column]]
    path = write(tmp_path / f"x{ending}", columns)

    where = "line 5" if ending == ".csv" else "row 3"
    assert f"{where}: {said}" in refused(path, pump)
    _, done, _ = imported(path, pump, skip_bad=True)
    assert (done.samples, done.left_out.lines) == (5, 1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_columns_that_are_lacking_are_named(tmp_path: Path, pump: Declaration, ending: str) -> None:
    columns = table()
    columns["second"] = columns.pop("vibration_2")
    path = write(tmp_path / f"x{ending}", columns)

    assert "lacks the columns vibration_2" in refused(path, pump)
    out, _, _ = imported(path, pump, renamed={"vibration_2": "second"})
    with TaskFile(out, pump) as file:
        assert file.values(4, 1)[0, 1] == -1.0


@pytest.mark.parametrize("kind", [pyarrow.list_(pyarrow.float64()), pyarrow.list_(pyarrow.float32(), 2)])
def test_a_column_of_lists_is_an_array(tmp_path: Path, pump: Declaration, kind: Any) -> None:
    lists = pyarrow.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], kind)
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"vib": lists, "Load [%]": [1.0, 2.0, 3.0]}), path)
    out, _, _ = imported(path, pump)

    with TaskFile(out, pump) as file:
        assert file.values(0, 3).tolist() == [[1.0, 2.0, 1.0], [3.0, 4.0, 2.0], [5.0, 6.0, 3.0]]


def test_a_list_of_another_length_is_named_by_row(tmp_path: Path, pump: Declaration) -> None:
    path = tmp_path / "x.parquet"
    lists = [[1.0, 2.0], [3.0], None]
    parquet.write_table(pyarrow.table({"vibration": lists, "Load [%]": [1.0, 2.0, 3.0]}), path)
    said = refused(path, pump)

    assert "row 1: vibration_1 is 'a list of 1, not 2': must be a number" in said
    assert "row 2: vibration_1 is empty" in said


def test_columns_that_are_not_used_may_hold_anything(tmp_path: Path, pump: Declaration) -> None:
    path = tmp_path / "x.parquet"
    held = pyarrow.table(table()).append_column("more", pyarrow.array([{"a": [1]}] * 6))
    parquet.write_table(held.append_column("raw", pyarrow.array([b"\xff"] * 6)), path)
    _, done, notes = imported(path, pump)

    assert done.ignored == ("more", "raw")
    assert notes == ["columns without a meaning here: more, raw"]


def test_a_sequence_that_begins_without_a_held_field_is_refused(tmp_path: Path, pump: Declaration) -> None:
    columns = table(sequence=["a"] * 3 + ["b"] * 3)
    columns["Load [%]"][3] = None

    assert "the sequence 'b' begins without load" in refused(write(tmp_path / "x.csv", columns), pump)


def test_steps_that_come_twice_are_named_by_row(tmp_path: Path, pump: Declaration) -> None:
    path = write(tmp_path / "x.parquet", table(step=[0, 1, 2, 2, 3, 4]))
    assert "row 3: sequence '' has step 2 twice" in refused(path, pump)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", None])
def test_times_of_a_columnar_file_have_a_type_of_their_own(
    tmp_path: Path, pump: Declaration, unit: str, zone: str | None
) -> None:
    times = [BEGIN + timedelta(seconds=row) for row in range(6)]
    held = pyarrow.table(table())
    made = pyarrow.array([each.replace(tzinfo=None) for each in times], pyarrow.timestamp(unit, zone))
    parquet.write_table(held.append_column("timestamp", made), tmp_path / "x.parquet")
    out, done, _ = imported(tmp_path / "x.parquet", pump)

    assert done.times
    with TaskFile(out, pump) as file:
        assert np.array_equal(file.times(0, 6), int(BEGIN.timestamp() * 1000) + 1000 * np.arange(6))


def test_numbers_of_an_unknown_unit_are_no_times(tmp_path: Path, pump: Declaration) -> None:
    out, done, _ = imported(write(tmp_path / "x.csv", table(time=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5])), pump)

    assert (done.times, done.sampling_rate) == (False, None)
    with TaskFile(out, pump) as file:
        assert file.times(0, 6) is None


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_casts_and_signals_come_from_columnar_files_too(tmp_path: Path, ending: str) -> None:
    columns: dict[str, list[Any]] = {field.name: [1.0] * 3 for field in shipped("casting").fields}
    path = write(tmp_path / f"c{ending}", columns | {"sequence": ["heat-1"] * 2 + ["heat-2"], "label": [1, 1, 0]})
    import_csv(path, tmp_path / "c.h5")
    signals = {"signal": [0.5] * 3, "c1": [1] * 3, "c2": [0] * 3, "c3": [0] * 3, "c4": [0] * 3}
    import_csv(write(tmp_path / f"s{ending}", signals), tmp_path / "s.h5")

    with h5py.File(tmp_path / "c.h5") as file:
        assert (file["cast_length"][:].tolist(), file["label"][:].tolist()) == ([2, 1], [1, 0])
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["mixed_signals"].shape == (1, 3)


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_a_damaged_columnar_file_is_one_line(tmp_path: Path, pump: Declaration, ending: str) -> None:
    path = write(tmp_path / f"x{ending}", table(200))
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:6], content[:40] + b"\xff" * 200 + content[240:]):
        path.write_bytes(damaged)
        assert "\n" not in refused(path, pump)
    path.write_bytes(b"FEA1" + content[4:])
    assert "Feather file of version 1" in refused(path, pump)


def test_without_pyarrow_the_line_says_how_to_get_it(
    tmp_path: Path, pump: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", table())

    def gone(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(arrow.importlib, "import_module", gone)
    assert "pip install 'caststream[tables]'" in refused(path, pump)


def test_the_command_imports_a_table_of_a_task(tmp_path: Path, pump: Declaration, run: Run) -> None:
    path = write(tmp_path / "x.parquet", table(other=["x"] * 6))
    task, out = str(tmp_path / "pump.toml"), tmp_path / "out.h5"
    done = run("import", str(path), str(out), "--task", task, "--sampling-rate", "10")

    assert done.status == 0
    assert "wrote 6 samples of 1 sequences of task pump" in done.err
    assert "columns without a meaning here: other" in done.err
    with TaskFile(out, pump) as file:
        assert file.rate_hz == 10.0
    assert run("import", str(path), str(out), "--task", task, "--column", "loud=x").status == 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_task_new_writes_from_a_table_imports_that_table(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(
        tmp_path / f"history{ending}",
        {"Motor [A]": [1.0, 2.0], "axis 1": [3.0, 4.0], "axis 2": [5.0, 6.0], "step": [0, 1]},
    )
    new = run("task", "new", "press", "--from", str(path))
    assert new.status == 0, new.err
    done = run("import", str(path), str(tmp_path / "out.h5"), "--task", str(tmp_path / "press.toml"))

    assert done.status == 0, done.err
    with TaskFile(tmp_path / "out.h5", read_declaration(tmp_path / "press.toml", need_files=False)) as file:
        assert file.values(0, 2).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
