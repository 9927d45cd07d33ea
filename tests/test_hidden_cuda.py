"""The states on a CUDA device against those in host memory, behind a device that is strict about copies and graphs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.engines import hidden_cuda, lstm_step
from core.engines.bank import ZEROS
from core.engines.hidden import HiddenStates, make_hidden
from core.engines.hidden_cuda import CudaHiddenStates
from core.engines.infer import prepare, score_windows, state_size
from core.engines.lstm_step import LARGEST, LstmStep, rung
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from core.step_batch import StepBatch
from tests.fake_device import FakeDevice, PlacedDevice

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch finds none here")
relaxed = settings(max_examples=40, suppress_health_check=list(HealthCheck))
Chunk = tuple[np.ndarray, ...]


def small_model() -> SignalExtractionLSTM:
    torch.manual_seed(5)
    return SignalExtractionLSTM(hidden_size=4, num_layers=2).eval()


def draw_chunk(draw: np.random.Generator, streams: int, longest: int, resets: float = 0.2) -> Chunk:
    """The arguments of a step: streams in rows 1.., their samples mixed, some of them reset in between."""
    lengths: list[int] = []
    starts: list[int] = []
    last = np.zeros(streams, np.int64)
    for stream in range(streams):
        pieces = 1 + int(draw.random() < resets)
        lengths += draw.integers(1, longest + 1, pieces).tolist()
        starts += [ZEROS if draw.random() < resets else stream + 1, ZEROS][:pieces]
        last[stream] = len(lengths) - 1
    runs = draw.permutation(np.repeat(np.arange(len(lengths)), lengths))
    seen = np.zeros(len(lengths), np.int64)
    times = np.zeros(len(runs), np.int64)
    for i, run in enumerate(runs):
        times[i], seen[run] = seen[run], seen[run] + 1
    samples = draw.normal(size=(len(runs), 5)).astype(np.float32)
    return samples, runs, times, np.array(lengths), np.array(starts), np.arange(streams) + 1, last


def single_steps(rows: int, seed: int = 0) -> Chunk:
    """One sample of each stream, in an order of their own."""
    samples = np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)
    runs = np.random.default_rng(seed).permutation(rows)
    return (
        samples,
        runs,
        np.zeros_like(runs),
        np.ones_like(runs),
        np.arange(rows) + 1,
        np.arange(rows) + 1,
        np.arange(rows),
    )


class Both:
    """The same calls on both banks: what comes back must be equal."""

    def __init__(self, model: SignalExtractionLSTM | None = None, other: CudaHiddenStates | None = None) -> None:
        model = model or small_model()
        self.device = FakeDevice()
        self.host, self.cuda = HiddenStates(model), other or CudaHiddenStates(model, self.device)
        self.grow_to(self.cuda.capacity)
        self.tolerance = 1e-4 if other else 1e-6

    def step(self, *chunk: np.ndarray) -> None:
        kept = [array.copy() for array in chunk]
        expected = self.host.step(StepBatch(*chunk))
        np.testing.assert_allclose(self.cuda.step(StepBatch(*chunk)), expected, rtol=0, atol=self.tolerance)
        for array, before in zip(chunk, kept, strict=True):
            np.testing.assert_array_equal(array, before)

    def grow_to(self, capacity: int) -> None:
        for bank in (self.host, self.cuda):
            while bank.capacity < capacity:
                bank.grow()

    def fill(self, rows: int) -> None:
        for row in range(1, rows + 1):
            self.write(row, np.random.default_rng(row).normal(size=self.cuda._width).astype(np.float32))

    def write(self, row: int, state: np.ndarray) -> None:
        for bank in (self.host, self.cuda):
            bank.write(row, state)

    def clear(self, row: int) -> None:
        for bank in (self.host, self.cuda):
            bank.clear(row)

    def compare(self) -> None:
        rows = np.arange(min(self.host.capacity, self.cuda.capacity))
        found = self.cuda.read(rows)
        np.testing.assert_allclose(found, self.host.read(rows), rtol=0, atol=self.tolerance)
        assert not found[ZEROS].any()


@pytest.fixture
def short_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs for 8 and 16 rows only, so that small chunks meet every path."""
    monkeypatch.setattr(lstm_step, "LARGEST", 16)


