"""A task file is read into its declaration; tasks are found by name or file, and run together."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from core.errors import StartupError
from core.tasks.declaration import Field, Output, TaskRules, Topics, Window
from core.tasks.reading import find_declaration, shipped
from core.tasks.together import refuse_clashes
from tests.task_folder import FORECAST, MODEL, OF_FORECAST, OUT, PUMP, WINDOWS, Folder, changed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_is_not_said_has_a_default(folder: Folder) -> None:
    task = folder.read(PUMP)

    assert (task.name, task.kind, task.width) == ("pump", "step", 4)
    assert task.topics == Topics("pump-samples", "pump-outputs", "pump-states")
    assert task.fields == (
        Field("vibration", 3, ("vibration_1", "vibration_2", "vibration_3"), "mm/s", ("vib",), -200, 200, (-25, 25)),
        Field("speed", None, ("speed",)),
    )
    assert (task.fields[1].low, task.fields[1].high) == (-1e6, 1e6)
    assert task.outputs == (Output("prediction", "prediction"),)
    assert (task.window, task.rules) == (None, TaskRules())
    assert (task.model.file, task.model.input, task.model.example) == (folder.path / "pump.onnx", None, None)
    assert (task.model.states, task.model.constants) == ({}, {})


def test_everything_can_be_said(folder: Folder) -> None:
    (folder.path / "pump.npz").touch()
    task = folder.read(
        PUMP
        + """
