"""A task's anomaly scores are judged on a file: figures beside simple detectors, alarms, the page and its pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from core.arrays import Float64s
from core.errors import StartupError
from core.judging.alarms import find_alarms
from core.judging.metrics import DetectionFigures
from core.judging.threshold import choose
from core.reports.evaluate import BEST, OWN, Choices, Evaluation, JudgedScores, evaluate_task
from core.reports.pictures import write_pictures
from core.reports.scored import alarm_of, score_output
from core.reports.words import alarm_columns, alarm_rows, duration, first_lines, page
from core.tasks.reading import read_declaration, read_to_train
from core.training.tasks.train import Places, train_forecaster
from stream_app.offline import step_model
from stream_app.settings import load_settings
from tests.commands import Run
from tests.histories import plant, quick, task_file, write_csv

MODEL = """
[model]
file = "pump.safetensors"
[outputs]
forecast = { apply = "forecast", changes = true, publish = false }
expected = { of = "forecast", apply = "expected" }
score = { of = "forecast", apply = "likelihood_ratio", horizon = 10 }
leading = { of = "score", apply = "leading" }
"""
ALARM = 'alarm = { of = "score", apply = "above", threshold = 5.0, clear = 2.0 }\n'
SAMPLES, SHIFTED, STUCK = 3000, slice(1800, 1840), slice(2400, 2460)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forecaster that was trained for seconds, and a file with two anomalies: a shifted flow and a stuck level."""
    made = tmp_path_factory.mktemp("task")
    places = Places(made / "pump.safetensors")
    task = read_to_train(task_file(made), places.weights)
    train_forecaster(task, write_csv(made / "history.csv", plant(1500)), places, quick(epochs=8))
    task_file(made, MODEL)
    (made / "alarmed.toml").write_text((made / "pump.toml").read_text() + ALARM, encoding="utf-8")
    write_csv(made / "live.csv", live())
    marked(made / "live.csv", made / "marked.csv")
    return made


def live() -> Float64s:
    values = plant(SAMPLES, seed=5)
    values[SHIFTED, 0] += 4
    values[STUCK, 1] = values[STUCK.start, 1]
    return values


def truth() -> Float64s:
    found = np.zeros(SAMPLES)
    found[SHIFTED] = found[STUCK] = 1
    return found


def marked(source: Path, out: Path) -> None:
    head, *rows = source.read_text().splitlines()
    told = [f"{row},{mark:.0f}" for row, mark in zip(rows, truth(), strict=True)]
    out.write_text("\n".join([f"{head},anomaly", *told]) + "\n")


def evaluated(folder: Path, data: str, choices: Choices | None = None, task: str = "pump.toml") -> Evaluation:
    declaration = read_declaration(folder / task)
    settings = load_settings(data_dir=str(folder / "state"))
    return evaluate_task(folder / data, declaration, lambda: step_model(settings, declaration), choices or Choices())


def test_with_the_truth_the_task_stands_beside_simple_detectors(folder: Path) -> None:
    done = evaluated(folder, "marked.csv", Choices(wish=21.0))
    names = [one.name for one in done.detectors]

    assert names[:4] == [OWN, "persistence", "EWMA chart", "seasonal naive (25 samples)"]
    assert names[4].startswith("linear (")
    assert names[5:] == ["isolation forest"]
    assert done.detectors[0].figures.found == done.detectors[0].figures.events == 2
    assert 0.5 < done.detectors[0].figures.vus_pr < 1.0  # type: ignore[operator]
    assert {alarm.leading for alarm in done.alarms} <= {"flow", "level"}
    first = next(alarm for alarm in done.alarms if alarm.true)
    assert SHIFTED.start <= first.begin < SHIFTED.stop
    assert first.leading == "flow"


def test_the_threshold_is_of_the_normal_samples_of_the_history_alone(folder: Path) -> None:
    done = evaluated(folder, "marked.csv", Choices(wish=7.0))
    history = done.scored.sequences[0].scores[: int(SAMPLES * 0.3)]

    assert done.threshold == choose([history], 60.0, 7.0).threshold


def test_without_the_truth_the_alarms_are_listed_and_nothing_is_compared(folder: Path) -> None:
    done = evaluated(folder, "live.csv", task="alarmed.toml")
    scores = done.scored.sequences[0].scores

    assert done.detectors == []
    assert (done.threshold, done.clear) == (5.0, 2.0)
    assert [alarm.begin for alarm in done.alarms] == find_alarms(scores, 5.0, 2.0).begins.tolist()
    assert len(done.alarms) >= 2
    assert f"{len(done.alarms)} alarms in 2.1 days of live.csv" in first_lines(done)[0]
    assert alarm_rows(done)[0][2].startswith("2026-01-02 06:")


def test_a_wish_without_the_truth_is_met_on_the_file_itself_and_that_is_said(folder: Path) -> None:
    done = evaluated(folder, "live.csv", Choices(wish=14.0), "alarmed.toml")

    assert len(done.alarms) <= 14 * done.weeks
    assert "as if all of it were normal" in done.notes[-1]


def test_the_score_is_that_of_predict(folder: Path, tmp_path: Path) -> None:
    from core.offline.task_predict import predict_task
    from core.training.tasks.history import open_history

    done = evaluated(folder, "live.csv")
    declaration = read_declaration(folder / "pump.toml")
    with open_history(folder / "live.csv", declaration) as history:
        model = step_model(load_settings(data_dir=str(folder / "state")), declaration)
        predict_task(history.file, tmp_path / "out.h5", model)

    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(done.scored.sequences[0].scores, file["score"][:])