@pytest.fixture(scope="module")
def whole_ladder() -> Both:
    both = Both()
    both.cuda.warm_up()
    both.grow_to(LARGEST + 2)
    both.fill(LARGEST + 1)
    return both


@pytest.mark.parametrize("captured", [True, False])
@relaxed
@given(seed=st.integers(0, 2**32), streams=st.integers(1, 24), longest=st.sampled_from([1, 1, 2, 3, 9]))
def test_ragged_chunks_with_resets_equal_the_host(
    short_ladder: None, captured: bool, seed: int, streams: int, longest: int
) -> None:
    draw, both = np.random.default_rng(seed), Both()
    both.fill(streams)
    if captured:
        both.cuda.warm_up()

    for _ in range(3):
        both.step(*draw_chunk(draw, streams, longest))
        both.compare()


@pytest.mark.parametrize(
    ("rows", "graphs"), [(1, 1), (7, 1), (8, 1), (9, 1), (1000, 1), (4095, 1), (4096, 1), (4097, 0)]
)
def test_single_steps_replay_a_graph_up_to_the_ladders_end(whole_ladder: Both, rows: int, graphs: int) -> None:
    before = whole_ladder.device.replays

    whole_ladder.step(*single_steps(rows))

    assert whole_ladder.device.replays - before == graphs
    whole_ladder.compare()


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (4095, 4096), (4096, 4096), (4097, 8192)]
)
def test_rows_are_padded_to_the_next_power_of_two(rows: int, size: int) -> None:
    assert rung(rows) == size


def test_warming_up_captures_every_rung_and_changes_no_row() -> None:
    both = Both()
    both.fill(70)
    both.compare()

    both.cuda.warm_up()

    assert both.device.captures == 10  # 8, 16, ... 4096
    both.compare()


def test_a_graph_sees_the_states_of_now_not_those_of_its_capture(short_ladder: None) -> None:
    """Other streams, other samples, other states: three chunks through the same graph."""
    both = Both()
    both.fill(30)
    both.cuda.warm_up()

    for first in (0, 10, 20):
        samples, runs, times, lengths, starts, targets, last = single_steps(10, seed=first)
        both.step(samples, runs, times, lengths, starts + first, targets + first, last)
        both.compare()


