"""The check of a task's ONNX model, step by step."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from core.engines.declared.outputs import StepOutputs
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.binding import Binding
from core.engines.onnx.contents import RECURRENT
from core.engines.onnx.plan import ANY
from core.engines.onnx.probe import LARGE_BATCHES, SMALL_BATCHES, Pool, find_plan, plans_of, reach
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.engines.onnx.task import open_graph
from core.errors import StartupError
from core.tasks.check.carried import check_finite, check_halves, run
from core.tasks.check.examine_windows import examine_windows
from core.tasks.check.example import compare_example
from core.tasks.check.findings import CarriedState, Checked
from core.tasks.check.moves import are_many, check_fields, check_states, still_numbers, unread
from core.tasks.check.noise import SampleSource, read_samples
from core.tasks.check.swapped import goes_on_elsewhere, named_otherwise
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import fingerprint_of, model_hash

POOL_ROWS, POOL_STEPS = 128, 10
HALF_STEPS, HALF_ROWS = 32, 8
FINITE_STEPS, FINITE_ROWS = 1_000, 4
TIMED_ROWS = (1, 64, 1_000)
TRIES, LONGEST_TIMING_SECONDS = 8, 0.1
SLOW_SECONDS = 50e-6
"""For a row: a model that takes longer is tried in few large batches, so that a check stays short."""
_PROVE = "correct it, or set example in [model]: a model that agrees with its example is right as it is"


def examine(declaration: Declaration, model: bytes, data: Path | None, most_state_bytes: int) -> Checked:
    """Check a model.

    Args:
        declaration: its model is an ONNX file.
        model: the file's bytes.
        data: samples to try it with (`noise.read_samples`); None: noise.
        most_state_bytes: of one stream.

    Raises:
        StartupError: the model is refused: file, name, what is wrong, what to do.
    """
    if declaration.window is not None:
        return examine_windows(declaration, declaration.window, model, data)
    graph, binding = open_graph(declaration, model)
    StepOutputs(graph.file, declaration.outputs, binding.columns, declaration.width)  # refuses what does not fit
    _check_size(graph.file, binding, most_state_bytes)
    noise = SampleSource(declaration)
    source = noise if data is None else SampleSource(declaration, read_samples(data, declaration))
    rows = CallRows(graph, binding)
    samples = noise.draw(POOL_STEPS, POOL_ROWS)  # a sensor may have stood still in what was recorded
    pool = reach(rows, samples)
    check_states(rows, pool, samples)
    still = still_numbers(rows, pool, samples)
    check_fields(graph.file, declaration, still)
    pool = reach(rows, source.draw(POOL_STEPS, POOL_ROWS))
    rows = rows.by(find_plan(plans_of(rows), pool, _batches(_row_seconds(rows, source, 64))))
    again = CallRows(*open_graph(declaration, model), rows.plan)
    check_halves(graph.file, OnnxStates(rows), OnnxStates(again), source.draw(2 * HALF_STEPS, HALF_ROWS, 1))
    check_finite(graph.file, OnnxStates(rows), binding, source.draw(FINITE_STEPS, FINITE_ROWS, 2))
    example = declaration.model.example
    agreed = None if example is None else compare_example(example, graph.file, OnnxStates(rows), binding)
    told = unread(declaration, still)
    doubts = _doubts(graph, rows.by(ANY), pool, told if are_many(declaration, still) else [])
    if doubts and agreed is None:
        raise StartupError(f"{graph.file}: {doubts[0]}; {_PROVE}")
    return Checked(
        fingerprint=fingerprint_of(declaration, model),
        model=model_hash(model),
        plan=rows.plan.name,
        states=tuple(CarriedState(state.before.name, state.after, state.before.of_rows(1)) for state in binding.states),
        outputs={tensor.name: tensor.shape for tensor in binding.outputs},
        microseconds={count: round(1e6 * _row_seconds(rows, source, count), 2) for count in TIMED_ROWS},
        example=agreed,
        notes=(*dict.fromkeys((*doubts, *told)), *_notes(graph, binding, agreed)),
    )


def _check_size(file: str, binding: Binding, most: int) -> None:
    size = 4 * binding.state_size
    if size > most:
        raise StartupError(
            f"{file}: a stream's state has {size:,} bytes, more than the {most:,} that are accepted: every commit "
            "writes it; train a smaller model, or raise the setting max_state_bytes, up to 524,288"
        )


def _doubts(graph: Graph, rows: CallRows, pool: Pool, unread: list[str]) -> list[str]:
    """Doubts that an example alone can dispel."""
    states = {state.before.name: state.after for state in rows.binding.states}
    swapped = named_otherwise(states, [port.name for port in graph.outputs]) or goes_on_elsewhere(rows, pool)
    found = [f"[model] states: {swapped}", *unread] if swapped else list(unread)
    if not states and graph.contents.operators & RECURRENT:
        operator = min(graph.contents.operators & RECURRENT)
        found.append(
            f"the graph has the operator {operator} and no state that is carried, so it begins anew at every sample; "
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


def _row_seconds(rows: CallRows, source: SampleSource, count: int) -> float:
    """Return the seconds for a step of each of so many rows, states read and written: the best of some tries."""
    bank, samples, targets = OnnxStates(rows), source.draw(1, count, 3), np.arange(1, count + 1)
    tries = []
    for _ in range(TRIES):
        started = time.perf_counter()
        run(bank, samples, targets, targets)
        tries.append(time.perf_counter() - started)
        if sum(tries) > LONGEST_TIMING_SECONDS:
            break
    return min(tries) / count
