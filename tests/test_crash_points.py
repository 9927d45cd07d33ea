"""A worker dies anywhere between two steps of its broker, again and again; its successors lose, change and repeat
nothing.

The broker is in memory and takes the requests that wait in an order drawn by chance, so every row of the failure table
(died before the outputs' acks, between acks and states, inside the states, before the offsets) occurs many times.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.structs import TopicPartition

from core.engines.base import Engine
from core.engines.infer import advance_sequences
from core.engines.results import StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.state import StreamState, unpack_state
from core.engines.stepper import SignalStepper
from core.native.records import Records
from core.wire.records import SENSORS, Prediction, Score, decode_prediction, decode_score
from stream_app.worker.recovery import Winners
from tests.fakes import CHANGELOG, DEAD, OUTPUT, SOURCE, FakeBroker, FakeWorker, settle
from tests.strategies import TIME_MS, FakeRecord, defect_model, signal_model

STREAMS, STEPS, PARTITIONS = 3, 40, 2
BAD_STEPS = (3, 4, 17, 38)
# `make test-slow` plays the rest.
SEEDS = [*range(24), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(24, 40))]
LONG_AFTER_MS = 10**9
RULES = StreamRules()
WINDOWS = WindowRules(window_length=12, window_min=4, hop=3, segment=5)
TOLERANCE = 1e-5
COUNTERS = ("gap_first", "gap_end", "back_step", "back_ms", "included")
FIELDS = ("offset", "append_ms", "timestamp_ms", "step", "closed", "sequence", "previous", "sample", *COUNTERS)


def source(kind: str) -> dict[int, list[FakeRecord]]:
    """A source topic: per partition the records of its streams, in turn; half-way a new sequence begins."""
    drawn = np.random.default_rng(7).normal(0, 1, (PARTITIONS, STEPS, STREAMS, 5))
    log: dict[int, list[FakeRecord]] = {}
    for partition in range(PARTITIONS):
        log[partition] = []
        for step in range(STEPS):
            for stream in range(STREAMS):
                numbers = drawn[partition, step, stream].tolist()
                value = _restarting(kind, numbers, step) if stream == 2 else _value(kind, numbers, step, stream == 0)
                offset = len(log[partition])
                key = f"{partition}-{stream}".encode()
                log[partition].append(FakeRecord(partition, offset, 1_000_000 + offset, key, value))
            if step in BAD_STEPS:
                offset = len(log[partition])
                log[partition].append(FakeRecord(partition, offset, 1_000_000 + offset, b"bad", b"?"))
    return log


def _value(kind: str, numbers: list[float], step: int, counted: bool) -> bytes:
    """Samples that are not ``counted`` have no step: only their offsets keep them from being applied twice."""
    half = STEPS // 2
    return _encoded(kind, numbers, {"sequence": f"s{step // half}", "step": step % half if counted else None})


def _encoded(kind: str, numbers: list[float], sample: dict[str, Any]) -> bytes:
    if kind == "signals":
        sample |= {"signal": numbers[0], "condition_vector": numbers[1:]}
    else:
        sample |= dict(zip(SENSORS, numbers, strict=True))
    return msgspec.json.encode(sample)


COUNTED = (0, 1, 4, 2, 5, 6, 7, 3, 0, 1, 2, 5, 4, 0, 0, 1, 2, 3, 9, 9, 10)
"""What the counter of a stream says in each half: a gap and what it has skipped, odd repeats, beginnings at 0."""
COUNTED_RUNS = ((0, 1, 2, 4, 5, 6), (9, 10, 11), (15, 16, 17, 18))
"""Its samples that the model sees from zeros on; the others are dead letters."""


def _restarting(kind: str, numbers: list[float], step: int) -> bytes:
    """A sample of a counter that begins again; its own time goes on, but for what a gap has skipped."""
    half = STEPS // 2
    place = step % half
    late_ms = 25 if place in (3, 12) else 0
    sample = {"sequence": f"s{step // half}", "step": COUNTED[place], "timestamp_ms": TIME_MS + 10 * step - late_ms}
    return _encoded(kind, numbers, sample)


class World:
    """What outlives a worker: the source, the broker's logs and the committed offsets."""

    def __init__(self, kind: str, seed: int, evicts: bool = False) -> None:
        self.kind = kind
        self.evicts = evicts
        """At last all streams are idle."""
        self.random = random.Random(seed)
        self.log = source(kind)
        self.broker = FakeBroker(prompt=False)

    def engine(self, states: Any) -> Engine[Any]:
        if self.kind == "signals":
            return SignalStepper(signal_model(), RULES, states)
        return CastScorer(defect_model(), RULES, WINDOWS, states)

    def successor(self) -> FakeWorker:
        """A worker that takes up what the broker has."""
        worker = FakeWorker(self.broker)
        worker.pipeline.engine = self.engine(worker.states)
        positions = {partition: self.broker.committed_offset(partition) or 0 for partition in self.log}
        worker.start(positions, {partition: self.table(partition) for partition in self.log})
        return worker

    def table(self, partition: int) -> dict[bytes, tuple[int, bytes]]:
        """The states as recovery finds them."""
        winners, fetched = Winners(), Records(partition)
        for offset, written in enumerate(self.broker.written(CHANGELOG, partition)):
            fetched.add(FakeRecord(partition, offset, 0, written.key, written.value, tuple(written.headers)))
        winners.add(TopicPartition(CHANGELOG, partition), fetched)
        return {key: (at, value) for key, (value, at) in winners.rows.items() if value is not None}

    async def live(self, actions: int | None) -> None:
        """One worker's life: chunks, commits and the broker's steps in an order drawn by chance.

        Args:
            actions: it dies after so many; None lives until everything is committed.
        """
        worker = self.successor()
        commit: asyncio.Task[bool] | None = None
        while actions is None or actions > 0:
            if commit is None or commit.done():
                if self._is_done() and actions is None:
                    break
                commit = asyncio.create_task(worker.committer.commit()) if self.random.random() < 0.5 else None
            self._step(worker)
            await settle()
            actions = None if actions is None else actions - 1
        if commit is not None and not commit.done():
            commit.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await commit
        self.broker.waiting.clear()  # the broker never hears of these
        assert worker.failures == []

    def _step(self, worker: FakeWorker) -> None:
        requests = self.broker.next_ones()
        if requests and self.random.random() < 0.7:
            self.broker.take(self.random.choice(requests))
            return
        chunk = []
        for partition, position in worker.pipeline.next_offset.items():
            chunk += self.log[partition][position : position + self.random.randrange(12)]
        if chunk:
            worker.run(*chunk)
        for partition in self.log if self.evicts else ():
            at = TopicPartition(SOURCE, partition)
            if worker.committer.committed[at] == worker.pipeline.next_offset[partition] == len(self.log[partition]):
                list(worker.pipeline.evict(partition, len(self.log[partition]), LONG_AFTER_MS))

    def _is_done(self) -> bool:
        read = all(self.broker.committed_offset(partition) == len(log) for partition, log in self.log.items())
        return read and not (self.evicts and any(self.table(partition) for partition in self.log))

    def outputs(self, partition: int) -> list[Prediction] | list[Score]:
        decode: Any = decode_prediction if self.kind == "signals" else decode_score
        return [decode(written.value) for written in self.broker.written(OUTPUT, partition)]

    def letters(self, partition: int) -> list[int]:
        """Source offsets of the dead letters."""
        return [int(dict(letter.headers)["error.offset"]) for letter in self.broker.written(DEAD, partition)]


