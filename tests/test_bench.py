"""The pipeline benchmark counts right before it times, and its peers do the work that they are timed for."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from offline import predictions, signal_model

from core.errors import RunError
from core.records import decode_signal
from stream_app.settings import Settings

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from harness import measure
from outputs import UNKNOWN, Outputs, check, timing
from peers import PEERS
from workload import Workload, preload

EXPECTED = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]], np.float32)


def outputs(*cells: tuple[int, int], predictions: list[float] | None = None) -> Outputs:
    """Right outputs of these (stream, step), one per millisecond."""
    streams, steps = np.array(cells, np.int64).T
    right = EXPECTED[streams, np.minimum(steps, 2)] if predictions is None else predictions
    return Outputs(streams, steps, np.array(right, np.float64), np.arange(len(cells)))


ALL = [(stream, step) for step in range(3) for stream in range(2)]


def test_a_rate_is_what_came_after_the_warm_up_by_the_time_that_it_took() -> None:
    appended_ms = np.arange(0, 20_000, 2)  # 500 per second

    found = timing(appended_ms, warm_up=0.25)

    assert found.samples == 7499
    assert found.seconds == pytest.approx(14.998)
    assert found.rate == pytest.approx(500)


def test_a_batch_appended_when_the_clock_starts_is_not_counted() -> None:
    appended_ms = np.repeat([0, 1000, 2000, 3000], 100)

    found = timing(appended_ms, warm_up=0.1)

    assert (found.samples, found.seconds) == (300, 3.0)


def test_outputs_that_came_all_at_once_have_no_rate() -> None:
    with pytest.raises(RunError, match="too few to be timed"):
        timing(np.full(100, 7))


def test_outputs_equal_to_the_offline_run_pass_in_any_order() -> None:
    verdict = check(outputs(*reversed(ALL)), EXPECTED, needed=6)

    assert verdict.repeated == 0
    assert verdict.max_abs_diff < 1e-7
    assert list(verdict.appended_ms) == sorted(verdict.appended_ms)


def test_a_peer_stopped_before_the_end_may_have_left_out_the_last_steps_only() -> None:
    stopped = [cell for cell in ALL if cell != (1, 2)]

    assert len(check(outputs(*stopped), EXPECTED, needed=5).appended_ms) == 5
    with pytest.raises(RunError, match="1 outputs are missing"):
        check(outputs(*stopped), EXPECTED, needed=6)


def test_a_hole_in_a_stream_is_a_missing_output_however_many_are_needed() -> None:
    with pytest.raises(RunError, match="1 outputs are missing, 5 are there"):
        check(outputs(*[cell for cell in ALL if cell != (0, 1)]), EXPECTED, needed=1)


def test_a_repeated_output_is_told_and_counts_once() -> None:
    verdict = check(outputs(*ALL, (0, 1), (0, 1)), EXPECTED, needed=6)

    assert verdict.repeated == 2
    assert list(verdict.appended_ms) == [0, 1, 2, 3, 4, 5]


def test_repeated_outputs_do_not_stand_in_for_missing_ones() -> None:
    with pytest.raises(RunError, match="1 outputs are missing"):
        check(outputs(*ALL[:5], ALL[0]), EXPECTED, needed=6)


@pytest.mark.parametrize("wrong", [0.1001, float("nan")])
def test_an_output_that_differs_from_the_offline_run_fails(wrong: float) -> None:
    with pytest.raises(RunError, match="differ from the offline run"):
        check(outputs((0, 0), (0, 1), predictions=[0.0, wrong]), EXPECTED, needed=2)


@pytest.mark.parametrize("cell", [(UNKNOWN, 0), (0, 3)])
def test_an_output_of_no_sample_fails(cell: tuple[int, int]) -> None:
    with pytest.raises(RunError, match="1 outputs belong to no sample"):
        check(outputs((0, 0), cell), EXPECTED, needed=1)


def test_the_workload_is_made_of_samples_as_the_wire_has_them() -> None:
    workload = Workload(streams=8, steps=5, seed=3)

    records = list(workload.records())

    assert [record.key.decode() for record in records] == workload.names * 5
    assert {record.key: record.partition for record in records} == {
        name.encode(): i % 4 for i, name in enumerate(workload.names)
    }
    for number, record in enumerate(records):
        step, stream = divmod(number, 8)
        sample = decode_signal(record.value)
        assert (sample.step, sample.signal) == (step, workload.signals[stream, step])
        assert sample.condition_vector == tuple(workload.conditions[stream])
        assert 100 < len(record.value) < 125


def test_the_seed_decides_the_workload() -> None:
    first, same, other = (list(Workload(streams=4, steps=3, seed=seed).records()) for seed in (5, 5, 6))

    assert first == same
    assert first != other


def test_the_workload_s_predictions_are_those_of_the_model_alone() -> None:
    workload = Workload(streams=3, steps=40)
    samples = [[decode_signal(record.value) for record in list(workload.records())[i::3]] for i in range(3)]

    expected = [
        predictions([{"signal": sample.signal, "condition_vector": sample.condition_vector} for sample in stream])
        for stream in samples
    ]

    np.testing.assert_allclose(workload.predictions(signal_model()), expected, atol=1e-6)


@pytest.mark.kafka
def test_plain_faust_gives_the_offline_run_s_predictions(settings: Settings) -> None:
    workload = Workload(streams=20, steps=30)
    preload(workload, settings)

    run = measure(PEERS["faust"](settings, "1"), 600, settings, workload, workload.predictions(signal_model()))

    assert run.max_abs_diff <= 1e-5
    assert run.repeated == 0
    assert run.state_records >= 600


@pytest.mark.kafka
def test_a_peer_that_ends_is_told_with_its_last_words(settings: Settings) -> None:
    peer = PEERS["faust"](settings, "1")
    fails = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    workload = Workload(streams=1, steps=1)

    with pytest.raises(RunError, match=r"faust ended with status 1:\n  no such model"):
        measure(dataclasses.replace(peer, commands=[fails]), 1, settings, workload, np.zeros((1, 1), np.float32))
