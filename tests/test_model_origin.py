"""A model knows what it has learnt from, and is not judged by that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.judging.normal import disturbed
from core.judging.threshold import choose
from core.reports.evaluate import Choices, Evaluation, evaluate_task
from core.reports.parts import divide, normal_scores
from core.tasks.reading import read_declaration, read_to_train
from core.training.tasks.finish import finish
from core.training.tasks.origin import Provenance, read_origin
from core.training.tasks.train import Places, train_forecaster
from stream_app.offline import step_model
from stream_app.settings import load_settings
from tests.histories import plant, quick, task_file, write_csv

SAMPLES = 2000


def csv_with_truth(path: Path, seed: int, first: str) -> Path:
    """The last fifth has a fault of 30 samples."""
    values = plant(SAMPLES, seed=seed)
    values[1800:1830, 0] += 4
    head, *rows = write_csv(path, values, first=first).read_text().splitlines()
    marks = [f"{row},{int(1800 <= place < 1830)}" for place, row in enumerate(rows)]
    path.write_text("\n".join([f"{head},anomaly", *marks]) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("origin")
    places = Places(made / "pump.safetensors")
    task = read_to_train(task_file(made), places.weights)
    history = csv_with_truth(made / "history.csv", 1, "2026-01-01T00:00:00")
    train_forecaster(
        task, history, places, quick(), then=lambda trained: finish(task, trained, places, per_week=50.0) and None
    )
    return made


def evaluated(folder: Path, data: str, history: Path | None = None) -> Evaluation:
    choices = Choices(wish=50.0, history=history)
    declaration = read_declaration(folder / "pump.toml")
    settings = load_settings(data_dir=str(folder / "state"))
    return evaluate_task(folder / data, declaration, lambda: step_model(settings, declaration), choices)


def test_of_the_file_that_was_learnt_from_only_the_held_out_part_is_judged(folder: Path) -> None:
    done = evaluated(folder, "history.csv")

    assert done.notes[0] == "the model has learnt from 80% of this file: only the rest is judged"
    assert done.detectors[0].figures.events == 1


def test_thresholds_and_alarms_have_no_part_in_what_was_learnt_from(folder: Path) -> None:
    with_truth = evaluated(folder, "history.csv")
    scores = with_truth.scored.sequences[0].scores
    head, *rows = (folder / "history.csv").read_text().splitlines()
    (folder / "unmarked.csv").write_text("\n".join(row.rpartition(",")[0] for row in (head, *rows)) + "\n")
    without = evaluated(folder, "unmarked.csv")

    assert with_truth.threshold == choose([scores[1600:1720]], 60.0, 50.0).threshold  # 30 % of the held-out 400
    assert without.threshold == choose([scores[1600:]], 60.0, 50.0).threshold
    assert without.weeks == pytest.approx(400 * 60 / (7 * 86400))
    assert min(alarm.begin for alarm in (*with_truth.alarms, *without.alarms)) >= 1600


def test_a_history_that_was_learnt_from_gives_thresholds_by_its_rest_alone(folder: Path) -> None:
    csv_with_truth(folder / "fresh.csv", 2, "2026-03-01T00:00:00")
    done = evaluated(folder, "fresh.csv", folder / "history.csv")

    assert done.notes[0] == "the model has learnt from 80% of history.csv: thresholds are chosen on the rest"
    quiet = evaluated(folder, "history.csv").scored.sequences[0]
    normal = normal_scores(quiet.scores, quiet.truth, 30)[1600:]
    assert done.threshold == choose([normal], 60.0, 50.0).threshold


def test_whole_sequences_that_were_held_out_are_judged_and_the_others_are_fitted_on(folder: Path) -> None:
    scored = evaluated(folder, "history.csv").scored
    three = replace(scored, sequences=scored.sequences * 3)
    parts = divide(three, None, Provenance(three.digest, [(1, 0, SAMPLES)]))

    assert list(parts.fitted.ends) == [SAMPLES, 0, SAMPLES]
    assert list(parts.quiet.begins) == [SAMPLES, 0, SAMPLES]
    assert list(parts.quiet.ends) == list(parts.judged.begins) == [SAMPLES, 600, SAMPLES]


def test_a_copy_under_another_name_is_known_and_a_change_of_one_value_is_told_by_its_times(folder: Path) -> None:
    text = (folder / "history.csv").read_text()
    (folder / "copy.csv").write_text(text)
    first, second, *rest = text.splitlines()
    (folder / "changed.csv").write_text("\n".join([first, second.replace(",0", ",1"), *rest]) + "\n")

    assert evaluated(folder, "copy.csv").notes[0].startswith("the model has learnt from 80%")
    assert evaluated(folder, "changed.csv").notes[0].startswith("the model has learnt from 80%")  # a mark is no value
    (folder / "changed.csv").write_text("\n".join([first, *rest]) + "\n")
    assert evaluated(folder, "changed.csv").notes[0].startswith("100% of the samples lie in the time")


def test_of_later_samples_nothing_is_said(folder: Path) -> None:
    csv_with_truth(folder / "later.csv", 2, "2026-03-01T00:00:00")

    assert not any("learnt" in note for note in evaluated(folder, "later.csv").notes)


def test_of_a_model_without_an_origin_that_is_said(folder: Path) -> None:
    origin = read_origin(folder / "pump.safetensors")
    assert origin is not None
    assert read_origin(folder / "pump.example.npz") is None
    assert read_origin(folder / "missing.safetensors") is None


def test_a_sequence_without_a_held_out_piece_was_learnt_from_as_a_whole() -> None:
    assert Provenance("", [(1, 0, 50), (2, 80, 100)]).cuts([70, 50, 100]) == [70, 0, 80]


def test_samples_behind_a_marked_one_are_disturbed_as_far_as_the_score_looks_back() -> None:
    marked = np.zeros(12, bool)
    marked[[0, 5]] = True

    assert np.flatnonzero(~disturbed(marked, 2)).tolist() == [3, 4, 8, 9, 10, 11]
    assert disturbed(marked, 0).tolist() == marked.tolist()
    assert disturbed(np.zeros(0, bool), 3).tolist() == []
