"""A declared step task: any chunks and crashes give what one sample after the other gives."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.declared.stepper import StepModel
from core.engines.results import StreamRules
from core.engines.steps import StepEngine
from core.native.records import Record
from core.tasks.reading import read_declaration
from tests import onnx_models as models
from tests.changes import take_changed
from tests.pump import (
    SlowPump,
    rounded,
    slow_pump,
    write_gru_pump,
    write_native_pump,
    write_pump,
    write_scored_native_pump,
    write_scored_pump,
)
from tests.strategies import MemoryTable, examples

RULES = StreamRules()


PUMPS = {
    "onnx": write_pump,
    "LSTM": write_native_pump,
    "GRU": write_gru_pump,
    "scored onnx": write_scored_pump,
    "scored LSTM": write_scored_native_pump,
}


@pytest.fixture(scope="session", params=PUMPS.values(), ids=PUMPS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written: Path = request.param(tmp_path_factory.mktemp("pump"))
    return written.parent


@cache
def model_of(folder: Path) -> StepModel:
    declaration = read_declaration(folder / "pump.toml")
    return StepModel(declaration, declaration.model.file.read_bytes(), "any")


def stepper(folder: Path, table: MemoryTable, rules: StreamRules = RULES) -> StepEngine:
    return engine_of(model_of(folder), table, rules)


def engine_of(model: StepModel, table: MemoryTable, rules: StreamRules = RULES) -> StepEngine:
    return StepEngine(model.task, model.states(), rules, table.recovered())


def record(offset: int, stream: int, sample: dict[str, Any], step: int) -> Record:
    value = json.dumps(sample | {"step": step, "timestamp_ms": 1_700_000_000_000 + step}).encode()
    return Record(0, offset, 1_700_000_000_000 + offset, b"pump-%d" % stream, value)


@st.composite
def feeds(draw: st.DrawFn) -> list[Record]:
    """Records of a few pumps: now and then without load, or under the alias; a step is left out here and there."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps, found = [0] * 3, []
    for offset in range(draw(st.integers(1, 60))):
        stream = int(random.integers(3))
        name = "vib" if random.random() < 0.2 else "vibration"
        sample: dict[str, Any] = {name: random.normal(scale=1.5, size=2).round(3).tolist()}
        if steps[stream] == 0 or random.random() < 0.7:
            sample["load"] = round(float(random.uniform(0, 100)), 2)
        found.append(record(offset, stream, sample, steps[stream]))
        steps[stream] += 1 + (random.random() < 0.1)
    return found


def outputs_of(engine: StepEngine, records: list[Record]) -> list[tuple[int, Any]]:
    result = engine.run(records)
    assert not result.dead_letters
    return [(offset, json.loads(value)) for _, value, offset, _ in (result.outputs or {0: ()}).get(0, ())]


def one_by_one(folder: Path, records: list[Record]) -> list[tuple[int, Any]]:
    pumps: dict[bytes, SlowPump] = {}
    found = []
    for each in records:
        pump = pumps.setdefault(each.key, slow_pump(folder))
        found.append((each.offset, pump.step(each.key.decode(), json.loads(each.value))))
    return found


@examples(20)
@given(feeds(), st.data())
def test_any_chunks_and_crashes_give_what_one_record_after_the_other_gives(
    folder: Path, records: list[Record], data: st.DataObject
) -> None:
    table = MemoryTable()
    engine, found = stepper(folder, table), []
    rest = records
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += outputs_of(engine, rest[:size])
        rest = rest[size:]
        if data.draw(st.booleans()):  # a commit, and then another worker
            table.apply(take_changed(engine, [0]))
            engine = stepper(folder, table)

    assert rounded(found) == rounded(one_by_one(folder, records))


def test_what_is_outside_of_normal_is_counted_and_told_once(folder: Path) -> None:
    engine = stepper(folder, MemoryTable())

    result = engine.run([record(step, 1, {"vibration": [0.5, 2.5], "load": 1.0}, step) for step in range(3)])

    assert result.counts.far_outside == {"vibration": 3}
    assert [note.partition(":")[0] for note in result.notes] == [
        "vibration of stream 'pump-1' at step 0 is [0.5, 2.5], outside its normal range (-2 to 2)"
    ]


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"vibration": [0.5, 1.5]}, "missing_field"),  # nothing to hold yet
        ({"vibration": [0.5], "load": 1.0}, "vector_length"),
        ({"vibration": [0.5, 1.5], "load": 101.0}, "out_of_range"),
        ({"load": 1.0}, "missing_field"),
    ],
)
def test_a_record_that_does_not_fit_the_fields_is_a_dead_letter(
    folder: Path, sample: dict[str, Any], reason: str
) -> None:
    (letter,) = stepper(folder, MemoryTable()).run([record(0, 1, sample, 0)]).dead_letters

    assert letter.reason == reason


