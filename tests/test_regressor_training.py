"""Targets at each sample: trained from a history, and run by the worker's kernel with the figures that were told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.arrays import Float64s
from core.errors import DataError, StartupError
from core.tasks.check.run import check_task
from core.tasks.reading import read_to_train
from core.training.config import TaskSettings
from core.training.tasks.places import Places
from core.training.tasks.target_cards import regressor_card
from core.training.tasks.targets import TargetStatistics, last_known, target_figures
from core.training.tasks.train_regressor import TrainedRegressor, train_regressor
from tests.commands import Run
from tests.small_training import assert_same, interrupt_at, weights, without_seconds

TASK = """
name = "soft"
kind = "step"
[fields]
feed = { unit = "m3/h" }
heat = {}
[train]
learn = "regress"
targets = ["quality", "yield_share"]
"""
MODEL = """
[model]
file = "soft.safetensors"
example = "soft.example.npz"
[outputs]
prediction = { names = ["quality", "yield_share"] }
"""


def plant(samples: int, seed: int = 0) -> dict[str, Float64s]:
    """Two targets that follow from the last three samples; the second one is measured at every fifth sample."""
    random = np.random.default_rng(seed)
    feed, heat = 50 + 4 * random.normal(size=(2, samples))
    quality = 700 + np.convolve(heat - 50, [3, 2, 1])[:samples] + random.normal(0, 0.5, samples)
    share = 0.5 + np.convolve(feed - 50, [0.01, 0.005])[:samples]
    share[np.arange(samples) % 5 != 3] = np.nan
    return {"feed": feed, "heat": heat, "quality": quality, "yield_share": share}


def write_csv(path: Path, columns: dict[str, Float64s]) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join("" if np.isnan(value) else f"{value:.6g}" for value in row) for row in rows]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


def write_hdf5(path: Path, columns: dict[str, Float64s]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = np.asarray([f"{value:.6g}" for value in values], "f4")
    return path


def quick(**given: Any) -> TaskSettings:
    return TaskSettings(
        **{"epochs": 3, "hidden_size": 8, "num_layers": 1, "segment": 16, "patience": 0, "max_minutes": None} | given
    )


def train(folder: Path, data: Path, settings: TaskSettings, **options: Any) -> tuple[TrainedRegressor, list[str]]:
    (folder / "soft.toml").write_text(TASK)
    out, found, notes = folder / "soft.safetensors", [], []
    declaration = read_to_train(folder / "soft.toml", out)
    train_regressor(declaration, data, Places(out), settings, on_note=notes.append, then=found.append, **options)
    return found[0], notes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedRegressor]:
    folder = tmp_path_factory.mktemp("soft")
    found, _ = train(folder, write_csv(folder / "h.csv", plant(2500)), quick(epochs=12))
    (folder / "soft.toml").write_text(TASK + MODEL)
    return folder, found


def test_both_targets_are_learnt_better_than_their_means_and_their_last_values(
    trained: tuple[Path, TrainedRegressor],
) -> None:
    _, found = trained

    assert [each["target"] for each in found.figures] == ["quality", "yield_share"]
    for each in found.figures:
        assert each["rmse"] < 0.5 * min(each["mean_rmse"], each["last_rmse"])
        assert each["r2"] > 0.75


def test_the_check_passes_with_the_example(trained: tuple[Path, TrainedRegressor]) -> None:
    folder, _ = trained

    example = check_task(folder / "soft.toml", None).example
    assert example is not None
    assert example[0] == 200


def test_predict_on_the_history_has_the_figures_that_training_told(
    trained: tuple[Path, TrainedRegressor], run: Run, tmp_path: Path
) -> None:
    folder, found = trained
    columns = plant(2500)
    data = write_hdf5(tmp_path / "h.h5", {name: columns[name] for name in ("feed", "heat")})
    done = run("predict", str(data), "--task", str(folder / "soft.toml"))
    outputs = [json.loads(line)["prediction"] for line in done.out.splitlines()]

    (held_out,) = found.parts.held_out
    for told in found.figures:
        name = told["target"]
        wanted = np.array([float(f"{value:.6g}") for value in columns[name]], np.float32).astype(np.float64)
        errors = (np.array([each[name] for each in outputs]) - wanted)[held_out.start : held_out.end]
        errors = errors[~np.isnan(errors)]
        assert len(errors) == told["count"]
        assert np.sqrt((errors**2).mean()) == pytest.approx(told["rmse"], rel=1e-5)


def test_a_file_of_datasets_gives_the_same_weights_as_a_table(tmp_path: Path) -> None:
    columns = plant(600)
    train(tmp_path, write_csv(tmp_path / "h.csv", columns), quick())
    (other := tmp_path / "other").mkdir()
    train(other, write_hdf5(tmp_path / "h.h5", columns), quick())

    first, second = (weights(folder / "soft.safetensors") for folder in (tmp_path, other))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_values_of_the_held_out_part_are_not_learnt_from(tmp_path: Path) -> None:
    columns = plant(600)
    train(tmp_path, write_csv(tmp_path / "h.csv", columns), quick(epochs=1))
    first = weights(tmp_path / "soft.safetensors")
    columns["quality"][500:] += 1000
    columns["feed"][500:] -= 30
    train(tmp_path, write_csv(tmp_path / "h.csv", columns), quick(epochs=1))

    second = weights(tmp_path / "soft.safetensors")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "h.csv", plant(600))
    (whole := tmp_path / "whole").mkdir()
    expected, _ = train(whole, data, quick())
    train(tmp_path, data, quick(), on_progress=interrupt_at(2, 3))
    found, _ = train(tmp_path, data, quick(), resume=True)

    assert without_seconds(found.fitted.history) == without_seconds(expected.fitted.history)
    best = Places(Path("soft.safetensors")).best.name
    assert_same(*({n: torch.as_tensor(w) for n, w in weights(folder / best).items()} for folder in (whole, tmp_path)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quality": np.full(600, 3.0)}, "'quality': is always 3: there is nothing to learn"),
        ({"quality": np.full(600, np.nan)}, "has 0 values of the target"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as error:
        train(tmp_path, write_csv(tmp_path / "h.csv", plant(600) | change), quick())
    assert words in str(error.value)


def test_a_file_without_the_target_and_a_task_without_targets_are_refused(tmp_path: Path) -> None:
    columns = plant(600)
    del columns["quality"]
    with pytest.raises(DataError, match="quality"):
        train(tmp_path, write_csv(tmp_path / "h.csv", columns), quick())

    (tmp_path / "soft.toml").write_text(TASK[: TASK.index("targets")])
    declaration = read_to_train(tmp_path / "soft.toml", tmp_path / "soft.safetensors")
    with pytest.raises(StartupError, match=r"\[train\] targets is missing"):
        train_regressor(declaration, tmp_path / "h.csv", Places(tmp_path / "soft.safetensors"), quick())


values = st.one_of(st.none(), st.integers(-5, 5))


@given(st.lists(st.tuples(values, values), min_size=1, max_size=20))
def test_the_last_known_value_is_that_of_an_earlier_sample(rows: list[tuple[int | None, int | None]]) -> None:
    targets = np.array([[np.nan if each is None else each for each in row] for row in rows], np.float64)
    expected = [
        [next((rows[k][j] for k in range(i - 1, -1, -1) if rows[k][j] is not None), np.nan) for j in range(2)]
        for i in range(len(rows))
    ]

    np.testing.assert_array_equal(last_known(targets), np.array(expected, np.float64))


def test_figures_are_those_of_the_samples_whose_target_is_known() -> None:
    statistics = TargetStatistics(("y",), np.array([2.0]), np.array([1.0]))
    targets = np.array([[1.0], [np.nan], [3.0], [5.0]])
    predicted = np.array([[1.5], [99.0], [3.0], [4.0]])

    (found,) = target_figures(predicted, targets, last_known(targets), statistics)

    assert found["count"] == 3
    assert found["rmse"] == pytest.approx(np.sqrt((0.25 + 0 + 1) / 3))
    assert found["mae"] == pytest.approx(0.5)
    assert found["mean_rmse"] == pytest.approx(np.sqrt((1 + 1 + 9) / 3))
    assert found["last_rmse"] == pytest.approx(np.sqrt((4 + 4) / 2))
    assert found["r2"] == pytest.approx(1 - (1.25 / 3) / (8 / 3))


def test_the_command_trains_and_its_task_file_passes_the_check(tmp_path: Path, run: Run) -> None:
    task = tmp_path / "soft.toml"
    task.write_text("# a soft sensor\n" + TASK)
    data = write_csv(tmp_path / "h.csv", plant(600))
    (tmp_path / "s.toml").write_text("epochs = 2\nhidden_size = 8\nnum_layers = 1\n")
    done = run("train", str(task), str(data), "--config", str(tmp_path / "s.toml"))

    assert done.status == 0, done.err
    assert "quality, 120 held-out values: RMSE" in done.err
    assert task.read_text().startswith("# a soft sensor\n")
    assert 'prediction = { tensor = "prediction", names = ["quality", "yield_share"] }' in task.read_text()
    assert run("task", "check", str(task)).status == 0
    card = (tmp_path / "soft.md").read_text()
    assert "| quality | 120 |" in card
    assert str(tmp_path) not in card


def test_a_card_says_in_its_first_lines_that_a_guess_is_better(tmp_path: Path) -> None:
    columns = plant(600)
    columns["quality"] = 3 + np.sin(np.arange(600) / 100)  # follows from no field: its last value is best
    found, _ = train(tmp_path, write_csv(tmp_path / "h.csv", columns), quick(epochs=1))

    card = regressor_card(found, "caststream train soft.toml h.csv")
    assert card[1].startswith("**")
    assert "The last known value is better for quality" in "".join(card[1:3])
