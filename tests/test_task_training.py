"""A forecaster is trained from any kind of history, and the compiled kernel gives what torch gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, feather, parquet

from core.arrays import Int64s
from core.engines.declared.stepper import StepModel
from core.engines.own_weights import KernelStates, open_weights
from core.errors import DataError, StartupError
from core.models.recurrent_weights import read_recurrent
from core.offline.steps import StepModelRun
from core.offline.task_predict import predict_task
from core.tasks.check.example import run_row
from core.tasks.declaration import CellName, Declaration
from core.tasks.reading import read_declaration, read_to_train
from core.training.config import TaskSettings
from core.training.descent import Descent
from core.training.tasks.card import write_card
from core.training.tasks.declare import names_for
from core.training.tasks.export import folded, outputs_of
from core.training.tasks.finish import Finished, finish
from core.training.tasks.history import open_history
from core.training.tasks.likelihood import JudgedForecasts, calibration, robust_loss
from core.training.tasks.net import RecurrentNet
from core.training.tasks.pieces import MANY, split
from core.training.tasks.places import Places
from core.training.tasks.plots import write_training_plots
from core.training.tasks.segments import Stretches
from core.training.tasks.train import train_forecaster
from core.training.tasks.trained import Trained
from tests.histories import plant, quick, task_file, write_csv


def declared(folder: Path, more: str = "") -> tuple[Declaration, Places]:
    places = Places(folder / "pump.safetensors")
    return read_to_train(task_file(folder, more), places.weights), places


def read(path: Path, task: Declaration, notes: list[str] | None = None) -> tuple[list[int], list[float]]:
    """Lengths of the sequences of a file, and all their values."""
    with open_history(path, task, on_note=(notes if notes is not None else []).append) as history:
        return [len(each) for each in history.sequences], np.concatenate(
            [each.values.ravel() for each in history.sequences]
        ).tolist()


def test_a_csv_a_parquet_a_feather_and_an_hdf5_file_give_the_same_sequences(tmp_path: Path) -> None:
    task, _ = declared(tmp_path)
    table = csv.read_csv(write_csv(tmp_path / "history.csv", plant(60)))
    parquet.write_table(table, tmp_path / "history.parquet")
    feather.write_feather(table, tmp_path / "history.feather")
    with h5py.File(tmp_path / "history.h5", "w") as file:
        for name in ("flow", "level"):
            file[name] = table[name].to_numpy()

    found = [read(tmp_path / f"history.{ending}", task) for ending in ("csv", "parquet", "feather", "h5")]

    assert found == [found[0]] * 4
    assert found[0][0] == [60]


def test_lines_that_a_worker_would_refuse_are_left_out_and_told(tmp_path: Path) -> None:
    task, _ = declared(tmp_path)
    lines = write_csv(tmp_path / "history.csv", plant(60)).read_text().splitlines()
    lines[7] = lines[7].rpartition(",")[0] + ","
    (tmp_path / "history.csv").write_text("\n".join(lines))
    notes: list[str] = []

    assert read(tmp_path / "history.csv", task, notes)[0] == [59]
    assert any("1 lines cannot be used: line 8" in note and 'missing = "hold"' in note for note in notes)


def test_a_file_of_which_much_cannot_be_used_is_refused(tmp_path: Path) -> None:
    task, _ = declared(tmp_path)
    path = write_csv(tmp_path / "history.csv", plant(60))
    path.write_text(path.read_text().replace(":3", ":x3"))

    with pytest.raises(DataError, match="lines cannot be used"):
        read(path, task)


def test_a_column_under_another_name_is_found_by_the_table_of_the_training(tmp_path: Path) -> None:
    task, _ = declared(tmp_path, '[train]\ncolumns = { flow = "Q1" }\n')
    path = write_csv(tmp_path / "history.csv", plant(60))
    path.write_text(path.read_text().replace("flow", "Q1"))

    assert read(path, task)[0] == [60]


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_kernel_gives_what_torch_gives(tmp_path: Path, cell: CellName) -> None:
    task, places = declared(tmp_path, f'[train]\ncell = "{cell}"\n')
    data = write_csv(tmp_path / "history.csv", plant(700))

    done = train_forecaster(task, data, places, quick(num_layers=2))

    assert done.epochs == 3
    kernel, binding = open_weights(task, places.weights.read_bytes())
    with np.load(places.example) as example:
        found = run_row(KernelStates(kernel, 2), example["x"])
        expected = example["forecast"]
    assert read_recurrent("", places.weights.read_bytes()).cell == cell
    assert binding.outputs[0].size == 4
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_forecaster_learns_more_than_that_nothing_changes(tmp_path: Path) -> None:
    task, places = declared(tmp_path)
    judged: list[tuple[float, float]] = []

    def then(trained: object) -> None:
        least = trained.least  # type: ignore[attr-defined]
        both = trained.forecasts, trained.persistence  # type: ignore[attr-defined]
        judged.append(tuple(float(each.loss(least).mean()) for each in both))  # type: ignore[arg-type]

    train_forecaster(task, write_csv(tmp_path / "history.csv", plant(1500)), places, quick(epochs=8), then=then)

    ((ours, persistence),) = judged
    assert ours < persistence - 0.1


def test_the_seed_gives_the_weights_and_a_resumed_training_the_same(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "history.csv", plant(700))
    written = []
    for name, runs in (("whole", (4,)), ("cut", (2, 4)), ("other", (4,))):
        folder = tmp_path / name
        folder.mkdir()
        task, places = declared(folder)
        for number, epochs in enumerate(runs):
            seed = 1 if name == "other" else 0
            train_forecaster(task, data, places, quick(epochs=epochs, seed=seed), resume=number > 0)
        written.append(read_recurrent("", places.weights.read_bytes()).head[0])

    assert np.array_equal(written[0], written[1])
    assert not np.array_equal(written[0], written[2])


def test_other_data_are_not_resumed_on(tmp_path: Path) -> None:
    task, places = declared(tmp_path)
    train_forecaster(task, write_csv(tmp_path / "history.csv", plant(700)), places, quick(epochs=1))

    with pytest.raises(StartupError, match="was trained on other data"):
        train_forecaster(task, write_csv(tmp_path / "other.csv", plant(700, 1)), places, quick(epochs=2), resume=True)


def test_too_little_data_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    task, places = declared(tmp_path)

    with pytest.raises(DataError, match=r"100 samples in 1 sequences are too few: \d+ in one sequence are the least"):
        train_forecaster(task, write_csv(tmp_path / "history.csv", plant(100)), places, quick())


@given(st.integers(0, 2**31), st.sampled_from(["LSTM", "GRU"]), st.integers(1, 4))
def test_a_folded_head_gives_scale_times_y_plus_shift(seed: int, cell: CellName, outputs: int) -> None:
    torch.manual_seed(seed)
    source = np.random.default_rng(seed)
    net = RecurrentNet(cell, 3, 5, 1, outputs)
    samples = source.normal(0, 1, (7, 3)).astype(np.float32)
    scale, shift = np.exp(source.normal(0, 3, outputs)), source.normal(0, 10, outputs)

    plain = outputs_of(net, folded(net, np.ones(outputs), np.zeros(outputs)), samples)
    found = outputs_of(net, folded(net, scale, shift), samples)

    assert np.allclose(found, scale * plain + shift, rtol=1e-5, atol=1e-5 * (scale + np.abs(shift)).max())


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 40), st.integers(1, 16), st.integers(1, 5))
def test_every_segment_lies_within_one_piece_and_goes_on_where_the_one_before_ended(
    seed: int, pieces: int, most: int, length: int, rows: int
) -> None:
    sizes = np.random.default_rng(seed).integers(2, most + 1, pieces).tolist()
    ends = np.cumsum(sizes).tolist()
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    stretches = Stretches(bounds, length, rows, seed)
    piece_of = np.repeat(np.arange(pieces), sizes)
    before: list[int] | None = None

    for segment in stretches.epoch(1):
        for row in range(stretches.rows):
            places = segment.places[row][segment.there[row]]
            assert len(places)
            assert np.array_equal(places, np.arange(places[0], places[0] + len(places)))
            assert len(set(piece_of[places].tolist())) == 1
            if segment.kept[row]:
                assert before is not None
                assert places[0] == before[row] + 1
        before = [int(segment.places[row][segment.there[row]][-1]) for row in range(stretches.rows)]


def test_calibrated_deviations_give_the_mean_square_1_whatever_they_were() -> None:
    source = np.random.default_rng(0)
    errors = source.normal(0, 1, (20_000, 3))
    forecasts = JudgedForecasts(errors, np.ones_like(errors) * [0.5, 1.0, 2.0])

    assert np.allclose(calibration(forecasts, np.zeros(3)), [2.0, 1.0, 0.5], rtol=0.03)


def test_one_spike_weighs_no_more_than_in_proportion() -> None:
    zero, least = torch.zeros(2), torch.zeros(1)
    near, far = (float(robust_loss(zero, torch.tensor([z]), least)) for z in (50.0, 100.0))

    assert far < 2.2 * near


def test_the_table_of_the_training_moves_no_fingerprint(tmp_path: Path) -> None:
    from core.tasks.fingerprint import fingerprint_of

    model = '[model]\nfile = "pump.safetensors"\n'
    plain, told = (
        read_declaration(task_file(tmp_path, model + more), need_files=False)
        for more in ("", '[train]\nfalse_alarms = "2/day"\nhorizon = 5\n')
    )

    assert told.training == replace(plain.training, false_alarms=14.0, horizon=5)
    assert fingerprint_of(plain, b"") == fingerprint_of(told, b"")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('learn = "classify"', "for a task of the kind window"),
        ('false_alarms = "0/week"', "above 0"),
        ('false_alarms = "1"', "such as 1/week"),
        ('cel = "GRU"', "unknown key"),
    ],
)
def test_a_table_of_the_training_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = task_file(tmp_path, f"[train]\n{text}\n")

    with pytest.raises(StartupError, match=said):
        read_to_train(path, tmp_path / "pump.safetensors")


def test_after_a_training_the_task_file_runs_and_its_alarms_are_those_of_the_threshold(tmp_path: Path) -> None:
    task, places = declared(tmp_path, "# mine\n[rules]\nmax_gap = 3\n")
    came: list[Finished] = []

    def then(trained: Trained) -> None:
        came.append(finish(task, trained, places, per_week=50.0))

    train_forecaster(task, write_csv(tmp_path / "history.csv", plant(2000)), places, quick(), then=then)

    (finished,) = came
    text = task.path.read_text()
    written = read_declaration(task.path)
    alarm = written.outputs[-1]
    assert "# mine\n[rules]\nmax_gap = 3" in text
    assert [output.name for output in written.outputs] == [
        *("forecast", "expected", "surprise", "score", "leading", "alarm"),
    ]
    assert alarm.threshold == pytest.approx(finished.chosen.threshold, rel=1e-5)
    assert all(field.normal is not None for field in written.fields)
    assert [len(each) for each in finished.scores.score] == [400]
    assert 0 < float(np.nanmean(finished.scores.score[0])) < 0.5


def test_the_held_out_scores_are_those_of_an_offline_run_over_the_whole_history(tmp_path: Path) -> None:
    task, places = declared(tmp_path)
    came: list[Finished] = []
    with h5py.File(tmp_path / "history.h5", "w") as file:
        file["flow"], file["level"] = plant(1000).T
        file.attrs["sampling_rate"] = 1.0

    def then(trained: Trained) -> None:
        came.append(finish(task, trained, places, per_week=50.0))

    train_forecaster(task, tmp_path / "history.h5", places, quick(epochs=1), then=then)
    written = read_declaration(task.path)
    model = StepModel(written, places.weights.read_bytes(), "")
    run = StepModelRun(written, model.fingerprint, model.outputs.fields, model.states())
    predict_task(tmp_path / "history.h5", tmp_path / "out.jsonl", run)

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert came[0].scores.score[0].tolist() == pytest.approx([line["score"] for line in lines[800:]], rel=1e-6)


def test_an_output_has_another_name_where_a_field_has_its_own(tmp_path: Path) -> None:
    path = task_file(tmp_path, "score = {}\nalarm_ = { alias = ['alarm'] }\n")

    names = names_for(read_to_train(path, tmp_path / "pump.safetensors"))

    assert (names.score, names.alarm, names.leading) == ("model_score", "model_alarm", "leading")


def test_the_card_and_the_plots_are_written_and_the_stretch_shows_what_came(tmp_path: Path) -> None:
    task, places = declared(tmp_path)

    def then(trained: Trained) -> None:
        finished = finish(task, trained, places, per_week=50.0)
        write_card(places.card, trained, finished, places, "caststream train /home/me/pump.toml history.csv")
        write_training_plots(places.plots, trained, finished)
        held_out = plant(1000)[800:]
        assert trained.judged_samples == pytest.approx(held_out[1:], abs=0.01)

    train_forecaster(task, write_csv(tmp_path / "history.csv", plant(1000)), places, quick(epochs=1), then=then)

    card = places.card.read_text()
    assert "caststream train pump.toml history.csv" in card
    assert "persistence" in card
    assert f"threshold {read_declaration(task.path).outputs[-1].threshold:.4g}" in card
    assert sorted(path.name for path in places.plots.iterdir()) == ["forecast.png", "scores.png"]


HISTORIES = {
    "constant": (lambda values: values * [1, 0] + [0, 5], "level never changes in the part that is learnt from"),
    "switch": (lambda values: np.stack([values[:, 0], values[:, 1] > 1000], axis=1), "level has two values only"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_field_that_says_little_is_told_and_trained_all_the_same(tmp_path: Path, name: str) -> None:
    change, said = HISTORIES[name]
    task, places = declared(tmp_path)
    notes: list[str] = []
    data = write_csv(tmp_path / "history.csv", change(plant(700)).astype(float))

    done = train_forecaster(task, data, places, quick(epochs=1), on_note=notes.append)

    assert done.best_loss is not None
    assert any(said in note for note in notes)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (lambda steps: np.where(np.arange(len(steps)) == 300, 7200, steps), "1 gaps in time, the longest of 2 h"),
        (lambda steps: steps * np.where(np.arange(len(steps)) % 3, 1, 5), "the samples come irregularly"),
    ],
)
def test_gaps_and_irregular_times_are_told(tmp_path: Path, times: Callable[[Int64s], Int64s], said: str) -> None:
    task, places = declared(tmp_path)
    notes: list[str] = []
    with h5py.File(tmp_path / "history.h5", "w") as file:
        file["flow"], file["level"] = plant(700).T
        file["timestamp_ms"] = 1_700_000_000_000 + 1000 * np.cumsum(times(np.full(700, 60)))

    train_forecaster(task, tmp_path / "history.h5", places, quick(epochs=1), on_note=notes.append)

    assert any(said in note for note in notes)


def test_streams_of_one_file_and_marked_samples_are_told(tmp_path: Path) -> None:
    task, places = declared(tmp_path)
    notes: list[str] = []
    with h5py.File(tmp_path / "history.h5", "w") as file:
        file["flow"], file["level"] = plant(1000).T
        file["anomaly"] = (np.arange(1000) // 10 == 20).astype(np.int8)
        file["sequence_start"], file["sequence_length"] = [0, 500], [500, 500]
        file.create_dataset("stream_name", data=["north", "south"], dtype=h5py.string_dtype())
        file.attrs["sampling_rate"] = 1.0

    train_forecaster(task, tmp_path / "history.h5", places, quick(epochs=1), on_note=notes.append)

    assert any("2 streams (north, south)" in note for note in notes)
    assert any("10 samples are marked as not normal" in note for note in notes)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=25), st.integers(1, 50), st.integers(0, 99))
def test_no_sample_is_on_both_sides_and_a_cut_is_wider_than_the_horizon(
    lengths: list[int], horizon: int, seed: int
) -> None:
    try:
        parts = split(lengths, horizon, seed, "history.csv")
    except DataError:
        return
    sides = [
        {(each.sequence, step) for each in part for step in range(each.start, each.end)}
        for part in (parts.learnt, parts.held_out)
    ]

    for sequence, step in sides[1]:
        assert not any((sequence, near) in sides[0] for near in range(step - horizon, step + 1))
    if len(lengths) >= MANY:
        assert not {sequence for sequence, _ in sides[0]} & {sequence for sequence, _ in sides[1]}


def test_the_sizes_of_the_table_train_hold(tmp_path: Path) -> None:
    task, places = declared(tmp_path, '[train]\ncell = "GRU"\nhidden_size = 5\nnum_layers = 2\n')
    told: list[Trained] = []
    settings = quick(epochs=1, hidden_size=None, num_layers=None)

    train_forecaster(task, write_csv(tmp_path / "history.csv", plant(600)), places, settings, then=told.append)

    assert (told[0].sizes.cell, told[0].sizes.hidden_size, told[0].sizes.num_layers) == ("GRU", 5, 2)


@pytest.mark.parametrize("kind", ["csv", "h5"])
def test_an_empty_mark_is_no_anomaly_and_what_follows_a_mark_is_disturbed(tmp_path: Path, kind: str) -> None:
    task, _ = declared(tmp_path, "[train]\nhorizon = 3\n")
    path, marks = tmp_path / f"history.{kind}", np.full(40, np.nan)
    marks[10], marks[20] = 1, 0
    if kind == "csv":
        head, *rows = write_csv(path, plant(40)).read_text().splitlines()
        cells = ["" if np.isnan(mark) else f"{mark:.0f}" for mark in marks]
        path.write_text(
            "\n".join([f"{head},anomaly", *(f"{row},{cell}" for row, cell in zip(rows, cells, strict=True))]) + "\n"
        )
    else:
        with h5py.File(path, "w") as file:
            file["flow"], file["level"] = plant(40).T
            file["anomaly"] = marks

    with open_history(path, task) as history:
        (one,) = history.sequences

    assert np.flatnonzero(one.marked).tolist() == [10]
    assert np.flatnonzero(one.disturbed).tolist() == [10, 11, 12, 13]


def test_the_rate_falls_before_the_time_is_up_and_once_only() -> None:
    settings = TaskSettings(learning_rate=1.0)
    descent = Descent(torch.nn.Linear(1, 1), settings, 100)

    rates = []
    for share in (0.0, 0.69, 0.7, 0.84, 0.86, 1.0):
        descent.time_passed(share)
        rates.append(descent.learning_rate)
    resumed = Descent(torch.nn.Linear(1, 1), settings, 100)
    resumed.load(descent.optimizer.state_dict(), descent.state())
    resumed.time_passed(0.9)

    assert rates == pytest.approx([1, 1, 0.3, 0.3, 0.09, 0.09])
    assert resumed.learning_rate == pytest.approx(0.09)
