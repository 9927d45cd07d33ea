"""Light members in processes of their own: started, stopped and watched; what a rebalance took, by their events."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scale_light import Plan

from core.errors import RunError
from stream_app.settings import Settings

LIGHT = str(Path(__file__).resolve().parent / "scale_light.py")
IN_A_PROCESS = 25
WHOLE_S = 180.0
QUIET_S = 1.5  # without an event: no further rebalance is coming
LOOK_S = 0.05

Event = Mapping[str, Any]
Owners = Mapping[int, int]
"""Partition -> member."""


@dataclass(frozen=True)
class Rebalance:
    """The times and the moves of one change of a group."""

    total_s: float
    """From the command to the last member's assignment."""
    pause_s: float
    """Median over the members that stayed: from giving partitions up to getting some."""
    longest_pause_s: float
    generations: int
    moved: int
    """Partitions that have another owner."""
    led_cpu_s: float
    """CPU time of the member that assigned, in all generations."""


def rebalance_of(events: Sequence[Event], since: float, stayed: Collection[int], before: Owners) -> Rebalance:
    """Sum up what happened after ``since``; the group is whole at the end of ``events``."""
    later = [event for event in events if event["at"] >= since]
    assigned = {event["member"]: event["at"] for event in later if event["event"] == "assigned"}
    revoked: dict[int, float] = {}
    for event in later:
        if event["event"] == "revoked":
            revoked.setdefault(event["member"], event["at"])
    pauses = [assigned[member] - revoked[member] for member in stayed if member in revoked]
    after = owners_of(events)
    return Rebalance(
        total_s=max(assigned.values(), default=since) - since,
        pause_s=statistics.median(pauses) if pauses else 0.0,
        longest_pause_s=max(pauses, default=0.0),
        generations=len({event["generation"] for event in later if event["event"] == "assigned"}),
        moved=sum(before.get(partition) != owner for partition, owner in after.items()) if before else 0,
        led_cpu_s=sum(event["cpu_s"] for event in later if event["event"] == "led"),
    )


def owners_of(events: Iterable[Event]) -> dict[int, int]:
    """The owner of each source partition, by what members were assigned last and have not given up."""
    held: dict[int, Sequence[int]] = {}
    for event in events:
        if event["event"] == "assigned":
            held[event["member"]] = event["partitions"]
        elif event["event"] in ("revoked", "left"):
            held.pop(event["member"], None)
    return {partition: member for member, mine in held.items() for partition in mine}


def is_whole(events: Iterable[Event], members: Collection[int], partitions: int) -> bool:
    """True if all members have their assignment of one generation, and every partition has an owner."""
    last = {event["member"]: event for event in events if event["event"] in ("assigned", "revoked", "left")}
    found = [last.get(member) for member in members]
    whole = all(event is not None and event["event"] == "assigned" for event in found)
    shares = [event for event in found if event is not None and whole]
    one = len({event["generation"] for event in shares}) == 1
    return whole and one and sum(len(event["partitions"]) for event in shares) == partitions


class Crowd:
    """Light members of one group, some of them in each process; a context manager that ends them all."""

    def __init__(self, settings: Settings, plan: Plan, members: int, partitions: int) -> None:
        self.partitions = partitions
        self.events: list[Event] = []
        self.members: set[int] = set()
        self._lock = threading.Lock()
        command = [sys.executable, LIGHT, json.dumps(asdict(plan))]
        environment = settings.process_environment()
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(-(-members // IN_A_PROCESS))
        ]
        for process in self._processes:
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        self._wait("processes that start", lambda seen: sum(e["event"] == "here" for e in seen) == len(self._processes))

    @property
    def pids(self) -> list[int]:
        """The processes of the members."""
        return [process.pid for process in self._processes]

    def change(self, command: str, members: Collection[int]) -> Rebalance:
        """Start or stop members of a group that is whole."""
        return self._change(command, members, owners_of(self._seen()))

    def requests(self, seconds: float) -> tuple[dict[str, float], float]:
        """Count what the members send in a second, by name of the request, and the cores that they use."""
        first, began = self._count(), time.monotonic()
        time.sleep(seconds)
        last, took = self._count(), time.monotonic() - began
        sent = Counter[str]()
        for before, after in zip(first, last, strict=True):
            sent.update({name: count - before["requests"].get(name, 0) for name, count in after["requests"].items()})
        spent = sum(after["cpu_s"] - before["cpu_s"] for before, after in zip(first, last, strict=True))
        return {name: count / took for name, count in sorted(sent.items()) if count}, spent / took

    def last_led(self) -> Event:
        """The last assignment that a member has made."""
        return next(event for event in reversed(self._seen()) if event["event"] == "led")

    def _change(self, command: str, members: Collection[int], before: Owners) -> Rebalance:
        since = time.time()
        self._send(command, members)
        self.members = self.members | set(members) if command == "start" else self.members - set(members)
        self._wait(f"a group that is whole after {command}", lambda seen: self._settled(seen, since))
        return rebalance_of(self._seen(), since, self.members - set(members), before)

    def _settled(self, seen: Sequence[Event], since: float) -> bool:
        last = max((event["at"] for event in seen), default=since)
        quiet = last > since and time.time() - last > QUIET_S
        return quiet and is_whole(seen, self.members, self.partitions)

    def _count(self) -> list[Event]:
        """The counts of each process, in the same order each time."""
        since = time.time()
        for process in self._processes:
            self._tell(process, "count")
        self._wait("counts", lambda seen: len(_counts(seen, since)) == len(self._processes))
        return sorted(_counts(self._seen(), since), key=lambda event: event["process"])

    def _send(self, command: str, members: Collection[int]) -> None:
        for number, process in enumerate(self._processes):
            if mine := [str(member) for member in members if member // IN_A_PROCESS == number]:
                self._tell(process, " ".join([command, *mine]))

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            event = {"process": process.pid, **json.loads(line)}
            with self._lock:
                self.events.append(event)

    def _seen(self) -> list[Event]:
        with self._lock:
            return sorted(self.events, key=lambda event: event["at"])

    def _wait(self, what: str, done: Any) -> None:
        deadline = time.monotonic() + WHOLE_S
        while not done(self._seen()):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise RunError(f"light members: no {what} within {WHOLE_S:g} s")
            time.sleep(LOOK_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def _counts(events: Iterable[Event], since: float) -> list[Event]:
    return [event for event in events if event["event"] == "counts" and event["at"] >= since]
