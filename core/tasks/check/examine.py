"""The check of a task's model, step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.engines.binding import Binding
from core.engines.declared.outputs import StepOutputs
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.contents import RECURRENT
from core.engines.onnx.plan import ANY
from core.engines.onnx.probe import LARGE_BATCHES, SMALL_BATCHES, Pool, find_plan, plans_of, reach
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.engines.onnx.task import open_graph
from core.engines.own_weights import has_own_weights
from core.errors import StartupError
from core.tasks.check.carried import run
from core.tasks.check.cost import check_size, row_seconds
from core.tasks.check.ends import check_ends
from core.tasks.check.examine_weights import examine_weights
from core.tasks.check.examine_windows import examine_windows
from core.tasks.check.findings import Checked
from core.tasks.check.moves import POOL_ROWS, POOL_STEPS, are_many, check_fields, check_states, still_numbers, unread
from core.tasks.check.noise import SampleSource, read_samples
from core.tasks.check.swapped import goes_on_elsewhere, named_otherwise
from core.tasks.check.trial import StepTrial
from core.tasks.declaration import Declaration

SLOW_SECONDS = 50e-6
"""For a row: a model that takes longer is tried in few large batches, so that a check stays short."""
_PROVE = "correct it, or set example in [model]: a model that agrees with its example is right as it is"


def examine(declaration: Declaration, model: bytes, data: Path | None, most_state_bytes: int) -> Checked:
    """Check a model.

    Args:
        declaration: its model is an ONNX file, or weights of its own.
        model: the file's bytes.
        data: samples to try it with (`noise.read_samples`); None: noise.
        most_state_bytes: of one stream.

    Raises:
        StartupError: the model is refused: file, name, what is wrong, what to do.
    """
    if declaration.window is not None:
        return examine_windows(declaration, declaration.window, model, data)
    if has_own_weights(declaration):
        return examine_weights(declaration, model, data, most_state_bytes)
    graph, binding = open_graph(declaration, model)
    outputs = StepOutputs(graph.file, declaration.outputs, binding.columns, declaration.width)
    check_size(graph.file, binding.state_size + outputs.kept, most_state_bytes)
    noise = SampleSource(declaration)
    source = noise if data is None else SampleSource(declaration, read_samples(data, declaration))
    rows = CallRows(graph, binding)
    samples = noise.draw(POOL_STEPS, POOL_ROWS)  # a sensor may have stood still in what was recorded
    pool = reach(rows, samples)
    check_states(rows, pool, samples)
    still = still_numbers(rows, pool, samples)
    check_fields(graph.file, declaration, still)
    pool = reach(rows, source.draw(POOL_STEPS, POOL_ROWS))
    rows = rows.by(find_plan(plans_of(rows), pool, _batches(row_seconds(OnnxStates(rows), source, 64))))
    again = CallRows(*open_graph(declaration, model), rows.plan)
    trial = StepTrial(declaration, model, binding, lambda: OnnxStates(rows), source)
    trial.check_carried(OnnxStates(again))
    check_ends(declaration, lambda sample: run(OnnxStates(rows), sample[None, None], np.zeros(1), np.ones(1)))
    agreed = trial.agreed()
    told = unread(declaration, still)
    doubts = _doubts(graph, rows.by(ANY), pool, told if are_many(declaration, still) else [])
    if doubts and agreed is None:
        raise StartupError(f"{graph.file}: {doubts[0]}; {_PROVE}")
    return trial.passed(rows.plan.name, agreed, (*dict.fromkeys((*doubts, *told)), *_notes(graph, binding, agreed)))


def _doubts(graph: Graph, rows: CallRows, pool: Pool, unread: list[str]) -> list[str]:
    """Doubts that an example alone can dispel."""
    states = {state.before.name: state.after for state in rows.binding.states}
    swapped = named_otherwise(states, [port.name for port in graph.outputs]) or goes_on_elsewhere(rows, pool)
    found = [f"[model] states: {swapped}", *unread] if swapped else list(unread)
    if not states and graph.contents.operators & RECURRENT:
        operator = min(graph.contents.operators & RECURRENT)
        found.append(
            f"the graph has the operator {operator} and no state that is carried, so it starts over at every sample; "
            "export its states as inputs and outputs (caststream task export-help torch), or, if it looks at a "
            'window of samples, write kind = "window"'
        )
    return found


def _notes(graph: Graph, binding: Binding, agreed: tuple[int, float] | None) -> list[str]:
    found = []
    if agreed is None:
        found.append("there is no example, so nothing shows that the graph computes what your framework does")
    if not binding.states:
        found.append("the model has no state: each output depends on its own sample alone")
    if binding.unread:
        found.append(f"outputs that nobody reads: {', '.join(binding.unread)}")
    return found


def _batches(row_seconds: float) -> tuple[int, ...]:
    if row_seconds > 10 * SLOW_SECONDS:
        return SMALL_BATCHES
    return SMALL_BATCHES + (LARGE_BATCHES if row_seconds <= SLOW_SECONDS else LARGE_BATCHES[::6])
