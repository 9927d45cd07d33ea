"""Values far outside what a model was trained on: the rule, who counts them, and that checkpoints carry the ranges."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.castings import generate_castings
from core.data.layout import open_castings, open_signals
from core.data.signals import generate_signals
from core.engines.results import StreamRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.models.factory import ModelFactory, load_model
from core.models.fingerprint import fingerprint
from core.models.ranges import CASTING_FIELDS, SIGNAL_FIELDS, RangeCounter, Ranges, no_limits
from core.models.shipped import checkpoint_path
from core.models.survey import Survey
from core.offline.predict import predict
from core.tasks.declaration import Field
from core.training.config import DefectSettings, SignalSettings
from core.training.defect import DefectTask
from core.training.signal import SignalTask
from core.wire.records import SENSORS
from tests.strategies import FakeRecord, MemoryTable, casting_value, defect_model, signal_model, signal_value

NUMBERS = st.sampled_from((0.0, 1.0, 1.0, 0.5, -1.0, 2.0, 2.01, -3.0, 1e6)) | st.floats(-5, 5, width=32)
SAMPLE = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
ONE_HOT = Ranges(SIGNAL_FIELDS, (-1.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0), one_hot=True)
ANY = Ranges(SIGNAL_FIELDS, (-1.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0))
PLANT = Ranges(CASTING_FIELDS, (1.0, 1480.0, 120.0, 150.0, 15.0), (1.5, 1580.0, 180.0, 250.0, 40.0))
NORMAL = (1.2, 1520.0, 150.0, 200.0, 25.0)


def far(ranges: Ranges, sample: Sequence[float]) -> set[str]:
    """The fields of one sample that are far outside: slow and obvious."""
    fields = set()
    for name, columns in ranges.fields.items():
        for value, low, high in zip(sample[columns], ranges.low[columns], ranges.high[columns], strict=True):
            half = (high - low) / 2
            if value < low - half or value > high + half:
                fields.add(name)
        if ranges.one_hot and name == "condition_vector" and sorted(sample[columns]) != [0, 0, 0, 1]:
            fields.add(name)
    return fields


@pytest.mark.parametrize("ranges", [ONE_HOT, ANY, PLANT], ids=["one-hot", "any", "casts"])
@given(samples=st.lists(SAMPLE, max_size=8))
def test_a_value_is_far_outside_beyond_half_the_width_or_as_no_one_hot_vector(
    ranges: Ranges, samples: list[tuple[float, ...]]
) -> None:
    expected = [far(ranges, sample) for sample in samples]

    found = ranges.far_outside(np.array(samples).reshape(-1, 5))

    assert {one.field: one.count for one in found} == {
        name: count for name in ranges.fields if (count := sum(name in fields for fields in expected))
    }
    for one in found:
        assert one.place == [one.field in fields for fields in expected].index(True)


@pytest.mark.parametrize("ranges", [ONE_HOT, ANY, PLANT], ids=["one-hot", "any", "casts"])
@given(sample=SAMPLE)
def test_the_compiled_limits_hold_what_is_not_far_outside(ranges: Ranges, sample: tuple[float, ...]) -> None:
    assert ranges.limits().hold(sample) == (not far(ranges, sample))
    assert no_limits(5).hold(sample)


def test_a_sensor_that_stood_still_has_room_for_the_last_digits_only() -> None:
    still = Ranges(SIGNAL_FIELDS, (7.0,) * 5, (7.0,) * 5)

    assert still.far_outside(np.full((1, 5), 7.001)) == []
    assert [one.seen for one in still.far_outside(np.full((1, 5), 8.0))] == ["8", "[8, 8, 8, 8]"]


def test_what_is_said_names_the_first_value_and_the_range() -> None:
    samples = np.array([NORMAL, (1.2, 2768.0, 150.0, 200.0, 25.0)])

    (found,) = PLANT.far_outside(samples)

    assert (found.field, found.count, found.place) == ("mold_temperature", 1, 1)
    assert (found.seen, found.expected) == ("2768", "1480 to 1580")
    (found,) = ONE_HOT.far_outside(np.array([[0.0, 1.0, 1.0, 0.0, 0.0]]))
    assert (found.field, found.seen, found.expected) == ("condition_vector", "[1, 1, 0, 0]", "one 1 and three 0")


# The worker.


def of_range(model: Any, ranges: Ranges | None) -> Any:
    """The model as if it had been trained on other values."""
    model = copy.deepcopy(model)
    model.training_ranges = None if ranges is None else ranges.plain()
    return model


def run(engine: Any, values: list[bytes]) -> Any:
    """The result of a chunk of one stream."""
    first = getattr(engine, "offset", 0)
    engine.offset = first + len(values)
    return engine.run([FakeRecord(0, first + i, 1_000 + i, b"s", value) for i, value in enumerate(values)])


SIGNALS = [
    ((0.5, 1.0, 0.0, 0.0, 0.0), set()),
    ((30000.0, 1.0, 0.0, 0.0, 0.0), {"signal"}),
    ((0.5, 0.0, 0.0, 0.0, 0.0), {"condition_vector"}),
    ((0.5, 0.0, 0.0, 255.0, 0.0), {"condition_vector"}),
    ((1.99, 0.0, 0.0, 1.0, 0.0), set()),
    ((-9999.0, 1.0, 1.0, 0.0, 0.0), {"signal", "condition_vector"}),
]
CASTS = [
    (NORMAL, set()),
    ((1.2, 2768.0, 150.0, 200.0, 25.0), {"mold_temperature"}),
    ((1.2, 1793.0, 150.0, 200.0, 298.0), {"mold_temperature", "superheat"}),
    ((0.0, 0.0, 0.0, 0.0, 0.0), set(SENSORS)),
    ((1.2, 1520.0, -9999.0, 200.0, 25.0), {"mold_level"}),
    ((1.2, 1520.0, 199.0, 200.0, 25.0), set()),
]


def signal_engine(ranges: Ranges | None) -> SignalStepper:
    return SignalStepper(of_range(signal_model(), ranges), StreamRules(), MemoryTable().recovered())


def casting_engine(ranges: Ranges | None) -> CastScorer:
    from core.engines.results import WindowRules

    return CastScorer(of_range(defect_model(), ranges), StreamRules(), WindowRules(), MemoryTable().recovered())


@pytest.mark.parametrize(
    ("make", "ranges", "value", "samples"),
    [(signal_engine, ONE_HOT, signal_value, SIGNALS), (casting_engine, PLANT, casting_value, CASTS)],
    ids=["signals", "casts"],
)
def test_a_worker_counts_by_field_and_tells_each_field_once(
    make: Any, ranges: Ranges, value: Any, samples: Any
) -> None:
    engine, plain = make(ranges), make(None)
    # The first record of a stream goes another way than the plain ones after it.
    values = [value(sample) for sample, _ in [*samples, *samples]]
    expected = {name: n for name in ranges.fields if (n := 2 * sum(name in fields for _, fields in samples))}

    result, without = run(engine, values), run(plain, values)

    assert result.counts.far_outside == expected
    assert sorted(note.split(" of stream 's' at step ")[0] for note in result.notes) == sorted(expected)
    assert all("far outside what the model was trained on (" in note for note in result.notes)
    again = run(engine, values)
    assert (again.counts.far_outside, again.notes) == (expected, [])
    assert (without.counts.far_outside, without.notes) == ({}, [])


def test_samples_that_a_gap_repeats_are_counted_once() -> None:
    engine = SignalStepper(of_range(signal_model(), ONE_HOT), StreamRules(gap_policy="hold"), MemoryTable().recovered())
    far_off = (30000.0, 1.0, 0.0, 0.0, 0.0)

    result = run(engine, [signal_value(far_off, step=0), signal_value(far_off, step=9)])

    assert result.counts.far_outside == {"signal": 2}


# Training, and the checkpoints that are shipped.


def test_a_training_keeps_the_ranges_of_its_rows_alone(tmp_path: Path) -> None:
    generate_signals(tmp_path / "s.h5", 12, seed=3, steps=600)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["mixed_signals"][11, 5] = 500.0  # held out
    with open_signals(tmp_path / "s.h5") as file:
        task = SignalTask(file, SignalSettings(segment=50, hidden_size=32))
        highest = np.abs(file["mixed_signals"][: len(task.training.rows)]).max()

    ranges = task.model.training_ranges
    assert ranges == {"low": [-highest, 0, 0, 0, 0], "high": [highest, 1, 1, 1, 1], "one_hot": True}


def test_conditions_that_are_not_one_hot_are_told_by_their_range() -> None:
    counter = RangeCounter()
    counter.add(np.array([[1.0, 0.5, 0.0, 0.0, 0.5], [2.0, 1.0, 0.0, 0.0, 0.0]]))
    counter.add_conditions(np.array([[0.5, 0.0, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0]]))

    assert counter.ranges(SIGNAL_FIELDS).plain() == {
        "low": [1.0, 0.5, 0.0, 0.0, 0.0],
        "high": [2.0, 1.0, 0.0, 0.0, 0.5],
        "one_hot": False,
    }


def test_a_defect_training_keeps_the_ranges_of_its_casts(tmp_path: Path) -> None:
    generate_castings(tmp_path / "c.h5", 120, seed=5)
    with open_castings(tmp_path / "c.h5") as file:
        task = DefectTask(file, DefectSettings(hidden_size=4))
        read = task.training.reader()
        samples = np.concatenate([read(i, 0, int(n)) for i, n in enumerate(task.training.lengths)])

    expected = {"low": samples.min(axis=0).tolist(), "high": samples.max(axis=0).tolist(), "one_hot": False}
    assert task.model.training_ranges == expected
    ModelFactory.save_checkpoint(task.model, tmp_path / "m.pt")
    assert load_model(tmp_path / "m.pt", "defect").training_ranges == expected


def test_ranges_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(of_range(signal_model(), ONE_HOT)) == fingerprint(of_range(signal_model(), None))


@pytest.mark.parametrize(
    ("kind", "name", "fields"), [("signal", "599257fda5be", SIGNAL_FIELDS), ("defect", "2845f72c6c38", CASTING_FIELDS)]
)
def test_the_shipped_models_have_ranges_that_hold_generated_data(
    tmp_path: Path, kind: Any, name: str, fields: Any
) -> None:
    model = load_model(checkpoint_path(kind), kind)
    ranges = Ranges.read(model.training_ranges, fields)
    if kind == "signal":
        generate_signals(tmp_path / "x.h5", 20, seed=11, steps=500)
        with h5py.File(tmp_path / "x.h5") as file:
            conditions = np.repeat(file["condition_vectors"][:], 500, axis=0)
            samples = np.column_stack([file["mixed_signals"][:].ravel(), conditions])
    else:
        generate_castings(tmp_path / "x.h5", 40, seed=11)
        with h5py.File(tmp_path / "x.h5") as file:
            samples = np.column_stack([file[sensor][:] for sensor in SENSORS])

    assert ranges is not None
    assert ranges.far_outside(samples) == []
    assert fingerprint(model) == name


@pytest.mark.parametrize("told", [{"low": [1.0]}, {"low": [2.0] * 5, "high": [1.0] * 5}, {"low": ["x"], "high": [1.0]}])
def test_ranges_that_cannot_be_are_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    model = copy.deepcopy(signal_model())
    model.training_ranges = told
    ModelFactory.save_checkpoint(model, tmp_path / "m.pt")

    with pytest.raises(RuntimeError, match="Failed to load checkpoint"):
        ModelFactory.create_from_checkpoint(tmp_path / "m.pt")


# Files.


def test_a_survey_has_one_line_for_each_field() -> None:
    survey, nothing = Survey(PLANT), Survey(None)
    hot = np.array([NORMAL, (1.2, 2768.0, 150.0, 200.0, 25.0), (1.2, 2770.0, 150.0, 200.0, -9999.0)])
    for one in (survey, nothing):
        one.add(np.array([NORMAL] * 7), row=0)
        one.add(hot, row=1, step=20)

    assert survey.lines() == [
        "mold_temperature: 2 of 10 samples are far outside what the model was trained on: 2768 in row 1 at step 21, "
        "expected 1480 to 1580",
        "superheat: 1 of 10 samples are far outside what the model was trained on: -9999 in row 1 at step 22, "
        "expected 15 to 40",
    ]
    assert nothing.lines() == []


@pytest.mark.parametrize("kind", ["signal", "casting"])
def test_predict_says_what_lies_far_outside_and_nothing_of_other_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    if kind == "signal":
        generate_signals(path, 3, seed=4, steps=40)
    else:
        generate_castings(path, 3, seed=4)
    plain: list[str] = []
    predict(path, tmp_path / "out.jsonl", on_note=plain.append)
    with h5py.File(path, "r+") as file:
        if kind == "signal":
            file["condition_vectors"][1] = (1.0, 1.0, 0.0, 0.0)
            file["mixed_signals"][2] = 30000.0
        else:
            file["mold_temperature"][...] = file["mold_temperature"][:] + 273.15
    told: list[str] = []
    predict(path, tmp_path / "out.jsonl", on_note=told.append)

    words = " samples are far outside what the model was trained on: "
    assert not any(words in note for note in plain)
    found = [note.partition(words) for note in told if words in note]
    if kind == "signal":
        assert [(count, said) for count, _, said in found] == [
            ("signal: 40 of 120", "30000 in row 2 at step 0, expected -1.99909 to 1.99909"),
            ("condition_vector: 40 of 120", "[1, 1, 0, 0] in row 1 at step 0, expected one 1 and three 0"),
        ]
    else:
        assert [count.partition(":")[0] for count, _, _ in found] == ["mold_temperature"]
        assert found[0][2].endswith(" in row 0 at step 0, expected 1480 to 1580")


def test_a_value_at_the_bound_of_what_a_task_calls_normal_is_normal_as_float32_too() -> None:
    field = Field("level", normal=(-0.3, 0.1))
    ranges = Ranges.normal((field,), {"level": slice(0, 1)})
    assert ranges is not None

    assert ranges.far_outside(np.array([[-0.3], [0.1]], np.float32)) == []
    assert all(ranges.limits().hold((bound,)) for bound in field.normal or ())
    (found,) = ranges.far_outside(np.array([[0.1], [0.1001]], np.float32))
    assert (found.count, found.expected) == (1, "-0.3 to 0.1")
