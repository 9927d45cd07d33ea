"""A classifier of a user's own window task: trained from labelled sequences, and run by the worker's kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.arrays import Float64s, Int64s
from core.engines.results import WindowRules
from core.errors import DataError, StartupError
from core.tasks.check.run import check_task
from core.tasks.reading import read_to_train
from core.training.calibration import platt
from core.training.config import TaskSettings
from core.training.tasks.class_parts import class_parts
from core.training.tasks.class_scores import (
    balanced_accuracy,
    calibrate,
    confusion,
    cross_entropy,
    figures_of,
    softmax,
)
from core.training.tasks.class_windows import all_due, by_chance
from core.training.tasks.labels import SequenceLabels, open_labelled
from core.training.tasks.places import Places
from core.training.tasks.train_classifier import TrainedClassifier, folded_into, train_classifier
from tests.commands import Run
from tests.small_training import assert_same, interrupt_at, weights, without_seconds
from tests.strategies import examples

CLASSES = ("fast", "middle", "slow")
TASK = """
name = "motor"
kind = "window"
[fields]
current = { unit = "A" }
speed = {}
[window]
length = 40
first = 20
hop = 15
"""
MODEL = """
[model]
file = "motor.safetensors"
example = "motor.example.npz"
[outputs]
odds = { tensor = "logits", apply = "softmax", labels = ["fast", "middle", "slow"] }
kind = { of = "odds", apply = "label" }
peak = { tensor = "attention", apply = "argmax_step" }
"""
PERIODS = {"fast": 5, "middle": 11, "slow": 24}


def motors(sequences: int = 60, seed: int = 0) -> list[tuple[str, Float64s]]:
    """Sequences with their labels: the current swings with the period of the class, some are too short for a score."""
    random, found = np.random.default_rng(seed), []
    for number in range(sequences):
        label = CLASSES[number % 3]
        count = int(random.integers(8, 19)) if number % 10 == 9 else int(random.integers(30, 90))
        phase = 2 * np.pi * np.arange(count) / PERIODS[label] + random.uniform(0, 6)
        values = np.stack([20 + np.sin(phase), random.normal(size=count)], axis=1)
        values[:, 0] += random.normal(0, 0.2, count)
        found.append((label, values.round(4)))
    return found


def write_csv(path: Path, found: Sequence[tuple[str, Float64s]], name: str = "label") -> Path:
    lines = [
        f"m-{number},{current:g},{speed:g},{label}"
        for number, (label, values) in enumerate(found)
        for current, speed in values.tolist()
    ]
    path.write_text("\n".join([f"sequence,current,speed,{name}", *lines]) + "\n")
    return path


def write_hdf5(path: Path, found: Sequence[tuple[str, Float64s]], labels: Any = None) -> Path:
    counts = [len(values) for _, values in found]
    with h5py.File(path, "w") as file:
        file["current"], file["speed"] = np.concatenate([values for _, values in found]).T.astype("f4")
        file["sequence_start"], file["sequence_length"] = np.cumsum(counts) - counts, counts
        file["sequence_name"] = [f"m-{number}" for number in range(len(found))]
        if labels is not None:
            file["label"] = labels
    return path


def quick(**given: Any) -> TaskSettings:
    return TaskSettings(**{"epochs": 2, "hidden_size": 8, "patience": 0, "max_minutes": None} | given)


def train(
    folder: Path, data: Path, settings: TaskSettings, task: str = TASK, **options: Any
) -> tuple[TrainedClassifier, list[str]]:
    (folder / "motor.toml").write_text(task)
    out, found, notes = folder / "motor.safetensors", [], []
    declaration = read_to_train(folder / "motor.toml", out)
    train_classifier(declaration, data, Places(out), settings, on_note=notes.append, then=found.append, **options)
    return found[0], notes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedClassifier, list[str]]:
    folder = tmp_path_factory.mktemp("motor")
    found, notes = train(folder, write_csv(folder / "h.csv", motors()), quick(epochs=14, learning_rate=0.01))
    (folder / "motor.toml").write_text(TASK + MODEL)
    return folder, found, notes


def test_classes_are_told_apart_better_than_by_baselines(
    trained: tuple[Path, TrainedClassifier, list[str]],
) -> None:
    _, found, notes = trained
    last = found.figures["last"]

    assert found.classes == CLASSES
    assert last["balanced_accuracy"] > 0.8 > max(found.figures["baselines"].values())
    assert min(last["auc"]) > 0.9
    assert any("of fewer than 20 samples" in note for note in notes)


def test_the_check_passes_with_the_example(trained: tuple[Path, TrainedClassifier, list[str]]) -> None:
    folder, _, _ = trained

    example = check_task(folder / "motor.toml", None).example
    assert example is not None
    assert example[0] == 8


def test_predict_on_the_history_has_the_figures_that_training_told(
    trained: tuple[Path, TrainedClassifier, list[str]], run: Run, tmp_path: Path
) -> None:
    folder, found, _ = trained
    data = write_hdf5(tmp_path / "h.h5", motors())
    done = run("predict", str(data), "--task", str(folder / "motor.toml"))
    outputs = [json.loads(line) for line in done.out.splitlines()]

    held_out = {f"m-{number}" for number in found.parts.held_out.tolist()}
    own = [each for each in outputs if each["sequence"] in held_out]
    truth = {f"m-{number}": CLASSES.index(label) for number, (label, _) in enumerate(motors())}
    for name, chosen in (("all", own), ("last", [each for each in own if each["final"]])):
        labels = np.array([truth[each["sequence"]] for each in chosen])
        odds = np.array([[each["odds"][label] for label in CLASSES] for each in chosen])
        assert figures_of(odds, labels) == found.figures[name]
        assert [CLASSES[place] for place in odds.argmax(axis=1)] == [each["kind"] for each in chosen]


def test_a_file_of_datasets_gives_the_same_weights_as_a_table(tmp_path: Path) -> None:
    found = motors(30)
    train(tmp_path, write_csv(tmp_path / "h.csv", found), quick())
    (other := tmp_path / "other").mkdir()
    train(other, write_hdf5(tmp_path / "h.h5", found, [label for label, _ in found]), quick())

    first, second = (weights(folder / "motor.safetensors") for folder in (tmp_path, other))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "h.csv", motors(30))
    (whole := tmp_path / "whole").mkdir()
    expected, _ = train(whole, data, quick(epochs=3))
    train(tmp_path, data, quick(epochs=3), on_progress=interrupt_at(2, 1))
    found, _ = train(tmp_path, data, quick(epochs=3), resume=True)

    assert without_seconds(found.fitted.history) == without_seconds(expected.fitted.history)
    assert found.figures == expected.figures
    name = "motor.safetensors"
    assert_same(*({n: torch.as_tensor(w) for n, w in weights(folder / name).items()} for folder in (whole, tmp_path)))


def test_sequences_that_are_held_out_are_not_learnt_from(tmp_path: Path) -> None:
    found = motors(30)
    first, _ = train(tmp_path, write_csv(tmp_path / "h.csv", found), quick(epochs=1))
    before = weights(tmp_path / "motor.training.pt")
    for place in first.parts.held_out.tolist():
        label, values = found[place]
        found[place] = (label, values + 100)
    train(tmp_path, write_csv(tmp_path / "h.csv", found), quick(epochs=1))

    assert_same(before, weights(tmp_path / "motor.training.pt"))


def test_a_file_that_cannot_be_learnt_from_is_refused_in_words(tmp_path: Path) -> None:
    found = motors(30)

    def refusal(data: Path, task: str = TASK) -> str:
        with pytest.raises((DataError, StartupError)) as error:
            train(tmp_path, data, quick(epochs=1), task)
        return str(error.value)

    few = write_csv(tmp_path / "few.csv", found[:8])
    assert "the class 'fast' has 3 sequences of 20 samples or more" in refusal(few)
    one = write_csv(tmp_path / "one.csv", [("fast", values) for _, values in found])
    assert "has 1 labels (fast (30)): a classifier learns from 2" in refusal(one)
    none = write_hdf5(tmp_path / "none.h5", found)
    assert "has no dataset 'label' of labels" in refusal(none)
    lines = (tmp_path / "few.csv").read_text().splitlines()
    lines[5] = lines[5].replace("fast", "slow")
    (tmp_path / "mixed.csv").write_text("\n".join(lines) + "\n")
    assert "sequence 0 has the labels 'fast' and 'slow'" in refusal(tmp_path / "mixed.csv")
    cell = TASK + '[train]\ncell = "GRU"\n'
    assert "a classifier of windows is an LSTM" in refusal(write_csv(tmp_path / "h.csv", found), cell)


@pytest.mark.parametrize("form", ["texts", "numbers", "each sample", "column", "another name"])
def test_labels_are_read_of_every_form(tmp_path: Path, form: str) -> None:
    found = motors(12)
    texts = ["" if number == 4 else label for number, (label, _) in enumerate(found)]
    counts = [len(values) for _, values in found]
    task = TASK + '[train]\ntargets = ["state"]\n' if form == "another name" else TASK
    codes = [CLASSES.index(text) * 10 if text else -1 for text in texts]
    if form in ("column", "another name"):
        pairs = [(text, values) for text, (_, values) in zip(texts, found, strict=True)]
        data = write_csv(tmp_path / "h.csv", pairs, "state" if form == "another name" else "label")
    else:
        labels = {"texts": texts, "numbers": codes, "each sample": np.repeat(codes, counts)}[form]
        data = write_hdf5(tmp_path / "h.h5", found, labels)
    (tmp_path / "motor.toml").write_text(task)

    with open_labelled(data, read_to_train(tmp_path / "motor.toml", tmp_path / "m.safetensors")) as (history, labelled):
        assert [len(each) for each in history.sequences] == counts

    assert labelled.classes == (("0", "10", "20") if form in ("numbers", "each sample") else CLASSES)
    assert labelled.numbers.tolist() == [CLASSES.index(text) if text else -1 for text in texts]


def test_labels_that_are_numbers_stand_by_size(tmp_path: Path) -> None:
    pairs = [(("2", "10", "-1")[number % 3], values) for number, (_, values) in enumerate(motors(6))]
    (tmp_path / "motor.toml").write_text(TASK)
    declaration = read_to_train(tmp_path / "motor.toml", tmp_path / "m.safetensors")

    with open_labelled(write_csv(tmp_path / "h.csv", pairs), declaration) as (_, labelled):
        assert labelled.classes == ("-1", "2", "10")


def test_the_command_trains_and_its_task_file_passes_the_check(tmp_path: Path, run: Run) -> None:
    task = tmp_path / "motor.toml"
    task.write_text(TASK + "# my own line\n")
    data = write_csv(tmp_path / "h.csv", motors(30))
    (tmp_path / "s.toml").write_text("epochs = 2\nhidden_size = 8\n")
    done = run("train", str(task), str(data), "--config", str(tmp_path / "s.toml"))

    assert done.status == 0, done.err
    assert "held-out sequences: balanced accuracy" in done.err
    assert "# my own line" in task.read_text()
    assert 'class = { of = "probabilities", apply = "label" }' in task.read_text()
    assert run("task", "check", str(task)).status == 0
    card = (tmp_path / "motor.md").read_text()
    assert "| fast |" in card
    assert "logistic regression" in card
    found = [
        json.loads(line)
        for line in run("predict", str(write_hdf5(tmp_path / "h.h5", motors(30))), "--task", str(task)).out.splitlines()
    ]
    assert {each["class"] for each in found} <= {*CLASSES, None}


# The parts.


@given(st.lists(st.integers(-1, 2), min_size=30, max_size=80), st.integers(0, 99))
def test_every_sequence_is_in_one_part_and_every_class_in_each(numbers: list[int], seed: int) -> None:
    numbers += [0, 1, 2] * 4
    lengths = np.array([5 if place % 7 == 6 else 30 for place in range(len(numbers) - 12)] + [30] * 12)
    labels = SequenceLabels(CLASSES, np.array(numbers))

    parts = class_parts(labels, lengths, 10, seed, "h.csv")

    each = [*parts.learnt.tolist(), *parts.chosen.tolist(), *parts.calibrated.tolist()]
    assert sorted(each) == [place for place, number in enumerate(numbers) if number >= 0 and lengths[place] >= 10]
    for part in (parts.learnt, parts.chosen, parts.calibrated):
        assert set(labels.numbers[part].tolist()) == {0, 1, 2}
    assert parts.unknown == numbers.count(-1)


RULES = WindowRules(window_length=12, window_min=5, hop=4)


@given(st.lists(st.integers(5, 60), min_size=1, max_size=8), st.integers(0, 99))
def test_windows_by_chance_are_such_as_a_worker_may_score(lengths: list[int], seed: int) -> None:
    counts = np.array(lengths)
    places = np.arange(len(lengths))

    cut = by_chance(places, counts, places % 3, RULES, np.random.default_rng(seed))

    assert set(cut.sequences.tolist()) == set(places.tolist())
    for sequence, start, end in zip(cut.sequences, cut.starts, cut.ends, strict=True):
        assert 5 <= end <= lengths[sequence]
        assert start == max(0, end - 12)
    assert (cut.labels == cut.sequences % 3).all()


@given(st.lists(st.integers(5, 60), min_size=1, max_size=8))
def test_windows_that_are_due_weigh_one_for_each_sequence(lengths: list[int]) -> None:
    places = np.arange(len(lengths))

    cut = all_due(places, np.array(lengths), places, RULES)

    for place, length in enumerate(lengths):
        own = cut.some(np.flatnonzero(cut.sequences == place))
        assert own.ends.tolist() == [*range(5, length, 4), length]
        assert cut.weights[cut.sequences == place].sum() == pytest.approx(1)
        assert own.final.tolist() == [0] * (len(own) - 1) + [1]


# Calibration and figures.


def drawn(classes: int, count: int, seed: int) -> tuple[Float64s, Int64s]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count)])
    logits = random.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += 1.0
    return logits, labels


@examples(50)
@given(st.integers(2, 5), st.integers(20, 200), st.integers(0, 99), st.floats(0.1, 10), st.floats(-3, 3))
def test_calibration_undoes_a_scale_and_a_shift(
    classes: int, count: int, seed: int, scale: float, shift: float
) -> None:
    logits, labels = drawn(classes, count, seed)
    ones = np.ones(len(labels))
    shifts = np.zeros(classes)
    shifts[0] = shift

    expected = softmax(calibrate(logits, labels, ones).applied(logits))
    found = softmax(calibrate(scale * logits + shifts, labels, ones).applied(scale * logits + shifts))

    np.testing.assert_allclose(found, expected, atol=0.02)  # the ridge holds shifts back a little
    uncalibrated = cross_entropy(scale * logits + shifts, labels, ones)
    smoothing = 0.05
    assert cross_entropy(np.log(found), labels, ones) <= uncalibrated + smoothing


def test_calibration_of_two_classes_is_that_of_platt() -> None:
    logits, labels = drawn(2, 300, 0)
    found = calibrate(logits, labels, np.ones(len(labels))).applied(logits)
    difference = logits[:, 1] - logits[:, 0]
    fitted = platt(difference, labels)

    np.testing.assert_allclose(found[:, 1] - found[:, 0], fitted["a"] * difference + fitted["b"], atol=1e-3)


def test_a_calibration_is_folded_into_the_last_layer() -> None:
    from tests.test_own_windows import by_torch, classifier, draw

    model = classifier(3)
    (window,) = draw(model, [9])
    before = by_torch(model, window)[0].astype(np.float64)
    calibration = calibrate(*drawn(3, 50, 1), np.ones(53))
    folded_into(model, calibration)

    np.testing.assert_allclose(by_torch(model, window)[0], calibration.applied(before[None])[0], atol=1e-5)


def test_classes_that_are_told_apart_without_an_error_do_not_send_the_scale_to_infinity() -> None:
    labels = np.arange(40) % 2
    logits = np.stack([-labels, labels], axis=1) * 20.0

    assert 0 < calibrate(logits, labels, np.ones(40)).scale < 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_the_confusion_and_the_balanced_accuracy_are_as_counted_by_hand(pairs: list[tuple[int, int]]) -> None:
    labels, found = (np.array(column) for column in zip(*pairs, strict=True))
    table = confusion(labels, found, 3)

    assert [[table[true, other] for other in range(3)] for true in range(3)] == [
        [pairs.count((true, other)) for other in range(3)] for true in range(3)
    ]
    shares = [
        sum(true == other for true, other in pairs if true == each) / sum(true == each for true, _ in pairs)
        for each in sorted(set(labels.tolist()))
    ]
    assert balanced_accuracy(table) == pytest.approx(sum(shares) / len(shares))
