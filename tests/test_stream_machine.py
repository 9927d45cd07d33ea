"""Whatever happens to a worker, in any order: states and outputs are those of one record after the other."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from core.engines.results import ChunkResult
from core.errors import StateError
from tests.strategies import Event, FakeRecord, casting_value, signal_value
from tests.stream_machine import CastMachine, SignalMachine, SteppedWorker, StreamMachine

MACHINES: dict[str, type[StreamMachine]] = {"signals": SignalMachine, "casts": CastMachine}
SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)
HISTORIES = int(os.environ.get("HISTORIES", "30"))  # `make fuzz` asks for more
checks = settings(
    max_examples=HISTORIES,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(autouse=True)
def small_steps_of_evictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that records come between them, where a handful of streams is idle."""
    monkeypatch.setattr("core.engines.eviction.EVICTED_AT_ONCE", 1)


@pytest.mark.parametrize("kind", MACHINES)
def test_any_history_equals_one_record_after_the_other(kind: str) -> None:
    run_state_machine_as_test(MACHINES[kind], settings=checks)


# The machine is able to fail: workers that commit in another way, and a short history that shows it.


class OffsetsFirst(SteppedWorker):
    """Commits the offsets before the states are written."""

    def cut(self) -> None:
        super().cut()
        self.committed |= self.cut_ends


class StatesFirst(SteppedWorker):
    """Writes the states before the outputs are acked."""

    def cut(self) -> None:
        unacked, self.unacked = self.unacked, []
        super().cut()
        self.unacked = unacked


class LateStates(SteppedWorker):
    """Writes the states as they are when their turn comes, not as they were at the cut."""

    def process(self, events: list[Event]) -> ChunkResult:
        engine, cut = self.engine, self.engine._cut
        result = super().process(events)
        for partition, streams in cut.items():
            for stream in streams:
                stream.listed = engine._listing - 1
            engine._packed.pop(partition, None)
        return result


def history(kind: str, worker: type[SteppedWorker], writes: int) -> StreamMachine:
    """Four records of a stream, a commit begins, three more records, some states are written, and the worker dies."""
    made: type[StreamMachine] = type("Machine", (MACHINES[kind],), {"worker_class": worker})
    machine = made()
    machine.start("step")
    for step in range(7):
        value = (casting_value if machine.casts else signal_value)(SAMPLE, sequence="A", step=step)
        machine._append(Event(FakeRecord(0, step, 1_000, b"a", value), "A", step, 1_000, SAMPLE))
        machine.a_chunk_is_applied(1)
        if step == 3:
            machine.a_commit_begins()
    for _ in range(writes):
        machine.states_are_written(1)
    machine.the_worker_dies(outputs_were_sent=False)
    return machine


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize(("worker", "writes"), [(OffsetsFirst, 0), (StatesFirst, 1), (LateStates, 1)])
def test_a_worker_that_commits_in_another_way_is_found(kind: str, worker: type[SteppedWorker], writes: int) -> None:
    history(kind, SteppedWorker, writes).teardown()

    with pytest.raises((AssertionError, StateError)):  # an output is lost, a state is wrong, a segment is missing
        history(kind, worker, writes).teardown()
