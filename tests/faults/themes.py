"""The themes of schedules: what they are about, the rest is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tests.faults.load import LoadPlan
from tests.faults.orders import ASSIGNMENT_POINTS, COMMIT_POINTS, HAND_OVER_POINTS
from tests.faults.schedule import Fault, Schedule
from tests.faults.stage import MOST_WORKERS
from tests.faults.streams import Habits

PER_RUN = 1000
"""Schedule i of the run with seed n has the number n * PER_RUN + i."""

Random = random.Random
Draw = Callable[[Random, int, str], Schedule]

AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"


def settings_drawn(random: Random, **fixed: Any) -> dict[str, Any]:
    """Settings as users might have them; sessions are mostly short, so that schedules are."""
    window_min = random.choice((20, 20, 50, 100))
    return {
        "processing_guarantee": EXACTLY_ONCE if random.random() < 0.15 else AT_LEAST_ONCE,
        "session_timeout": random.choice((1.5, 2.0, 2.0, 3.0, 6.0)),
        "commit_interval": random.choice((0.1, 0.3, 0.5, 0.5)),
        "output_format": random.choice(("json", "json", "msgpack")),
        "gap_policy": random.choice(("step", "step", "hold", "reset")),
        "window_min": window_min,
        "window_length": random.choice((100, 150, 300)),
        "hop": random.choice((10, 30)),
        **fixed,
    }


def load_drawn(random: Random, seconds: float, **fixed: Any) -> LoadPlan:
    """One to three thousand samples a second, most of the time."""
    return LoadPlan(
        **{
            "signals": random.choice((24, 40, 60)),
            "signal_hz": random.choice((20.0, 30.0, 40.0)),
            "strands": random.choice((4, 8)),
            "strand_hz": random.choice((15.0, 25.0)),
            "seconds": seconds,
            "idempotent": random.random() < 0.6,
            **fixed,
        }
    )


def in_turn(random: Random, seconds: float, faults: Iterable[Fault], first_s: float = 1.0) -> tuple[Fault, ...]:
    """The faults spread over the time, in the order given, each somewhere in its share of it."""
    given = list(faults)
    share = (seconds - first_s) / max(len(given), 1)
    return tuple(
        replace(fault, at_s=round(first_s + share * (i + random.uniform(0, 0.8)), 2)) for i, fault in enumerate(given)
    )


def kill(random: Random, workers: int) -> Fault:
    """SIGKILL; started again soon, or only when the others have taken over."""
    return Fault(
        0, "kill", random.randrange(workers), round(random.choice((0.1, 1.0, 5.0)) * random.uniform(0.5, 1), 2)
    )


def die_at(random: Random, workers: int, point: str) -> Fault:
    """SIGKILL at a failure point."""
    return Fault(
        0,
        "die at point",
        random.randrange(workers),
        round(random.uniform(0.1, 4), 2),
        {"point": point, "count": random.choice((0, 0, 1, 2, 5))},
    )


def _make(
    random: Random, number: int, name: str, seconds: float, faults: Iterable[Fault], workers: int, **more: Any
) -> Schedule:
    load = more.pop("load", {})
    return Schedule(
        number,
        name,
        workers,
        load_drawn(random, seconds, **load),
        settings_drawn(random, **more.pop("settings", {})),
        in_turn(random, seconds, faults),
        **more,
    )


def kills(random: Random, number: int, name: str) -> Schedule:
    """Workers are killed at random moments."""
    workers = random.randint(1, MOST_WORKERS)
    faults = [kill(random, workers) for _ in range(random.randint(2, 3))]
    return _make(random, number, name, 14, faults, workers)


def kill_by_default(random: Random, number: int, name: str) -> Schedule:
    """One of two workers is killed, all settings as they come: how long the streams stand still."""
    fixed = {"session_timeout": 6.0, "commit_interval": 0.5, "processing_guarantee": AT_LEAST_ONCE}
    return _make(random, number, name, 16, [replace(kill(random, 2), seconds=14.0)], 2, settings=fixed)


def commit_points(random: Random, number: int, name: str) -> Schedule:
    """Workers die between two steps of a commit."""
    faults = [die_at(random, 2, point) for point in random.sample(COMMIT_POINTS, 3)]
    return _make(random, number, name, 16, faults, 2)


def assignment_points(random: Random, number: int, name: str) -> Schedule:
    """Workers die while they take partitions up or hand them over."""
    points = [random.choice(ASSIGNMENT_POINTS), random.choice(HAND_OVER_POINTS), random.choice(ASSIGNMENT_POINTS)]
    faults = []
    for point in points:
        victim = random.randrange(2)
        faults += [
            Fault(0, "die at point", victim, round(random.uniform(0.1, 2), 2), {"point": point, "count": 0}),
            Fault(0, "terminate", 1 - victim, round(random.uniform(0.1, 1), 2)),
        ]
    return _make(random, number, name, 20, faults, 2)


def comings_and_goings(random: Random, number: int, name: str) -> Schedule:
    """Workers are stopped in order, join and leave."""
    faults = [
        Fault(0, "terminate", 0, round(random.uniform(0.1, 3), 2)),
        Fault(0, "join", 2),
        random.choice((kill(random, 2), Fault(0, "terminate", 1, 0.5))),
        Fault(0, "leave", random.randrange(3)),
    ]
    return _make(random, number, name, 16, faults, 2)


def zombies(random: Random, number: int, name: str) -> Schedule:
    """Workers stand still for longer than their session, anywhere in a commit too, and go on."""
    session = random.choice((1.5, 2.0))
    faults = [
        Fault(0, "pause", random.randrange(2), round(session * random.uniform(1.3, 2.5), 2)),
        Fault(
            0,
            "stop at point",
            random.randrange(2),
            round(session * random.uniform(1.5, 2.5), 2),
            {"point": random.choice((*COMMIT_POINTS, *HAND_OVER_POINTS[:1])), "count": random.choice((0, 1, 3))},
        ),
        Fault(0, "pause", random.randrange(2), round(session * random.uniform(0.3, 1.1), 2)),
    ]
    return _make(random, number, name, 18, faults, 2, settings={"session_timeout": session})


def broker_crash(random: Random, number: int, name: str) -> Schedule:
    """The broker is killed, restarted in order or stands still for a while; and a worker is killed besides."""
    troubles = [
        Fault(0, "broker killed", None, round(random.uniform(0.1, 2), 2)),
        random.choice(
            (
                Fault(0, "broker paused", None, round(random.uniform(0.5, 4), 2)),
                Fault(0, "broker restarted", None, round(random.uniform(0.1, 3), 2)),
            )
        ),
        kill(random, 2),
    ]
    random.shuffle(troubles)
    return _make(random, number, name, 18, troubles, 2)


def outage(random: Random, number: int, name: str) -> Schedule:
    """Nobody reaches the broker, in every fourth schedule for 30 s; or one worker does not."""
    seconds = 30.0 if random.random() < 0.25 else round(random.uniform(2, 7), 2)
    faults = [
        Fault(0, "unreachable", random.randrange(2), round(random.uniform(2, 5), 2)),
        Fault(0, "unreachable", None, seconds),
    ]
    return _make(random, number, name, 16, faults, 2)


def half_open(random: Random, number: int, name: str) -> Schedule:
    """One direction of a worker's connections stops; connections are cut."""
    faults = []
    for direction in random.sample(("up", "down"), 2):
        worker = random.choice((0, 1, None))
        faults.append(Fault(0, "half-open", worker, round(random.uniform(1, 5), 2), {"direction": direction}))
        faults.append(Fault(0, "connections cut", random.choice((0, 1, None))))
    return _make(random, number, name, 18, faults, 2)