input = "x"
states = { h0 = "hn", c0 = "cn" }
constants = { sr = 16000, mask = [[1, 0.5], [true, 0]] }
example = "pump.npz"
[topics]
source = "plant.pumps"
[rules]
gap_policy = "hold"
max_gap = 9
idle_timeout = 60
max_step_jump = 100
[outputs]
forecast = { tensor = "y", names = ["a", "b", "c", "d"], unit = "mm/s" }
score = { apply = "forecast_error", of = "forecast" }
alarm = { apply = "above", of = "score", threshold = 2.5, clear = 2 }
state = { tensor = "z", apply = "label", labels = ["good", "worn out"] }
"""
    )

    assert task.topics == Topics("plant.pumps", "pump-outputs", "pump-states")
    assert task.rules == TaskRules("hold", 9, 60.0, 100)
    assert (task.model.input, task.model.states) == ("x", {"h0": "hn", "c0": "cn"})
    assert task.model.constants == {"sr": 16000, "mask": ((1, 0.5), (True, 0))}
    assert task.model.example == folder.path / "pump.npz"
    assert task.outputs == (
        Output("forecast", "y", ("a", "b", "c", "d"), "mm/s"),
        Output("score", "", apply="forecast_error", of="forecast"),
        Output("alarm", "", apply="above", of="score", threshold=2.5, clear=2.0),
        Output("state", "z", apply="label", labels=("good", "worn out")),
    )


def test_a_forecaster_names_its_numbers_as_its_fields(folder: Folder) -> None:
    task = folder.read(OUT + FORECAST + "least = [0.1, 0, 0, 2], publish = false }" + OF_FORECAST)

    names = ("vibration_1", "vibration_2", "vibration_3", "speed")
    least = (0.1, 0.0, 0.0, 2.0)
    forecast, expected, surprise, score, leading, alarm = task.outputs
    assert forecast == Output("forecast", "y", names, apply="forecast", changes=True, least=least, publish=False)
    assert expected == Output("expected", "", names, apply="expected", of="forecast")
    assert surprise == Output("surprise", "", apply="surprise", of="forecast")
    assert score == Output("score", "", apply="likelihood_ratio", of="forecast", horizon=30)
    assert leading == Output("leading", "", apply="leading", of="score", labels=names)
    assert task.published == (expected, surprise, score, leading, alarm)


def test_a_forecast_of_fewer_numbers_names_the_first_ones(folder: Folder) -> None:
    task = folder.read(OUT + FORECAST + 'names = ["a", "b"] }' + OF_FORECAST)

    assert (task.outputs[0].names, task.outputs[0].least) == (("a", "b"), (0.0, 0.0))
    assert (task.outputs[1].names, task.outputs[4].labels) == (("a", "b"), ("a", "b"))


def test_numbers_of_a_record_are_told_apart_by_field(folder: Folder) -> None:
    task = folder.read(PUMP)

    assert task.columns == ("vibration_1", "vibration_2", "vibration_3", "speed")
    assert task.slices() == {"vibration": slice(0, 3), "speed": slice(3, 4)}
    assert task.by_field([1.0, 2.0, 3.0, 4.0]) == {"vibration": [1.0, 2.0, 3.0], "speed": 4.0}


def test_a_number_is_a_float_wherever_it_is_one(folder: Folder) -> None:
    field = folder.read(PUMP).fields[0]

    assert [type(each) for each in (field.low, field.high, *(field.normal or ()))] == [float] * 4


@pytest.mark.parametrize(
    ("table", "window"),
    [
        ("", Window(500, 100, 30)),
        ("[window]\nlength = 20", Window(20, 20, 30)),
        ("[window]\nlength = 900\nfirst = 450\nhop = 1", Window(900, 450, 1)),
    ],
)
def test_windows_are_cut_as_declared(folder: Folder, table: str, window: Window) -> None:
    assert folder.read(WINDOWS + table).window == window


def test_an_alarm_without_clear_ends_below_its_threshold(folder: Folder) -> None:
    [alarm] = folder.read(PUMP + '[outputs]\nalarm = { apply = "above", threshold = 3 }').outputs

    assert (alarm.threshold, alarm.clear) == (3.0, 3.0)


def test_a_label_is_one_of_those_of_the_output_that_it_is_made_of(folder: Folder) -> None:
    outputs = 'p = { apply = "softmax", labels = ["a", "b"] }\nbest = { apply = "label", of = "p" }'

    assert folder.read(f"{PUMP}[outputs]\n{outputs}").outputs[1].labels == ("a", "b")


def test_an_overlap_makes_the_models_input_wider_and_not_the_record(folder: Folder) -> None:
    [audio] = folder.read(
        PUMP.split("vib")[0] + "audio = { length = 512, overlap = 64 }\n[model]\nfile = 'pump.onnx'"
    ).fields

    assert (audio.numbers, audio.width, len(audio.columns)) == (512, 576, 512)


def test_a_file_as_windows_writes_it_is_read(folder: Folder) -> None:
    assert folder.read(b"\xef\xbb\xbf" + PUMP.replace("\n", "\r\n").encode()) == folder.read(PUMP)


def test_a_declaration_goes_to_another_process(folder: Folder) -> None:
    task = folder.read(PUMP)

    assert pickle.loads(pickle.dumps(task)) == task


def test_a_producer_needs_no_model(folder: Folder) -> None:
    assert folder.read(changed(MODEL, 'file = "elsewhere.onnx"'), need_files=False).model.file.name == "elsewhere.onnx"


def test_a_task_is_found_by_its_name_or_its_file(folder: Folder) -> None:
    task = folder.read(PUMP)

    assert find_declaration(str(folder.path / "pump.toml")) == task
    assert find_declaration("casting") is shipped("casting")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("castng", "there is no task 'castng'; did you mean 'casting'\\?; a task of your own is the name of its file"),
        ("pump", "there is no task 'pump'; those that ship with caststream are: signal, casting; a task"),
        ("pump.toml", "pump.toml: there is no such task file"),
    ],
)
def test_a_task_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StartupError, match=said):
        find_declaration(text)


def test_tasks_of_different_names_run_together(folder: Folder) -> None:
    chained = folder.read(PUMP + '[topics]\nsource = "signal-predictions"')

    refuse_clashes([shipped("signal"), shipped("casting"), chained])


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c"), ("before", "a", "b")])
def test_tasks_that_feed_each_other_are_refused(folder: Folder, names: tuple[str, ...]) -> None:
    ring = [name for name in names if name != "before"]
    reads = dict(zip(ring, ring[-1:] + ring[:-1], strict=True))
    tasks = [
        folder.read(changed("pump", name) + (f'[topics]\nsource = "{reads[name]}-outputs"' if name in reads else ""))
        for name in names
    ]
    refuse_clashes(tasks[1:] if "before" not in names else tasks[:2])

    with pytest.raises(StartupError) as raised:
        refuse_clashes(tasks)

    way = "'a' publishes to 'a-outputs', 'b' publishes to 'b-outputs'"
    assert str(raised.value).startswith(f"tasks feed each other: {way}")
    assert str(raised.value).endswith(f"the source of '{ring[0]}': give one another source")


@pytest.mark.parametrize(
    ("key", "names", "said"),
    [
        ("source", ("a", "a"), "tasks 'a' and 'a' share the name 'a': each needs its own"),
        ("source", ("a", "b"), "tasks 'a' and 'b' share the source 'x'"),
        ("output", ("a", "b"), "tasks 'a' and 'b' share the output topic 'x'"),
        ("table", ("a", "b"), "tasks 'a' and 'b' share the table 'x'"),
    ],
)
def test_tasks_that_share_a_name_are_refused(folder: Folder, key: str, names: tuple[str, str], said: str) -> None:
    tasks = [folder.read(changed("pump", name) + f'[topics]\n{key} = "x"') for name in names]

    with pytest.raises(StartupError, match=said):
        refuse_clashes(tasks)
