"""Samples that a model cannot be run with: they have no numbers, move no state, and are nobody else's trouble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.steps import StepAudit
from core.engines.bank import ZEROS
from core.engines.declared.stepper import StepModel
from core.engines.onnx.alone import LiveRows, LiveWindows
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.binding import WantedGraph, bind
from core.engines.onnx.plan import PLANS
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.engines.results import StreamRules
from core.engines.steps import StepEngine
from core.errors import RunError
from core.native.records import Record
from core.step_batch import StepBatch
from core.tasks.reading import read_declaration
from stream_app.verify.audits import declared_steps
from stream_app.verify.outputs import TOLERANCE
from tests import onnx_models as models
from tests.audits import ALL
from tests.strategies import MemoryTable, examples

CLASSES = 8
"""The model knows these, and fails on the others."""
START_MS = 1_700_000_000_000
PLAN = st.sampled_from(sorted(PLANS))


def opened(kind: type[CallRows], plan: str = "any") -> CallRows:
    graph = Graph("model.onnx", models.classes(CLASSES))
    return kind(graph, bind(graph, WantedGraph(1, tensors=("y",))), PLANS[plan])


def stepped(bank: OnnxStates, runs: list[list[int]]) -> tuple[Any, Any]:
    """The numbers of all samples, run by run, and the states after."""
    rows = np.arange(1, len(runs) + 1)
    samples = [np.array(run, np.float32)[:, None] for run in runs]
    numbers = bank.step(StepBatch.of_runs(samples, np.full_like(rows, ZEROS), rows))
    return numbers, bank.read(rows)


@examples(40)
@given(st.lists(st.lists(st.integers(0, CLASSES + 1), min_size=1, max_size=5), min_size=1, max_size=6), PLAN)
def test_a_sample_that_fails_is_as_if_it_were_not_there_but_for_its_output(runs: list[list[int]], plan: str) -> None:
    numbers, states = stepped(OnnxStates(opened(LiveRows, plan)), runs)

    place = 0
    for run, state in zip(runs, states, strict=True):
        known = [number for number in run if number < CLASSES]
        expected, after = stepped(OnnxStates(opened(CallRows)), [known]) if known else (np.empty((0, 4)), [0 * state])
        own = numbers[place : place + len(run)]
        place += len(run)
        is_known = np.array(run) < CLASSES
        np.testing.assert_array_equal(own[is_known], expected)
        assert np.isnan(own[~is_known]).all()
        np.testing.assert_array_equal(state, after[0])


def test_a_runtime_that_cannot_go_on_is_no_sample_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RunError("out of memory")

    rows, windows = opened(LiveRows), windows_by(LiveWindows)
    monkeypatch.setattr(Graph, "run", fails)

    with pytest.raises(RunError, match="out of memory"):
        stepped(OnnxStates(rows), [[1]])
    with pytest.raises(RunError, match="out of memory"):
        windows.score([np.ones((3, 1), np.float32)])


def windows_by(kind: type[LiveWindows]) -> LiveWindows:
    graph = Graph("model.onnx", models.classes_of_window(CLASSES))
    return kind(graph, bind(graph, WantedGraph(1, tensors=("y",)), 3), PLANS["any"])


def test_a_window_that_fails_has_no_numbers_and_the_others_have_theirs() -> None:
    samples = [[1, 2, 3], [1, CLASSES, 3], [4, 5, 6], [1, 2]]
    windows = [np.array(window, np.float32)[:, None] for window in samples]

    found = windows_by(LiveWindows).score(windows)

    for place, (numbers,) in enumerate(found):
        (alone,) = windows_by(LiveWindows).score([windows[place]])[0]
        np.testing.assert_array_equal(numbers, alone)
        assert np.isnan(numbers).all() == (place == 1)


def test_a_worker_publishes_null_goes_on_and_verify_agrees(tmp_path: Path) -> None:
    (tmp_path / "mode.onnx").write_bytes(models.classes(CLASSES))
    text = 'name = "mode"\nkind = "step"\n[fields]\nmode = {}\n[model]\nfile = "mode.onnx"\nstates = { h0 = "hn" }\n'
    (tmp_path / "mode.toml").write_text(text + "[outputs]\ny = {}\n")
    task, model = read_declaration(tmp_path / "mode.toml"), models.classes(CLASSES)
    live = StepModel(task, model, "any")
    engine = StepEngine(live.task, live.states(), StreamRules(), MemoryTable().recovered())
    values = [json.dumps({"mode": number}).encode() for number in (1, CLASSES + 1, 2)]

    result = engine.run([Record(0, offset, START_MS, b"a", value) for offset, value in enumerate(values)])

    outputs = [json.loads(value) for _, value, _, _ in result.outputs[0]]
    assert [output["y"] is None or set(output["y"]) == {None} for output in outputs] == [False, True, False]
    assert (result.dead_letters, result.counts.not_finite) == ([], 1)
    assert "or cannot be run with them" in result.notes[0]
    audit = StepAudit(task, SampleReader.of(task), declared_steps(task, model, "any"), StreamRules(), Scope(0, ALL))
    for offset, value in enumerate(values):
        audit.feed(offset, START_MS, b"a", value, ())
    audit.finish(START_MS)
    found = [audit.differences(row, audit.output_type(**output)) for row, output in enumerate(outputs)]
    assert max((off for each in found for off in each.values()), default=0) < TOLERANCE