def slow_network(random: Random, number: int, name: str) -> Schedule:
    """Everything takes long; and a worker is killed meanwhile."""
    slow = {"bytes_per_s": random.choice((200_000, 1_000_000)), "delay_s": random.choice((0.02, 0.1))}
    faults = [
        Fault(0, "slow", random.choice((0, 1, None)), round(random.uniform(3, 6), 2), slow),
        kill(random, 2),
        Fault(0, "connections cut", None),
        Fault(0, "producer cut off", None, round(random.uniform(0.5, 3), 2)),
    ]
    return _make(random, number, name, 16, faults, 2, load={"idempotent": random.random() < 0.3})


def full_disk(random: Random, number: int, name: str) -> Schedule:
    """The broker's disk is full, and with it the workers' data directory; Kafka halts, and is started with space."""
    faults = [Fault(0, "disk full", None, round(random.uniform(2, 5), 2)), kill(random, 2)]
    random.shuffle(faults)
    return _make(random, number, name, 14, faults, 2, small_disk=True)


def compaction(random: Random, number: int, name: str) -> Schedule:
    """Changelogs are compacted all the time, while workers die and recover."""
    faults = [Fault(0, "compaction"), *(kill(random, 2) for _ in range(3))]
    return _make(random, number, name, 20, faults, 2, settings={"commit_interval": 0.1})


def clock_jumps(random: Random, number: int, name: str) -> Schedule:
    """Workers' clocks jump by hours, forward and back, beside crashes, and while nothing comes for some seconds."""
    jumps = [Fault(0, "clock", worker, 0, {"hours": random.choice((-30.0, -2.0, 2.0, 30.0))}) for worker in (0, 1, 0)]
    lull = Fault(0, "lull", None, round(random.uniform(2, 4), 2))
    faults = [*jumps[:2], lull, kill(random, 2), jumps[2], lull]
    return _make(random, number, name, 18, faults, 2)