def restarted(folder: Path, before: str, after: str) -> dict[str, int]:
    """What a worker counts as reset: it finds the states of three streams, and ``after`` in the file for ``before``."""
    table = MemoryTable()
    engine = stepper(write_pump(folder).parent, table)
    sample = {"vibration": [0.5, 1.5], "load": 1.0}
    engine.run([record(stream, stream, sample, 0) for stream in range(3)])
    table.apply(take_changed(engine, [0]))
    path = folder / "pump.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    model_of.cache_clear()

    result = stepper(folder, table).run([record(3 + stream, stream, sample, 1) for stream in range(3)])

    assert (result.counts.processed, result.counts.gaps) == (3, 0)
    return dict(result.counts.resets)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("normal = [-2, 2]", "normal = [-1, 1]"),
        ("normal = [-2, 2]", 'unit = "mm/s"'),
        ("range = [0, 100]", "range = [0, 50]"),
        ("[model]", "[rules]\nidle_timeout = 5\n[model]"),
        ('names = ["de", "nde"]', 'names = ["de", "nde"], unit = "mm/s"'),
    ],
)
def test_a_change_that_moves_no_output_resets_no_state(tmp_path: Path, before: str, after: str) -> None:
    assert restarted(tmp_path, before, after) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("threshold = 1.0", "threshold = 2.0"),
        ('score = { of = "forecast", apply = "forecast_error" }', 'score = { of = "forecast", apply = "error" }'),
        ('names = ["de", "nde"]', 'names = ["de", "other"]'),
    ],
)
def test_a_change_that_moves_outputs_resets_every_state_counted_and_the_streams_go_on(
    tmp_path: Path, before: str, after: str
) -> None:
    assert restarted(tmp_path, before, after) == {"model": 3}


@pytest.mark.parametrize(("before", "after"), [("load = {", "pressure = {"), ("vibration = {", "swing = {")])
def test_a_sample_of_other_fields_is_held_for_none_of_now(tmp_path: Path, before: str, after: str) -> None:
    """As many numbers as before: the worker knows by the fingerprint that they are of other fields."""
    table = MemoryTable()
    engine = stepper(write_pump(tmp_path).parent, table)
    engine.run([record(0, 1, {"vibration": [0.5, 1.5], "load": 7.0}, 0)])
    table.apply(take_changed(engine, [0]))
    path = tmp_path / "pump.toml"
    path.write_text(path.read_text().replace(before, after))
    model_of.cache_clear()
    holds = StreamRules(gap_policy="hold")
    array, load = (after if name in before else name for name in ("vibration = {", "load = {"))
    lacking = {array.split()[0]: [0.5, 1.5]}

    changed = stepper(tmp_path, table, holds)
    first = changed.run([record(1, 1, lacking, 3)])
    table.apply(take_changed(changed, [0]))
    changed = stepper(tmp_path, table, holds)
    rest = changed.run([record(2, 1, lacking | {load.split()[0]: 1.0}, 4), record(3, 1, lacking, 5)])

    assert [letter.reason for letter in first.dead_letters] == ["missing_field"]
    assert (rest.counts.processed, rest.counts.gaps, rest.counts.batch_steps) == (2, 1, 2)  # the gap holds nothing
    assert not rest.dead_letters


LOGARITHM = """
name = "logarithm"
kind = "step"
[fields]
load = { alias = ["loads"], length = 64, range = [-3.1e38, 3.1e38] }
[model]
file = "logarithm.onnx"
states = { sum = "sumn" }
[outputs]
y = { names = ["first", "second"] }
score = { of = "y", apply = "forecast_error" }
total = {}
"""
WIDTH = 64


def logarithms(folder: Path) -> StepModel:
    """It forecasts the logarithms of two numbers, which may have none."""
    (folder / "logarithm.onnx").write_bytes(models.logarithms(WIDTH))
    path = folder / "logarithm.toml"
    path.write_text(LOGARITHM)
    declaration = read_declaration(path)
    return StepModel(declaration, declaration.model.file.read_bytes(), "any")


def found_of(model: StepModel, records: list[Record], at: int) -> list[tuple[int, Any]]:
    """The outputs of records where a worker ends after ``at`` of them, with all committed, and another goes on."""
    table = MemoryTable()
    engine = engine_of(model, table)
    found = outputs_of(engine, records[:at])
    table.apply(take_changed(engine, [0]))
    return found + outputs_of(engine_of(model, table), records[at:])


@pytest.mark.parametrize("bad", [[-1.0], [0.0], [3e38, 3e38]])
def test_a_restart_goes_on_from_a_state_that_is_not_finite(tmp_path: Path, bad: list[float]) -> None:
    """The forecast is NaN or infinite after one sample; with the last ones the sum of the model itself stays so."""
    model = logarithms(tmp_path)
    loads = enumerate([2.0, 3.0, *bad, 4.0, 5.0])
    records = [record(step, 1, {"load": [load] * WIDTH}, step) for step, load in loads]

    found = [found_of(model, records, at) for at in range(1, len(records))]

    assert all(each == found[0] for each in found)
    assert found[0][-1][1]["total"] == (None if len(bad) > 1 else 14.0 + bad[0])
    assert found[0][-2][1]["score"] is None or len(bad) > 1


@pytest.mark.parametrize("indent", [None, 16])
def test_a_restart_refuses_no_array_for_the_space_in_it(tmp_path: Path, indent: int | None) -> None:
    """It stands under the alias, so the first record of a stream is read another way than those that follow."""
    model = logarithms(tmp_path)
    samples = [{"loads": [1 + step + place / 7 for place in range(WIDTH)], "step": step} for step in range(4)]
    values = [json.dumps(sample, indent=indent).encode() for sample in samples]
    records = [Record(0, offset, 1_700_000_000_000, b"pump", value) for offset, value in enumerate(values)]

    found = [found_of(model, records, at) for at in range(1, len(records))]

    assert [offset for offset, _ in found[0]] == [0, 1, 2, 3]
    assert all(each == found[0] for each in found)
