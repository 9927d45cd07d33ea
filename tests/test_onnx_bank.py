"""States of ONNX models in rows: any batch gives what each row gives alone, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.bank import ZEROS
from core.engines.infer import advance_sequences
from core.step_batch import StepBatch
from tests.strategies import examples, signal_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.onnx.bank import FIRST_ROWS, OnnxStates
from core.engines.onnx.binding import WantedGraph, bind
from core.engines.onnx.plan import PLANS, TILE_ROWS
from core.engines.onnx.probe import LARGE_BATCHES, SMALL_BATCHES, Pool, find_plan, plans_of, reach
from core.engines.onnx.probe import step as step_rows
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.errors import StartupError
from tests import onnx_models as models

FEATURES = 3
MODELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gru": (models.gru, "any"),
    "lstm": (models.lstm, "any"),
    "torch_cell": (models.torch_cell, "any"),
    "weights_given": (models.weights_given, "pad 2"),
    "softplus": (models.softplus, "pad 8"),
    "mean": (models.mean, "one by one"),
}
every_model = pytest.mark.parametrize("name", MODELS)


def opened(model: bytes) -> CallRows:
    graph = Graph("model.onnx", model)
    constants = {"scale": 1} if any(port.name == "scale" for port in graph.inputs) else {}
    return CallRows(graph, bind(graph, WantedGraph(FEATURES, tensors=("y",), constants=constants)))


def pool_of(rows: CallRows) -> Pool:
    return reach(rows, np.random.default_rng(0).normal(size=(8, 256, FEATURES)).astype(np.float32))


def plan_of(rows: CallRows) -> str:
    return find_plan(plans_of(rows), pool_of(rows), SMALL_BATCHES + LARGE_BATCHES).name


@cache
def planned(name: str) -> CallRows:
    rows = opened(MODELS[name][0]())
    return rows.by(PLANS[plan_of(rows)])


def filled(name: str, rows: int) -> tuple[OnnxStates, Any]:
    """A bank with states in rows 1 to ``rows``, and these with the zeros before them."""
    bank = OnnxStates(planned(name))
    kept = np.random.default_rng(1).uniform(-1, 1, (rows + 1, bank.state_size)).astype(np.float32)
    kept[ZEROS] = 0
    for row in range(1, rows + 1):
        bank.write(row, kept[row])
    return bank, kept


def alone(rows: CallRows, run: Any, state: Any) -> tuple[Any, Any]:
    """The slow version: outputs (T, K) and the state after, one row at a time."""
    outputs = []
    for sample in run:
        parts, start = [], 0
        for tensor in (each.before for each in rows.binding.states):
            parts.append(state[start : start + tensor.size].reshape(tensor.of_rows(1)))
            start += tensor.size
        found, after = step_rows(rows, Pool(sample[None], tuple(parts)))
        outputs.append(found)
        state = np.concatenate([each.reshape(-1) for each in after])
    return np.concatenate(outputs), state


def sequences(lengths: list[int], seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, FEATURES)).astype(np.float32) for length in lengths]


def step(bank: OnnxStates, runs: list[Any], starts: Any, targets: Any, last: Any, shuffle: int | None = None) -> Any:
    """Step runs; with ``shuffle`` their samples come in another order, as those of chunks do."""
    lengths = np.array([len(run) for run in runs])
    samples = np.concatenate(runs)
    numbers = np.repeat(np.arange(len(runs)), lengths)
    times = np.concatenate([np.arange(length) for length in lengths])
    order = np.arange(len(samples)) if shuffle is None else np.random.default_rng(shuffle).permutation(len(samples))
    batch = StepBatch(
        np.ascontiguousarray(samples[order]),
        numbers[order],
        times[order],
        lengths,
        *(np.array(each, np.int64) for each in (starts, targets, last)),
    )
    found = bank.step(batch)
    result = np.empty_like(found)
    result[order] = found
    return result


def check_against_alone(name: str, lengths: list[int], fresh: list[bool], shuffle: int) -> None:
    bank, kept = filled(name, len(lengths) + 2)
    rows = list(range(1, len(lengths) + 1))
    starts = [ZEROS if new else row for row, new in zip(rows, fresh, strict=True)]
    runs = sequences(lengths, shuffle)

    outputs = step(bank, runs, starts, rows, list(range(len(runs))), shuffle)

    slow = [alone(planned(name), run, kept[start]) for run, start in zip(runs, starts, strict=True)]
    np.testing.assert_array_equal(outputs, np.concatenate([each for each, _ in slow]))
    np.testing.assert_array_equal(bank.read(np.array(rows)), np.stack([state for _, state in slow]))
    np.testing.assert_array_equal(bank.read(np.array([ZEROS, len(lengths) + 1])), kept[[ZEROS, len(lengths) + 1]])


@every_model
def test_the_plan_is_the_fastest_that_keeps_bits(name: str) -> None:
    assert planned(name).plan.name == MODELS[name][1]


@every_model
@examples(12)
@given(runs=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=40), shuffle=st.integers(0, 99))
def test_any_batch_gives_what_each_row_gives_alone(name: str, runs: list[tuple[int, bool]], shuffle: int) -> None:
    check_against_alone(name, [length for length, _ in runs], [new for _, new in runs], shuffle)


@every_model
@examples(12)
@given(fresh=st.lists(st.booleans(), min_size=1, max_size=40), shuffle=st.integers(0, 99))
def test_a_batch_of_single_samples_gives_what_each_row_gives_alone(name: str, fresh: list[bool], shuffle: int) -> None:
    check_against_alone(name, [1] * len(fresh), fresh, shuffle)


def test_runs_of_several_tiles_step_together() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(1, 4, TILE_ROWS + 100).tolist()

    check_against_alone("gru", lengths, [False] * len(lengths), 5)


def test_rows_that_read_each_other_are_refused() -> None:
    rows = opened(models.mixing())

    with pytest.raises(StartupError, match=r"model\.onnx: the outputs of a row change by 0\.\d+ with the other rows"):
        plan_of(rows)


@every_model
def test_a_run_may_end_in_the_row_where_another_begins(name: str) -> None:
    bank, kept = filled(name, 2)
    runs = sequences([1, 2])

    step(bank, runs, [1, 2], [2, 1], [0, 1])

    after = [alone(planned(name), run, kept[row])[1] for run, row in zip(runs, (1, 2), strict=True)]
    np.testing.assert_array_equal(bank.read(np.array([2, 1])), np.stack(after))


def test_of_a_stream_with_several_runs_the_last_one_stays() -> None:
    bank, kept = filled("lstm", 3)
    runs = sequences([2, 3, 1])

    step(bank, runs, [2, ZEROS, 3], [2, 2, 3], [1, 1, 2])

    after = [alone(planned("lstm"), run, kept[row])[1] for run, row in zip(runs, (2, ZEROS, 3), strict=True)]
    np.testing.assert_array_equal(bank.read(np.arange(4)), np.stack((kept[0], kept[1], after[1], after[2])))


def test_a_run_without_a_target_leaves_no_state() -> None:
    bank, kept = filled("gru", 2)

    step(bank, sequences([2, 1]), [1, ZEROS], [], [])

    np.testing.assert_array_equal(bank.read(np.arange(3)), kept)


def test_growing_keeps_rows_and_adds_zeros() -> None:
    bank, kept = filled("lstm", 3)

    bank.grow()
    bank.write(bank.capacity - 1, kept[1])

    assert bank.capacity == 2 * FIRST_ROWS
    np.testing.assert_array_equal(bank.read(np.arange(4)), kept)
    assert not bank.read(np.arange(FIRST_ROWS, bank.capacity - 1)).any()
    np.testing.assert_array_equal(bank.read(np.array([bank.capacity - 1])), kept[1:2])


def test_a_state_is_its_tensors_one_after_the_other() -> None:
    """Of the LSTM's states (2, B, 8) a row has all of h, then all of c."""
    bank, kept = filled("lstm", 1)
    run = sequences([1])[0]

    step(bank, [run], [1], [1], [0])

    h, c = (part.reshape(2, 1, 8) for part in (kept[1][:16], kept[1][16:]))
    _, after = step_rows(planned("lstm"), Pool(run, (h, c)))
    np.testing.assert_array_equal(bank.read(np.array([1]))[0], np.concatenate([each.reshape(-1) for each in after]))


