"""The workers of a schedule: processes that can fail from inside, started again as the supervisor would."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from stream_app.exits import EXIT_REFUSED
from stream_app.settings import Settings
from tests.broker import wait_until
from tests.faults import orders
from tests.faults.orders import KILL, STOP
from tests.faults.stage import WORKERS, Stage
from tests.worker import READY_S, WorkerProcess

BACK_OFF_S = 0.7
READY = re.compile(r" (ready:|going on with) (.*)")
OWNED = re.compile(r"([^\s,]+)\[(\d+)\]")


class FaultyWorker(WorkerProcess):
    """A worker process that takes `orders`.

    Args:
        settings: see WorkerProcess.
        directory: for its logs and orders; made here.
        sabotage: a mode of `faults.sabotage`.
    """

    program = "tests.faults.worker_main"
    forked = False

    def __init__(self, settings: Settings, directory: Path, sabotage: str = "") -> None:
        directory.mkdir(parents=True)
        super().__init__(settings, directory)
        self._sabotage = sabotage
        self._orders = orders.Orders()

    def start(self, ready: bool = True, **changes: Any) -> Self:
        """Start it; by default until it is ready, or has met the end that its orders say."""
        self.launch(**changes)
        if ready:
            wait_until(self.ready_or_ended, READY_S, "the worker's readiness")
        return self

    def _environment(self) -> dict[str, str]:
        ours = {orders.ENVIRONMENT_DIRECTORY: str(self._directory), orders.ENVIRONMENT_SABOTAGE: self._sabotage}
        return {**super()._environment(), **ours, "OMP_NUM_THREADS": "1"}

    @property
    def exit_status(self) -> int | None:
        return self._child.exit_status if self._child else None

    @property
    def owned(self) -> set[tuple[str, int]]:
        """The source partitions of its last assignment: those that it kept, and those that it took up."""
        told = READY.findall(self.log)
        last = told[-2:] if len(told) > 1 and told[-2][0] != "ready:" else told[-1:]
        return {(topic, int(partition)) for _, names in last for topic, partition in OWNED.findall(names)}

    def order(self, **changes: Any) -> None:
        """Give new orders; what is not changed stays, but for a point, which is for once."""
        kept = replace(self._orders, point="", number=self._orders.number + 1)
        self._orders = replace(kept, **changes)
        orders.write(self._directory, self._orders)

    @property
    def waits_for(self) -> str:
        """The point that it was ordered to end or stop at, if it has not come to it yet."""
        reached = any(each.number == self._orders.number for each in self.fired())
        return "" if reached else self._orders.point

    def fired(self) -> list[orders.Fired]:
        """The points at which it has ended or stopped so far."""
        return orders.fired(self._directory)

    def signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)


@dataclass
class Slot:
    """A place for a worker."""

    index: int
    worker: FaultyWorker
    wanted: bool = False
    """It is to run."""
    due: float = 0.0
    """When it may be started, if it does not run."""
    alive: bool = False
    """It was started, and its end has not been seen yet."""
    told: bool = False
    """It was told to end, or killed."""
    restart_s: float = BACK_OFF_S
    """The pause after its next end."""
    stop_s: float = 0.0
    """For how long it stands still when an order has stopped it."""
    fired: int = 0
    """How many of its orders that were carried out have been seen."""


@dataclass(frozen=True)
class Death:
    """A worker was killed, by us or by an order, when it owned these source partitions."""

    at_s: float
    worker: int
    owned: frozenset[tuple[str, int]]


@dataclass
class Crew:
    """All slots of a schedule, used or not; `look`, called often, does what a supervisor does."""

    slots: list[Slot]
    deaths: list[Death] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why workers refused to go on; those are not started again."""
    failed: list[str] = field(default_factory=list)
    """Why workers ended that nobody had told to; those are."""

    @classmethod
    def of(cls, stage: Stage, settings: Settings, directory: Path, sabotage: str = "") -> Crew:
        """One slot for each of the workers' proxies."""
        slots = []
        for index, name in enumerate(WORKERS):
            reached_by = settings.replace(broker=stage.proxies[name].address, metrics_port=0)
            slots.append(Slot(index, FaultyWorker(reached_by, directory / f"worker-{index}", sabotage)))
        return cls(slots)

    def start(self, count: int) -> None:
        """Run the first workers, and wait until all are ready."""
        for slot in self.slots[:count]:
            self.want(slot.index)
        wait_until(lambda: self.all_ready() or len(self.failed) > count, READY_S, "the workers' readiness")
        assert self.all_ready(), f"workers do not start: {self.failed}"

    def want(self, index: int) -> None:
        """Have a worker run, from now on."""
        self.slots[index].wanted = True
        self.look()

    def kill(self, index: int, restart_s: float) -> None:
        """SIGKILL; started again after a pause."""
        slot = self.slots[index]
        if slot.worker.running:
            self._note_death(slot, time.time())
            slot.told, slot.restart_s = True, restart_s
            slot.worker.sigkill()

    def terminate(self, index: int, restart_s: float | None) -> None:
        """SIGTERM, without waiting for the end; started again after a pause, or not at all."""
        slot = self.slots[index]
        slot.told, slot.restart_s, slot.wanted = True, restart_s or 0.0, restart_s is not None
        slot.worker.signal(signal.SIGTERM)

    def order(self, index: int, pause_s: float = BACK_OFF_S, **given: Any) -> None:
        """Give a worker orders (`faults.orders`). Should they end or stop it, it goes on after a pause."""
        slot = self.slots[index]
        slot.restart_s = slot.stop_s = pause_s
        slot.worker.order(**given)

    def dismiss(self) -> list[int]:
        """End all workers in order, and start none until `recall`; which they were."""
        slots = [slot for slot in self.slots if slot.wanted]
        for slot in slots:
            self.terminate(slot.index, 0)
            slot.worker.wait()
            slot.wanted = False
        self.look()
        return [slot.index for slot in slots]

    def recall(self, indices: list[int]) -> None:
        """Have these run again."""
        for index in indices:
            self.slots[index].due = 0.0
            self.want(index)

    def look(self) -> None:
        """See what has ended, and start what is due."""
        for slot in self.slots:
            if slot.alive and not slot.worker.running:
                self._ended(slot)
            elif slot.alive:
                self._wake(slot)
            if slot.wanted and not slot.alive and time.monotonic() >= slot.due:
                slot.alive, slot.told = True, False
                slot.worker.start(ready=False)

    def _wake(self, slot: Slot) -> None:
        fired = slot.worker.fired()
        stopped = fired[slot.fired :] and fired[-1].action == STOP
        if stopped and time.time() >= fired[-1].at_s + slot.stop_s:
            slot.fired = len(fired)
            slot.worker.signal(signal.SIGCONT)

    def _ended(self, slot: Slot) -> None:
        status, fired = slot.worker.exit_status, slot.worker.fired()
        killed = [each for each in fired[slot.fired :] if each.action == KILL]
        if killed:
            self._note_death(slot, killed[-1].at_s)
        elif status == EXIT_REFUSED:
            slot.wanted = False
            self.refused.append(f"worker {slot.index}: {_last_error(slot.worker)}")
        elif status and not (slot.told and status < 0):
            self.failed.append(f"worker {slot.index}, status {status}: {_last_error(slot.worker)}")
        slot.due = time.monotonic() + slot.restart_s
        slot.alive, slot.restart_s, slot.fired = False, BACK_OFF_S, len(fired)

    def _note_death(self, slot: Slot, at_s: float) -> None:
        self.deaths.append(Death(at_s, slot.index, frozenset(slot.worker.owned)))

    def all_ready(self) -> bool:
        """Whether every worker that is wanted is ready."""
        self.look()
        return all(slot.alive and slot.worker.ready_or_ended() for slot in self.slots if slot.wanted)

    def waiting(self) -> list[str]:
        """Orders that are not carried out yet."""
        return [f"worker {slot.index}: {point}" for slot in self.slots if (point := slot.worker.waits_for)]

    def heal(self) -> None:
        """Nothing more befalls the workers, and at least one is to run."""
        for slot in self.slots:
            slot.worker.order()
            slot.worker.signal(signal.SIGCONT)
        if not any(slot.wanted for slot in self.slots):
            self.want(0)

    def stop(self) -> None:
        """SIGTERM to all, one after the other, and wait."""
        for slot in self.slots:
            if slot.worker.running:
                self.terminate(slot.index, None)
                slot.worker.wait()
            slot.wanted = False
        self.look()

    def kill_all(self) -> None:
        """However the schedule ends, no process stays."""
        for slot in self.slots:
            slot.wanted = False
            if slot.worker.running:
                slot.worker.sigkill()


def _last_error(worker: FaultyWorker) -> str:
    """One line."""
    return (worker.errors or worker.log.splitlines() or ["it said nothing"])[-1]
