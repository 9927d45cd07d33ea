"""The pipeline benchmark counts right before it times, and its peers do the work that they are timed for."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import peers
import pytest
from bench_pipeline import target_lines, targets
from confluent_kafka import Producer
from harness import measure, run_until
from peers import PEERS, java
from workload import UNKNOWN, Outputs, Record, Workload, check, preload, timing

from core.errors import RunError, StartupError
from core.wire.records import decode_signal
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from tests.offline import predictions, signal_model

pytestmark = pytest.mark.slow

EXPECTED = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]], np.float32)


def outputs(*cells: tuple[int, int], predictions: list[float] | None = None) -> Outputs:
    """Right outputs of these (stream, step), one per millisecond."""
    streams, steps = np.array(cells, np.int64).T
    right = EXPECTED[streams, np.minimum(steps, 2)] if predictions is None else predictions
    return Outputs(streams.astype(np.int32), steps, np.array(right, np.float64), np.arange(len(cells)))


def send(records: Sequence[Record], settings: Settings) -> None:
    """To the source topic; returns when they are there."""
    producer = Producer(settings.client_config())
    for record in records:
        producer.produce(settings.topic(SIGNAL_SAMPLES), record.value, record.key, record.partition)
    assert producer.flush(30) == 0


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


def test_an_output_past_the_end_of_its_stream_fails() -> None:
    shorter = EXPECTED.copy()
    shorter[1, 2] = np.nan

    assert check(outputs(*[cell for cell in ALL if cell != (1, 2)]), shorter, needed=5).repeated == 0
    with pytest.raises(RunError, match="1 outputs belong to no sample"):
        check(outputs(*ALL), shorter, needed=5)


def test_the_workload_is_made_of_samples_as_the_wire_has_them() -> None:
    workload = Workload(streams=8, samples=43, seed=3)

    records = list(workload.records())

    assert [record.key.decode() for record in records] == (workload.names * 6)[:43]
    assert {record.key: record.partition for record in records} == {
        name.encode(): i % 4 for i, name in enumerate(workload.names)
    }
    for number, record in enumerate(records):
        step, stream = divmod(number, 8)
        sample = decode_signal(record.value)
        assert (sample.step, sample.signal) == (step, workload.signals[stream, step])
        assert sample.condition_vector == tuple(workload.conditions[stream])
        assert 100 < len(record.value) < 125


def test_streams_drawn_at_random_have_their_steps_in_order_and_lengths_of_their_own() -> None:
    workload = Workload(streams=50, samples=25_000, order="random")

    seen: Counter[bytes] = Counter()
    for record in workload.records():
        assert decode_signal(record.value).step == seen[record.key]
        seen[record.key] += 1

    assert [seen[name.encode()] for name in workload.names] == workload.lengths.tolist()
    assert workload.lengths.sum() == 25_000
    assert workload.lengths.min() < 500 < workload.lengths.max()


def test_messagepack_holds_the_same_samples() -> None:
    json, msgpack = (Workload(streams=3, samples=9, output_format=name) for name in ("json", "msgpack"))
    header = [("content-type", b"application/msgpack")]

    assert [decode_signal(record.value) for record in json.records()] == [
        decode_signal(record.value, header) for record in msgpack.records()
    ]


def test_the_seed_decides_the_workload() -> None:
    first, same, other = (list(Workload(streams=4, samples=12, seed=seed).records()) for seed in (5, 5, 6))

    assert first == same
    assert first != other


def test_the_workload_s_predictions_are_those_of_the_model_alone() -> None:
    workload = Workload(streams=3, samples=119)
    samples = [[decode_signal(record.value) for record in list(workload.records())[i::3]] for i in range(3)]

    expected = [
        predictions([{"signal": sample.signal, "condition_vector": sample.condition_vector} for sample in stream])
        for stream in samples
    ]

    found = workload.predictions(signal_model())
    for row, length, right in zip(found, (40, 40, 39), expected, strict=True):
        np.testing.assert_allclose(row[:length], right, atol=1e-6)
        assert np.isnan(row[length:]).all()


def test_a_ratio_below_what_is_wanted_is_told() -> None:
    found = targets({"faust": 39.9, "loop": 0.7, "caststream_2": 0.6})

    assert found == {
        "faust": {"wanted": 40.0, "found": 39.9, "held": False},
        "loop": {"wanted": 0.7, "found": 0.7, "held": True},
    }
    assert target_lines({"targets": found}) == [
        "not held: caststream_1 is 39.90 times as fast as faust, wanted 40",
        "held: caststream_1 is 0.70 times as fast as loop, wanted 0.7",
    ]


def test_peers_that_are_not_installed_are_told_with_the_remedy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "PACKAGES_DIR", tmp_path)

    with pytest.raises(StartupError, match=r"Bytewax are not installed; `make bench` does it, or: .*requirements\.txt"):
        PEERS["bytewax"](settings, "1")


@pytest.mark.kafka
@pytest.mark.parametrize(
    "name", [name if name == "caststream_1" else pytest.param(name, marks=pytest.mark.slow) for name in PEERS]
)
def test_every_peer_gives_the_offline_run_s_predictions_and_writes_states(name: str, settings: Settings) -> None:
    if name in ("quix", "bytewax") and not peers.installed():
        pytest.skip("its packages are for `make bench` only, which installs them")
    if name.startswith("kafka_streams") and not (java.find_javac() and java.FOLDER.exists()):
        pytest.skip("it needs a JDK, and its jars are for `make bench` only, which fetches them")
    workload = Workload(streams=20, samples=600)
    preload(workload, settings)

    run = measure(PEERS[name](settings, "1"), 600, settings, workload, workload.predictions(signal_model()))

    assert run.max_abs_diff <= 1e-5  # 1e-4 is allowed to ONNX Runtime, for longer sequences
    assert run.repeated == 0
    assert run.state_records >= 20


@pytest.mark.kafka
def test_messagepack_passes_through_the_pipeline(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(output_format="msgpack")
    workload = Workload(streams=20, samples=600, output_format="msgpack")
    preload(workload, settings)

    run = measure(PEERS["caststream_1"](settings, "1"), 600, settings, workload, workload.predictions(signal_model()))

    assert len(run.appended_ms) == 600


@pytest.mark.kafka
def test_the_loop_goes_on_from_its_changelog(settings: Settings) -> None:
    """Two runs under one name: the second finds states and offsets of the first, and the outputs of both are right."""
    workload = Workload(streams=20, samples=3000)
    records = list(workload.records())
    peer = PEERS["loop"](settings, "1")
    send(records[:1000], settings)
    run_until(peer, 1000, Cluster(settings), settings)
    send(records[1000:], settings)

    run = measure(peer, 3000, settings, workload, workload.predictions(signal_model()))

    assert run.repeated == 0


@pytest.mark.kafka
def test_a_peer_that_ends_is_told_with_its_last_words(settings: Settings) -> None:
    peer = PEERS["faust"](settings, "1")
    fails = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    workload = Workload(streams=1, samples=1)

    with pytest.raises(RunError, match=r"faust ended with status 1:\n  no such model"):
        measure(dataclasses.replace(peer, commands=[fails]), 1, settings, workload, np.zeros((1, 1), np.float32))