def test_rows_of_different_lengths_go_in_one_call(short_ladder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths 1, 2 and 3: no graph, and no call per length."""
    both = Both()
    both.fill(12)
    both.cuda.warm_up()
    calls = []
    forward = LstmStep._forward
    monkeypatch.setattr(LstmStep, "_forward", lambda *given: calls.append(1) or forward(*given))
    replays = both.device.replays
    lengths = np.array([1, 3, 2, 1, 3, 1, 2, 1, 1, 1, 1, 1])
    runs = np.repeat(np.arange(12), lengths)
    times = np.concatenate([np.arange(length) for length in lengths])
    samples = np.random.default_rng(2).normal(size=(len(runs), 5)).astype(np.float32)

    both.step(samples, runs, times, lengths, np.arange(12) + 1, np.arange(12) + 1, np.arange(12))

    assert (len(calls), both.device.replays - replays) == (1, 0)
    both.compare()


def test_a_sequence_begins_at_zeros_while_its_row_holds_an_old_state() -> None:
    both = Both()
    both.fill(3)
    samples, runs, times, lengths, _, targets, last = single_steps(3)

    both.step(samples, runs, times, lengths, np.array([ZEROS, 2, ZEROS]), targets, last)

    both.compare()


def test_runs_read_their_rows_before_any_row_is_written() -> None:
    """Stream 1 goes to row 2 and stream 2 to row 1."""
    both = Both()
    both.fill(2)
    samples, runs, times, lengths, starts, targets, last = single_steps(2)

    both.step(samples, runs, times, lengths, starts, targets[::-1].copy(), last)

    both.compare()


def test_a_run_without_a_row_leaves_no_trace_and_a_row_may_be_named_twice() -> None:
    both = Both()
    both.fill(4)
    samples, runs, times, lengths, starts, _, _ = single_steps(4)

    both.step(samples, runs, times, lengths, starts, np.array([2, 4, 2]), np.array([1, 0, 1]))

    both.compare()


def test_indices_may_be_int32() -> None:
    both = Both()
    both.fill(9)
    samples, *indices = draw_chunk(np.random.default_rng(4), 9, 3)

    both.step(samples, *(array.astype(np.int32) for array in indices))

    both.compare()


def test_input_statistics_are_applied_in_graphs_and_outside(short_ladder: None) -> None:
    model = small_model()
    model.input_statistics = {"mean": [1.0, 2.0, 3.0, 4.0, 5.0], "std": [2.0, 1.0, 0.5, 4.0, 1.0]}
    both = Both(model)
    both.cuda.warm_up()

    both.step(*single_steps(10))
    both.step(*draw_chunk(np.random.default_rng(1), 20, 4))

    both.compare()


def test_growing_keeps_rows_and_graphs(short_ladder: None) -> None:
    both = Both()
    both.fill(40)
    both.cuda.warm_up()
    both.step(*single_steps(12))
    captures = both.device.captures
    capacity = both.cuda.capacity

    both.grow_to(2 * capacity)

    assert both.cuda.capacity == 2 * capacity
    samples, runs, times, lengths, _, _, last = single_steps(12)
    new = np.arange(12) + capacity - 6  # six rows from before and six new ones
    both.step(samples, runs, times, lengths, new, new, last)
    both.compare()
    assert both.device.captures == captures


def test_the_last_of_several_writes_counts() -> None:
    both = Both()
    state = np.linspace(0, 1, both.cuda._width, dtype=np.float32)
    both.write(1, state)
    both.write(1, state + 1)
    both.write(2, state)
    both.clear(2)
    both.clear(3)
    both.write(3, state)
    state += 1  # what was given stays as it was given

    both.compare()
    both.step(*single_steps(3))
    both.write(1, state)
    both.compare()


def test_writes_wait_for_the_next_chunk_and_go_over_together() -> None:
    both = Both()
    both.fill(100)
    assert (both.device.uploads, both.device.synchronised) == (0, 0)

    both.step(*single_steps(100))

    assert (both.device.uploads, both.device.downloads, both.device.synchronised) == (2, 1, 1)
    both.compare()


def test_a_table_full_of_states_is_written_in_several_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_cuda, "WAITING_ROWS", 16)
    both = Both()
    both.fill(100)

    assert both.device.uploads == 6
    both.compare()


def test_a_chunk_costs_one_copy_there_and_one_wait(short_ladder: None) -> None:
    both = Both()
    both.cuda.warm_up()
    for chunk in (single_steps(12), draw_chunk(np.random.default_rng(7), 20, 9)):
        uploads, synchronised = both.device.uploads, both.device.synchronised

        both.step(*chunk)

        assert both.device.uploads - uploads == 1
        assert both.device.synchronised - synchronised == 1


def test_a_chunk_without_samples_asks_nothing_of_the_device() -> None:
    both = Both()
    nothing = np.empty(0, np.int64)

    predictions = both.cuda.step(StepBatch(np.empty((0, 5), np.float32), *[nothing] * 6))

    assert predictions.shape == (0,)
    assert both.device.uploads + both.device.synchronised == 0


def test_many_rows_are_read_in_blocks_with_one_copy_each(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both()
    both.fill(50)
    both.step(*single_steps(50))
    rows = np.random.default_rng(3).permutation(51)
    downloads = both.device.downloads

    whole = both.cuda.read(rows)
    assert both.device.downloads - downloads == 1
    monkeypatch.setattr(hidden_cuda, "BLOCK_ROWS", 7)
    in_blocks = both.cuda.read(rows)

    assert both.device.downloads - downloads == 1 + 8
    np.testing.assert_array_equal(in_blocks, whole)
    np.testing.assert_allclose(whole, both.host.read(rows), rtol=0, atol=1e-6)


def test_what_was_read_does_not_change_with_the_next_chunk() -> None:
    both = Both()
    both.fill(5)
    predictions = both.cuda.step(StepBatch(*single_steps(5)))
    states = both.cuda.read(np.arange(6))
    kept = predictions.copy(), states.copy()

    both.cuda.step(StepBatch(*single_steps(5, seed=1)))
    both.cuda.read(np.arange(6))

    np.testing.assert_array_equal(predictions, kept[0])
    np.testing.assert_array_equal(states, kept[1])


def test_every_tensor_is_where_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that say they are on a CUDA device and hold no numbers: torch refuses to mix them with the host's."""
    monkeypatch.setattr(torch.nn.LSTM, "flatten_parameters", lambda self: None)  # looks at addresses: there are none
    monkeypatch.setattr(SignalExtractionLSTM, "to", lambda self, device: self)  # made there already, and cannot move
    device = PlacedDevice()
    with device.mode, torch.device("cuda"):
        model = SignalExtractionLSTM(hidden_size=4, device="cuda")
    model.input_statistics = {"mean": [0.0] * 5, "std": [1.0] * 5}
    bank = CudaHiddenStates(model, device)
    bank.write(1, np.zeros(state_size(model), np.float32))
    with torch.backends.cudnn.flags(enabled=False):  # it would look for the device
        bank.warm_up()
        bank.grow()
        predictions = bank.step(StepBatch(*draw_chunk(np.random.default_rng(0), 20, 5)))

    assert predictions.dtype == np.float32
    assert bank.read(np.arange(3)).shape == (3, state_size(model))
    assert device.crossed > 0


# On a GPU.


@pytest.fixture
def on_gpu() -> Iterator[Both]:
    """The shipped model's states on the host and on the GPU."""
    model = load_model(checkpoint_path("signal"), "signal")
    there = load_model(checkpoint_path("signal"), "signal", "cuda")
    assert isinstance(model, SignalExtractionLSTM)
    assert isinstance(there, SignalExtractionLSTM)
    other = make_hidden(there)
    assert isinstance(other, CudaHiddenStates)
    yield Both(model, other)
    torch.cuda.empty_cache()


@needs_gpu
@pytest.mark.parametrize("captured", [True, False])
def test_a_gpu_equals_the_host_over_many_chunks(on_gpu: Both, captured: bool) -> None:
    draw = np.random.default_rng(8)
    if captured:
        on_gpu.cuda.warm_up()
    for _ in range(300):
        on_gpu.step(*draw_chunk(draw, int(draw.integers(1, 60)), int(draw.choice([1, 1, 4, 30]))))
    on_gpu.compare()


@needs_gpu
@pytest.mark.parametrize("rows", [1, 8, 9, 4096, 4097])
def test_a_gpu_equals_the_host_at_the_ladders_edges(on_gpu: Both, rows: int) -> None:
    on_gpu.cuda.warm_up()
    on_gpu.grow_to(rows + 1)

    for seed in range(3):
        on_gpu.step(*single_steps(rows, seed))

    on_gpu.compare()


@needs_gpu
def test_growing_on_a_gpu_keeps_rows_and_graphs(on_gpu: Both) -> None:
    on_gpu.cuda.warm_up()
    on_gpu.step(*single_steps(100))

    on_gpu.grow_to(2 * on_gpu.cuda.capacity)
    on_gpu.step(*single_steps(100, seed=1))

    on_gpu.compare()


@needs_gpu
def test_windows_score_the_same_on_a_gpu() -> None:
    draw = np.random.default_rng(1)
    windows = [draw.normal(size=(length, 5)).astype(np.float32) for length in (100, 130, 500, 130)]

    probabilities = []
    for device in ("cpu", "cuda"):
        model = load_model(checkpoint_path("defect"), "defect", device)
        assert isinstance(model, SteelDefectLSTM)
        prepare(model)
        probabilities.append(score_windows(model, windows)[0])

    np.testing.assert_allclose(probabilities[1], probabilities[0], rtol=0, atol=1e-4)


def test_the_steps_take_rows_beyond_the_ladder() -> None:
    """A batch above `LARGEST` has memory of its own."""
    steps = LstmStep(small_model(), FakeDevice())

    assert steps.states(LARGEST).data_ptr() == steps.states(1).data_ptr()
    assert steps.states(LARGEST + 1).data_ptr() != steps.states(1).data_ptr()
