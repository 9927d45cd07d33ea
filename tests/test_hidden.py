"""The bank of hidden states in host memory: what a step reads and writes, and rows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.bank import ZEROS
from core.engines.hidden import HiddenStates, make_hidden
from core.engines.infer import advance_sequences, state_size
from core.step_batch import StepBatch
from tests.strategies import relaxed, signal_model

WIDTH = state_size(signal_model())


def states(rows: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, WIDTH)).astype(np.float32)


def sequences(lengths: list[int], seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, 5)).astype(np.float32) for length in lengths]


def filled(rows: int) -> tuple[HiddenStates, Any]:
    """A bank with states in rows 1 to ``rows``, and these with the zeros before them."""
    bank, kept = HiddenStates(signal_model()), states(rows + 1)
    kept[ZEROS] = 0
    for row in range(1, rows + 1):
        bank.write(row, kept[row])
    return bank, kept


def step(bank: HiddenStates, runs: list[Any], starts: list[int], targets: list[int], last: list[int]) -> Any:
    lengths = np.array([len(run) for run in runs])
    batch = StepBatch(
        np.concatenate(runs),
        np.repeat(np.arange(len(runs)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        lengths,
        *(np.array(each, np.int64) for each in (starts, targets, last)),
    )
    return bank.step(batch)


@relaxed
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    fresh=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_runs_begin_in_their_rows_and_end_there(lengths: list[int], fresh: list[bool]) -> None:
    bank, kept = filled(15)
    rows = list(range(1, len(lengths) + 1))
    starts = [ZEROS if new else row for row, new in zip(rows, fresh, strict=False)]
    runs = sequences(lengths)

    predictions = step(bank, runs, starts, rows, list(range(len(runs))))

    expected, after = advance_sequences(signal_model(), runs, kept[starts])
    np.testing.assert_array_equal(predictions, np.concatenate(expected))
    np.testing.assert_array_equal(bank.read(np.array(rows)), after)
    untouched = np.setdiff1d(np.arange(16), rows)
    np.testing.assert_array_equal(bank.read(untouched), kept[untouched])


def test_of_a_stream_with_several_runs_the_last_one_stays() -> None:
    """The first begins in the stream's row, which the second, that begins at zeros, overwrites."""
    bank, kept = filled(3)
    runs = sequences([2, 3, 1])

    predictions = step(bank, runs, [2, ZEROS, 3], [2, 2, 3], [1, 1, 2])

    expected, after = advance_sequences(signal_model(), runs, kept[[2, ZEROS, 3]])
    np.testing.assert_array_equal(predictions, np.concatenate(expected))
    np.testing.assert_array_equal(bank.read(np.arange(4)), np.stack((kept[0], kept[1], after[1], after[2])))


def test_a_run_may_end_in_the_row_where_another_begins() -> None:
    bank, kept = filled(2)
    runs = sequences([1, 1])

    step(bank, runs, [1, 2], [2, 1], [0, 1])

    _, after = advance_sequences(signal_model(), runs, kept[[1, 2]])
    np.testing.assert_array_equal(bank.read(np.array([2, 1])), after)


def test_a_run_without_a_target_leaves_no_state() -> None:
    bank, kept = filled(2)

    step(bank, sequences([2, 1]), [1, ZEROS], [], [])

    np.testing.assert_array_equal(bank.read(np.arange(3)), kept)


def test_growing_keeps_rows_and_adds_zeros() -> None:
    bank, kept = filled(3)
    capacity = bank.capacity

    bank.grow()
    bank.write(bank.capacity - 1, kept[1])

    assert bank.capacity > capacity
    np.testing.assert_array_equal(bank.read(np.arange(4)), kept)
    assert not bank.read(np.arange(capacity, bank.capacity - 1)).any()
    np.testing.assert_array_equal(bank.read(np.array([bank.capacity - 1])), kept[1:2])


def test_runs_of_several_blocks_step_together() -> None:
    bank, kept = filled(1)
    far = bank.capacity + 5
    bank.grow()
    bank.write(far, kept[1])

    predictions = step(bank, [*sequences([1]), *sequences([1])], [1, far], [1, far], [0, 1])

    assert predictions[0] == predictions[1]
    np.testing.assert_array_equal(*bank.read(np.array([1, far])))


def test_what_is_read_is_a_copy() -> None:
    bank, kept = filled(2)

    bank.read(np.array([1]))[:] = 7

    np.testing.assert_array_equal(bank.read(np.array([1])), kept[1:2])


def test_a_cleared_row_is_zeros() -> None:
    bank, kept = filled(2)

    bank.clear(1)

    np.testing.assert_array_equal(bank.read(np.arange(3)), np.stack((kept[0], kept[0], kept[2])))


def test_no_samples_are_no_step() -> None:
    bank, none = HiddenStates(signal_model()), np.empty(0, np.int64)

    assert bank.step(StepBatch(np.empty((0, 5), np.float32), none, none, none, none, none, none)).shape == (0,)


def test_indices_of_32_bits_are_taken() -> None:
    bank, kept = filled(1)
    one, nought = np.ones(1, np.int32), np.zeros(1, np.int32)

    prediction = bank.step(StepBatch(sequences([1])[0], nought, nought, one, one, one, nought))

    assert prediction == advance_sequences(signal_model(), sequences([1]), kept[1:])[0]


def test_row_zero_is_never_written() -> None:
    bank, kept = filled(1)

    with pytest.raises(IndexError, match="row 0"):
        bank.write(ZEROS, kept[1])
    with pytest.raises(IndexError, match="row 0"):
        bank.clear(ZEROS)
    with pytest.raises(IndexError, match="row 0"):
        step(bank, sequences([1]), [ZEROS], [ZEROS], [0])


@pytest.mark.parametrize(
    ("starts", "targets", "last"), [([-1], [1], [0]), ([10**6], [1], [0]), ([1], [10**6], [0]), ([1], [1], [1])]
)
def test_rows_and_runs_that_are_not_there_are_refused(starts: list[int], targets: list[int], last: list[int]) -> None:
    bank, kept = filled(1)

    with pytest.raises(IndexError, match=r"there are \d+"):
        step(bank, sequences([1]), starts, targets, last)

    np.testing.assert_array_equal(bank.read(np.arange(2)), kept)


def test_warming_up_changes_no_row() -> None:
    bank, kept = filled(70)

    bank.warm_up()

    np.testing.assert_array_equal(bank.read(np.arange(71)), kept)


def test_a_model_in_host_memory_has_its_states_there() -> None:
    assert isinstance(make_hidden(signal_model()), HiddenStates)