Offline = tuple[dict[int, list[Any]], dict[int, list[int]], dict[int, dict[bytes, bytes]]]


def offline(kind: str) -> Offline:
    """Outputs, letters and table of one worker that nothing happens to, one record per chunk."""
    broker = FakeBroker()
    world = World(kind, 0)
    world.broker = broker
    worker = world.successor()

    async def run() -> None:
        for log in world.log.values():
            for record in log:
                worker.run(record)
                await settle()
                await worker.committer.commit()

    asyncio.run(run())
    tables = {partition: {k: v for k, (_, v) in world.table(partition).items()} for partition in world.log}
    letters = {partition: world.letters(partition) for partition in world.log}
    return {partition: list(world.outputs(partition)) for partition in world.log}, letters, tables


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Offline]:
    return {kind: offline(kind) for kind in ("signals", "casts")}


def identity(output: Prediction | Score) -> tuple[Any, ...]:
    final = output.final if isinstance(output, Score) else None
    return output.stream, output.sequence, output.step, output.timestamp_ms, final


def number(output: Prediction | Score) -> float:
    found = output.prediction if isinstance(output, Prediction) else output.probability
    return -1.0 if found is None else found


@pytest.mark.parametrize("kind", ["signals", "casts"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_death_of_a_worker_is_seen_in_outputs_or_states(
    kind: str, seed: int, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # states go out one by one, and chunks are applied in between
        monkeypatch.setattr("stream_app.flow.commits.FEWEST_AT_ONCE", 1)
        monkeypatch.setattr("stream_app.flow.commits.MOST_AT_ONCE", 1)
        monkeypatch.setattr("stream_app.flow.commits.BATCHES_IN_FLIGHT", 1)
    expected, letters, tables = undisturbed[kind]
    world = World(kind, seed)

    asyncio.run(history(world, lives=4))

    for partition in world.log:
        assert sorted(world.letters(partition)) == letters[partition]
        found = defaultdict(list)
        for output in world.outputs(partition):
            found[identity(output)].append(output)
        assert found.keys() == {identity(output) for output in expected[partition]}
        for output in expected[partition]:
            (same,) = found[identity(output)]
            assert abs(number(same) - number(output)) <= TOLERANCE
        assert_same_states(kind, tables[partition], {k: v for k, (_, v) in world.table(partition).items()})


async def history(world: World, lives: int) -> None:
    """So many workers die, the next one does all that is left."""
    for _ in range(lives):
        await world.live(actions=world.random.randrange(1, 40))
    await world.live(actions=None)


@pytest.mark.parametrize("seed", SEEDS)
def test_final_scores_of_idle_casts_stand_once_however_often_workers_die(seed: int) -> None:
    """They carry old offsets, far below those that were committed since, and come from states, not from records."""
    world = World("casts", seed, evicts=True)

    asyncio.run(history(world, lives=12))

    for partition in world.log:
        outputs = [identity(output) for output in world.outputs(partition)]
        assert len(outputs) == len(set(outputs))
        finals = {(stream, sequence) for stream, sequence, *_, final in outputs if final}
        assert finals == {(f"{partition}-{stream}", f"s{half}") for stream in range(STREAMS) for half in range(2)}
        assert world.table(partition) == {}


def assert_same_states(kind: str, expected: dict[bytes, bytes], found: dict[bytes, bytes]) -> None:
    """Casts byte for byte, segments that no head needs aside; of signals the last bits of h and c are free."""
    if kind == "casts":
        heads = {key: value for key, value in expected.items() if key[:1] == b"h"}
        assert heads == {key: value for key, value in found.items() if key[:1] == b"h"}
        assert expected.items() <= found.items()
        return
    assert expected.keys() == found.keys()
    for key, blob in expected.items():
        want, got = StreamState(), StreamState()
        _, before = unpack_state(blob, want)
        _, after = unpack_state(found[key], got)
        assert [getattr(got, name) for name in FIELDS] == [getattr(want, name) for name in FIELDS]
        np.testing.assert_allclose(np.frombuffer(after, "<f4"), np.frombuffer(before, "<f4"), atol=TOLERANCE)


def test_the_undisturbed_run_is_the_offline_run(undisturbed: Any) -> None:
    outputs, letters, _ = undisturbed["signals"]
    log, half = source("signals"), STEPS // 2
    plain = [range(half)]
    for partition, records in log.items():
        for stream, runs in enumerate((plain, plain, COUNTED_RUNS)):
            key = f"{partition}-{stream}".encode()
            samples = [msgspec.json.decode(record.value or b"") for record in records if record.key == key]
            rows = np.array([[sample["signal"], *sample["condition_vector"]] for sample in samples], np.float32)
            parts = [rows[start:][list(run)] for start in (0, half) for run in runs]
            predictions, _ = advance_sequences(signal_model(), parts)
            found = [output.prediction for output in outputs[partition] if output.stream == f"{partition}-{stream}"]
            np.testing.assert_allclose(found, np.concatenate(predictions), atol=TOLERANCE)
        refused = 2 * (half - sum(map(len, COUNTED_RUNS)))
        assert len(letters[partition]) == refused + sum(record.value == b"?" for record in records)


def test_every_row_of_the_failure_table_occurs() -> None:
    """Not a test of the worker but of this file: deaths fall before, between and after all steps."""
    seen = set()

    async def die(world: World) -> None:
        await world.live(actions=world.random.randrange(1, 40))

    for seed in range(60):
        world = World("signals", seed)
        asyncio.run(die(world))
        for partition in world.log:
            outputs = [written.source_offset for written in world.broker.written(OUTPUT, partition)]
            states = [offset for offset, _ in world.table(partition).values()]
            committed = world.broker.committed.get(TopicPartition(SOURCE, partition))
            offset = committed.offset if committed else 0
            seen.add(
                "nothing"
                if not outputs
                else "outputs only"
                if not states
                else "states ahead of the offset"
                if max(states) >= offset
                else "outputs ahead of the states"
                if max(outputs) >= offset
                else "agreement"
            )

    assert seen == {
        "nothing",
        "outputs only",
        "states ahead of the offset",
        "outputs ahead of the states",
        "agreement",
    }