def test_a_cleared_row_is_zeros_and_what_is_read_is_a_copy() -> None:
    bank, kept = filled("gru", 2)

    bank.clear(1)
    bank.read(np.array([2]))[:] = 7

    np.testing.assert_array_equal(bank.read(np.arange(3)), np.stack((kept[0], kept[0], kept[2])))


def test_no_samples_are_no_step() -> None:
    bank, none = OnnxStates(planned("gru")), np.empty(0, np.int64)

    assert bank.step(StepBatch(np.empty((0, 3), np.float32), none, none, none, none, none, none)).shape == (0, 2)


def test_warming_up_changes_no_row() -> None:
    bank, kept = filled("gru", 70)

    bank.warm_up()

    np.testing.assert_array_equal(bank.read(np.arange(71)), kept)


def test_row_zero_is_never_written() -> None:
    bank, kept = filled("gru", 1)

    with pytest.raises(IndexError, match="row 0"):
        bank.write(ZEROS, kept[1])
    with pytest.raises(IndexError, match="row 0"):
        step(bank, sequences([1]), [ZEROS], [ZEROS], [0])


@pytest.mark.parametrize(
    ("starts", "targets", "last"), [([-1], [1], [0]), ([10**6], [1], [0]), ([1], [10**6], [0]), ([1], [1], [1])]
)
def test_rows_and_runs_that_are_not_there_are_refused(starts: list[int], targets: list[int], last: list[int]) -> None:
    bank, kept = filled("gru", 1)

    with pytest.raises(IndexError, match=r"there are \d+"):
        step(bank, sequences([1]), starts, targets, last)

    np.testing.assert_array_equal(bank.read(np.arange(2)), kept)