def partitions_added(random: Random, number: int, name: str) -> Schedule:
    """A source gets another partition while it is read."""
    return _make(random, number, name, 10, [kill(random, 2), Fault(0, "partitions added")], 2)


def source_made_anew(random: Random, number: int, name: str) -> Schedule:
    """A source is deleted and created again while it is read; what comes may be less than before, or more."""
    again = Fault(0, "source made anew", None, 0, {"burst": random.choice((10, 200, 20_000))})
    return _make(random, number, name, 10, [kill(random, 2), again], 2)


def records_deleted(random: Random, number: int, name: str) -> Schedule:
    """Retention takes records before they were read."""
    faults = [Fault(0, "records deleted", None, round(random.uniform(0.5, 2), 2)), kill(random, 2)]
    return _make(random, number, name, 12, faults, 2, settings={"gap_policy": "step"})


def offsets_deleted(random: Random, number: int, name: str) -> Schedule:
    """The group's committed offsets are gone, as after their retention."""
    return _make(random, number, name, 10, [kill(random, 2), Fault(0, "offsets deleted")], 2)


def idle_streams(random: Random, number: int, name: str) -> Schedule:
    """Streams pause, are let go, and come again, beside crashes; also in the middle of an eviction."""
    habits = Habits(pause=0.012, longest_pause_s=10.0)
    point = Fault(0, "die at point", random.randrange(2), 0.5, {"point": "evicting", "count": random.choice((0, 1, 3))})
    lull = Fault(0, "lull", None, round(random.uniform(0.5, 4), 2))
    faults = [kill(random, 2), point, lull, Fault(0, "pause", random.randrange(2), 3.0), kill(random, 2)]
    idle = {"idle_timeout": random.choice((0.3, 1.0)), "session_timeout": 2.0}
    return _make(random, number, name, 26, faults, 2, settings=idle, load={"habits": habits, "strands": 16})


def transactions(random: Random, number: int, name: str) -> Schedule:
    """Exactly once by transactions: dying anywhere, zombies, a broker that is killed."""
    faults = [
        die_at(random, 2, random.choice(COMMIT_POINTS)),
        Fault(0, "pause", random.randrange(2), round(random.uniform(2.5, 5), 2)),
        random.choice((kill(random, 2), Fault(0, "broker killed", None, 0.5))),
    ]
    fixed = {"processing_guarantee": EXACTLY_ONCE, "session_timeout": 2.0}
    return _make(random, number, name, 18, faults, 2, settings=fixed)


def everything(random: Random, number: int, name: str) -> Schedule:
    """Five faults of any kind that need no administrator."""
    kinds: list[Callable[[], Fault]] = [
        lambda: kill(random, workers),
        lambda: die_at(random, workers, random.choice(COMMIT_POINTS)),
        lambda: Fault(0, "terminate", random.randrange(workers), 0.5),
        lambda: Fault(0, "pause", random.randrange(workers), round(random.uniform(1, 5), 2)),
        lambda: Fault(
            0, "stop at point", random.randrange(workers), 4.0, {"point": random.choice(COMMIT_POINTS), "count": 0}
        ),
        lambda: Fault(0, "connections cut", random.choice((0, None))),
        lambda: Fault(0, "unreachable", random.choice((*range(workers), None)), round(random.uniform(1, 5), 2)),
        lambda: Fault(0, "half-open", random.randrange(workers), 3.0, {"direction": random.choice(("up", "down"))}),
        lambda: Fault(0, "broker killed", None, round(random.uniform(0.1, 2), 2)),
        lambda: Fault(0, "producer cut off", None, 1.0),
    ]
    workers = random.randint(1, MOST_WORKERS)
    faults = [random.choice(kinds)() for _ in range(5)]
    return _make(random, number, name, 20, faults, workers)


THEMES: dict[str, Draw] = {
    "kills": kills,
    "kill, all defaults": kill_by_default,
    "commit points": commit_points,
    "assignment points": assignment_points,
    "comings and goings": comings_and_goings,
    "zombies": zombies,
    "broker crash": broker_crash,
    "outage": outage,
    "half-open": half_open,
    "slow network": slow_network,
    "full disk": full_disk,
    "compaction": compaction,
    "clock jumps": clock_jumps,
    "partitions added": partitions_added,
    "source made anew": source_made_anew,
    "records deleted": records_deleted,
    "offsets deleted": offsets_deleted,
    "idle streams": idle_streams,
    "transactions": transactions,
    "everything": everything,
}


def number_of(seed: int, index: int) -> int:
    """The number of a run's schedule."""
    return seed * PER_RUN + index


def draw(number: int) -> Schedule:
    """The schedule of this number; themes take turns, so that a run of twenty has all of them."""
    name, theme = list(THEMES.items())[number % PER_RUN % len(THEMES)]
    return theme(random.Random(f"schedule {number}"), number, name)