def test_another_file_can_be_the_history_and_then_all_samples_are_judged(folder: Path) -> None:
    done = evaluated(folder, "marked.csv", Choices(history=folder / "history.csv", wish=7.0))
    begun = [alarm for alarm in done.alarms if alarm.true]

    assert done.detectors[0].figures.events == 2
    assert begun
    assert len(done.detectors) == 6


def test_the_best_possible_detector_is_shown_where_the_file_has_it(folder: Path, tmp_path: Path) -> None:
    path = folder / "oracle.h5"
    with h5py.File(path, "w") as file:
        for place, name in enumerate(("flow", "level")):
            file[name] = live()[:, place].astype("f4")
        file["anomaly"], file["oracle_score"] = truth().astype("i1"), truth() + 0.001 * plant(SAMPLES)[:, 0]
        file.attrs["sampling_rate"] = 1 / 60
    done = evaluated(folder, "oracle.h5", Choices(wish=7.0))

    assert done.detectors[-1].name == BEST
    assert done.detectors[-1].figures.vus_pr > done.detectors[0].figures.vus_pr  # type: ignore[operator]
    assert BEST not in first_lines(done)[0]


def test_the_first_line_says_where_a_simple_detector_is_better() -> None:
    done = [
        JudgedScores(name, 1.0, DetectionFigures(volume, 0.5, 0.5, 1, 1, 1.0, 0.0))
        for name, volume in ((OWN, 0.6), ("persistence", 0.7), ("EWMA chart", 0.1), (BEST, 0.9))
    ]
    lines = _lines_of(done)

    assert lines == ["a simple detector does better: VUS-PR of persistence 0.700; of this task 0.600"]
    assert "ahead of every simple detector" in _lines_of([done[0], *done[2:]])[0]


def _lines_of(detectors: list[JudgedScores]) -> list[str]:
    class Bare:
        def __init__(self) -> None:
            self.detectors = detectors

    return first_lines(Bare())  # type: ignore[arg-type]


def test_the_first_line_says_where_nothing_can_be_compared() -> None:
    none = [JudgedScores(OWN, 1.0, DetectionFigures(None, None, None, 0, 0, None, 0.0))]
    all_of_it = [JudgedScores(OWN, 1.0, DetectionFigures(None, None, 1.0, 1, 1, 0.0, None))]

    assert "has no anomaly" in _lines_of(none)[0]
    assert "one anomaly from begin to end" in _lines_of(all_of_it)[0]


def test_a_column_of_sequences_is_there_only_where_they_have_names_of_their_own(folder: Path) -> None:
    done = evaluated(folder, "live.csv", task="alarmed.toml")
    named = [replace(one, name="pump-0", stream="pump-0") for one in done.scored.sequences]
    short = replace(done, scored=replace(done.scored, sequences=named))

    assert "sequence" in alarm_columns(done)
    assert "sequence" not in alarm_columns(short)
    assert [len(row) for row in alarm_rows(short)] == [len(alarm_columns(short))] * len(done.alarms)


def test_the_screen_shows_whole_names_on_eighty_columns(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["evaluate", folder / "alarmed.toml", folder / "marked.csv", "--pictures", "0"]
    done = run(*words, "--data-dir", folder / "state", "--out", tmp_path / "report")

    assert done.status == 0, done.err
    assert "…" not in done.out
    assert "isolation forest" in done.out
    assert done.out.count("%") >= 6  # the last column of every detector
    assert "a simple detector" in done.out.splitlines()[0] or "this task" in done.out.splitlines()[0]


def test_the_page_links_the_pictures_and_old_ones_are_removed(folder: Path, tmp_path: Path) -> None:
    done = evaluated(folder, "live.csv", task="alarmed.toml")
    (tmp_path / "alarm-99.png").write_bytes(b"old")
    written = write_pictures(done, tmp_path, most=2)
    text = page(done, written)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["alarm-1.png", "alarm-2.png", "false-alarms.png"]
    assert all(f"]({path.name})" in text for path in written)
    assert "without the truth" in text.splitlines()[2]


def test_the_command_writes_the_report_and_prints_the_table(folder: Path, tmp_path: Path, run: Run) -> None:
    words = ["evaluate", folder / "pump.toml", folder / "marked.csv", "--false-alarms", "1/day", "--pictures", "1"]
    done = run(*words, "--data-dir", folder / "state", "--out", tmp_path / "report", "--json")

    assert done.status == 0, done.err
    assert json.loads(done.out)["detectors"][0]["name"] == OWN
    assert (tmp_path / "report" / "report.md").read_text().startswith("# Task pump on marked.csv")
    assert (tmp_path / "report" / "false-alarms.png").exists()


def test_a_score_is_the_likelihood_ratio_else_what_an_alarm_is_made_of(folder: Path) -> None:
    task = read_declaration(folder / "alarmed.toml")
    plain = replace(task, outputs=tuple(one for one in task.outputs if one.apply != "likelihood_ratio"))
    none = replace(task, outputs=task.outputs[:2])

    assert score_output(task).name == score_output(plain_with_score(task)).name == "score"
    assert alarm_of(task, score_output(task)) == (5.0, 2.0)
    assert alarm_of(none, task.outputs[0]) is None
    with pytest.raises(StartupError, match="--score NAME"):
        score_output(none)
    with pytest.raises(StartupError, match="scre"):
        score_output(plain, "scre")
    with pytest.raises(StartupError, match="publish = false"):
        score_output(task, "forecast")


def plain_with_score(task):  # type: ignore[no-untyped-def]
    """The task with a score that an alarm alone names."""
    return replace(
        task,
        outputs=tuple(replace(one, apply="error") if one.name == "score" else one for one in task.outputs),
    )


def test_durations_are_in_the_unit_that_suits_them() -> None:
    assert [duration(s) for s in (0.5, 90, 150, 9000, 200_000)] == ["0.5 s", "90 s", "2.5 min", "2.5 h", "2.3 d"]
