"""A task file to begin with is written from a CSV, an HDF5 file or an ONNX model, and can be read as it is."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.drafts.columns import field_name, fields_of_columns, why_no_column
from core.drafts.draft import Draft, draft_text, write_draft
from core.drafts.sources import draft_of
from core.errors import StartupError
from core.tasks.declaration import Declaration
from core.tasks.reading import declare, read_declaration
from core.tasks.toml_file import parse_tables

HISTORY = """\
Time;batch;Temp [°C];vib_1;vib_2;vib_3;c1;c2;Note;1 speed;state
;;°C;mm/s;mm/s;mm/s;;;;rpm;
2026-01-01 00:00;a;21,5;1;2;3;1;0;ok;900;1
2026-01-01 00:01;a;21,7;1.5;2;3;1;0;;901;1
"""


def made(draft: Draft) -> Declaration:
    return declare(Path("pump.toml"), parse_tables(Path("pump.toml"), draft_text("pump", draft).encode()), False)


def drafted(folder: Path, text: str, name: str = "history.csv") -> Declaration:
    (folder / name).write_text(text, encoding="utf-8")
    return made(draft_of(folder / name, folder))


def test_numeric_columns_become_fields_and_numbered_ones_an_array(tmp_path: Path) -> None:
    task = drafted(tmp_path, HISTORY)

    assert [(field.name, field.length, field.columns, field.unit) for field in task.fields] == [
        ("Temp", None, ("Temp [°C]",), "°C"),
        ("vib", 3, ("vib_1", "vib_2", "vib_3"), "mm/s"),
        ("c", 2, ("c1", "c2"), ""),
        ("x_1_speed", None, ("1 speed",), "rpm"),
        ("state", None, ("state",), ""),
    ]


def test_the_draft_says_which_columns_are_no_fields_and_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY, encoding="utf-8")

    text = draft_text("pump", draft_of(tmp_path / "history.csv", tmp_path))

    assert "# Written from the header and the first 2 lines of history.csv." in text
    assert "Time (in a record it would be read as 'timestamp_ms'); batch (no numbers, such as 'a'); Note (no" in text
    assert 'x_1_speed = { columns = ["1 speed"], unit = "rpm" }    # 900 to 901 in the file' in text


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,2\n", ["a", "b"]),
        ("a\n1\n2\n", ["a"]),
        ("a|b\n1|2\n", ["a", "b"]),
        ("a\tb\n1\t2\n", ["a", "b"]),
        ("Export of pump 7\n\na;b\n1,5;2,5\n", ["a", "b"]),
        ('"a, b","c"\n1,2\n', ["a, b", "c"]),
        ("\ufeffa,b\r\n1,2\r\n", ["a", "b"]),
        ("a,b,a\n1,2,3\n", ["b"]),
        ("a,b\n,2\n,3\n", ["b"]),
        ("a,label,seq,stream\n1,2,3,4\n", ["a"]),
        ("a,b\nx,1\n2,1\n", ["b"]),
        ("a0,a1,a2,a4\n1,2,3,4\n", ["a0", "a1", "a2", "a4"]),
        ("1,2\n1,2\na,b\n3,4\n", ["a", "b"]),
    ],
)
def test_the_columns_of_a_csv_are_found(tmp_path: Path, text: str, columns: list[str]) -> None:
    task = drafted(tmp_path, text)

    assert [column for field in task.fields for column in field.columns] == columns


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (["a1", "a2", "b"], [("a", 2, ""), ("b", None, "")]),
        (["a0", "a1", "a2", "a4"], [("a", 3, ""), ("a4", None, "")]),
        (["a2", "a3"], [("a2", None, ""), ("a3", None, "")]),
        (["a1", "b", "a2"], [("a1", None, ""), ("b", None, ""), ("a2", None, "")]),
        (["a1 [m]", "a2 [m]"], [("a", 2, "m")]),
        (["a1 [m]", "a2 [s]"], [("a", 2, "")]),
        (["a_1", "a_2", "a1", "a2"], [("a", 2, ""), ("a_2", 2, "")]),
        (["1", "2"], [("x", 2, "")]),
    ],
)
def test_numbered_columns_side_by_side_are_an_array(columns: list[str], fields: list[tuple[object, ...]]) -> None:
    found = fields_of_columns(columns, {}, {})

    assert [(field.name, field.length, field.unit) for field in found] == fields


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no header with lines of numbers below it"),
        ("a,b\n", "has no header with lines of numbers below it"),
        ("1,2\n3,4\n", "has no header with lines of numbers below it"),
        ("a,b\nx,y\n", "has no header with lines of numbers below it"),
        ("time,seq\n1,2\n", "has no column of numbers for a field; its columns are time, seq"),
        ("a\0b\n", "is no CSV"),
    ],
)
def test_a_csv_without_fields_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StartupError, match=said):
        drafted(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "said"),
    [("no.csv", "there is no such file"), (".", "is no file"), ("a.xlsx", r"must end in \.csv"), ("a.h5", "a.h5")],
)
def test_a_source_that_cannot_be_used_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "a.h5").touch()

    with pytest.raises(StartupError, match=said):
        draft_of(tmp_path / name, tmp_path)


def test_weights_are_refused_with_what_to_begin_with_instead(tmp_path: Path) -> None:
    (tmp_path / "oven.pt").touch()

    with pytest.raises(StartupError, match=r"begin with a file of samples.* file = \"oven.pt\" into the \[model\]"):
        draft_of(tmp_path / "oven.pt", tmp_path)


def test_datasets_of_numbers_become_fields(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["speed"], file["vibration"] = np.zeros(50), np.zeros((50, 12))
        file["timestamp_ms"], file["label"] = np.zeros(50, "i8"), np.zeros(50, "i1")
        file["sequence_start"], file["cube"], file["group/inside"] = (
            np.zeros(3, "i8"),
            np.zeros((5, 5, 5)),
            np.zeros(50),
        )
        file["sequence_name"] = ["a", "b", "c"]

    draft = draft_of(tmp_path / "a.h5", tmp_path)

    assert [(field.name, field.length) for field in made(draft).fields] == [("speed", None), ("vibration", 12)]
    assert "Datasets that are no fields: label, sequence_start, timestamp_ms." in draft.notes


def test_a_file_without_such_datasets_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["label"] = np.zeros(5)

    with pytest.raises(StartupError, match="holds no dataset"):
        draft_of(tmp_path / "a.h5", tmp_path)


def test_the_graph_of_a_model_is_bound_as_far_as_its_names_tell(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    models = pytest.importorskip("tests.onnx_models")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "pump.onnx").write_bytes(models.lstm(features=12, outputs=3))

    task = made(draft_of(tmp_path / "models" / "pump.onnx", tmp_path))

    assert task.width == 12
    assert task.model.file == Path("pump.toml").absolute().parent / "models" / "pump.onnx"
    assert len(task.model.states) == 2
    assert task.model.input is not None
    assert {output.tensor for output in task.outputs}.isdisjoint(task.model.states.values())


@pytest.mark.parametrize(("time", "length"), [("time", 500), (30, 30)])
def test_a_model_that_takes_windows_is_drafted_as_a_window_task(tmp_path: Path, time: int | str, length: int) -> None:
    pytest.importorskip("onnxruntime")
    models = pytest.importorskip("tests.onnx_models")
    (tmp_path / "pump.onnx").write_bytes(models.window_classifier(time=time))

    task = made(draft_of(tmp_path / "pump.onnx", tmp_path))

    assert (task.kind, task.width) == ("window", 3)
    assert task.window is not None
    assert task.window.length == length


def test_an_example_that_stands_beside_the_model_is_named_in_the_draft(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    models = pytest.importorskip("tests.onnx_models")
    (tmp_path / "pump.onnx").write_bytes(models.gru())
    assert made(draft_of(tmp_path / "pump.onnx", tmp_path)).model.example is None

    (tmp_path / "pump.example.npz").touch()

    example = made(draft_of(tmp_path / "pump.onnx", tmp_path)).model.example
    assert example == Path("pump.toml").absolute().parent / "pump.example.npz"


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("a,b\n1,2\n")
    draft, path = draft_of(tmp_path / "history.csv", tmp_path), tmp_path / "pump.toml"
    write_draft("pump", draft, path)
    first = path.read_text()

    with pytest.raises(StartupError, match=r"pump\.toml is there already: choose another name, or move it away"):
        write_draft("pump", draft_of(tmp_path / "history.csv", tmp_path), path)

    assert path.read_text() == first
    assert read_declaration(path, need_files=False).name == "pump"


COLUMN = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).map(str.strip),
    st.builds(
        lambda stem, number: f"{stem}{number}", st.sampled_from(["c", "vib_", "T ", "", "9."]), st.integers(0, 12)
    ),
    st.sampled_from(["step", "length", "label", "model", "x_", "1", "é", "[m]", "a [m]", "a (m)"]),
)


@given(columns=st.lists(COLUMN, min_size=1, max_size=20, unique=True))
def test_whatever_columns_are_called_their_draft_can_be_read(columns: list[str]) -> None:
    usable = [column for column in columns if why_no_column(column) is None]
    fields = fields_of_columns(usable, {}, {})
    if usable:
        task = made(Draft(tuple(fields)))

        assert [column for field in task.fields for column in field.columns] == usable


@given(text=st.text(max_size=80), taken=st.sets(st.sampled_from(["x", "a", "x_2", "step_value"])))
def test_a_field_gets_a_name_that_is_free(text: str, taken: set[str]) -> None:
    name = field_name(text, taken)

    assert name not in taken
    assert made(Draft(tuple(fields_of_columns([name], {}, {})))).fields[0].name == name


HOURLY = "date,pump id,flow,level\n" + "".join(
    f"2026-01-{day:02}T{hour:02}:00:00Z,{name},{hour},{'' if (day, hour) == (3, 3) else day}\n"
    for name in ("north", "south")
    for day in range(1, 5)
    for hour in range(24)
)


def test_a_draft_of_a_history_says_the_period_the_columns_of_time_and_stream_and_what_is_held(tmp_path: Path) -> None:
    task = drafted(tmp_path, HOURLY)

    assert task.training.columns == {"timestamp": "date", "stream": "pump id"}
    assert task.rules.idle_timeout == 36_000
    assert [(field.name, field.missing) for field in task.fields] == [("flow", "refuse"), ("level", "hold")]
    assert task.model.file.name == "pump.safetensors"


def test_a_column_that_judges_samples_is_no_field(tmp_path: Path) -> None:
    task = drafted(tmp_path, "time,a,anomaly\n2026-01-01T00:00:00Z,1,0\n2026-01-01T00:00:01Z,2,1\n")

    assert [field.name for field in task.fields] == ["a"]
    assert task.rules.idle_timeout is None
    assert not task.training.columns