@pytest.mark.parametrize(
    ("runs", "times", "lengths"),
    [([0, 0], [0, 0], [2]), ([0, 0], [0, 2], [2]), ([0], [0], [2]), ([0, 1], [0, 0], [2, 0])],
)
def test_samples_that_are_no_runs_are_refused(runs: list[int], times: list[int], lengths: list[int]) -> None:
    bank = OnnxStates(planned("gru"))
    indices = [np.array(each, np.int64) for each in (runs, times, lengths, [1] * len(lengths), [], [])]

    with pytest.raises(ValueError, match="runs without holes"):
        bank.step(StepBatch(np.zeros((len(runs), 3), np.float32), *indices))


@pytest.mark.slow
def test_a_native_model_and_its_export_agree() -> None:
    """They round differently: the same to the last bit is each with itself alone."""
    model = signal_model()
    graph = Graph("signal.onnx", models.of_signal_model(model))
    bank, random = OnnxStates(CallRows(graph, bind(graph, WantedGraph(5, tensors=("y",))))), np.random.default_rng(0)
    runs = [random.normal(size=(length, 5)).astype(np.float32) for length in (500, 300, 1)]

    outputs = step(bank, runs, [ZEROS] * 3, [1, 2, 3], [0, 1, 2])

    expected, after = advance_sequences(model, runs)
    np.testing.assert_allclose(outputs[:, 0], np.concatenate(expected), atol=1e-5)
    np.testing.assert_allclose(bank.read(np.array([1, 2, 3])), after, atol=1e-5)
