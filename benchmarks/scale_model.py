"""Models how far one group goes, by arithmetic on what was measured, and the tables of docs/scale.md.

    .venv/bin/python benchmarks/scale_model.py                         # prints the tables
    .venv/bin/python benchmarks/scale_model.py --write docs/scale.md   # puts them between the page's marks

The inputs are results/scale.json (`scale_members.py`) and results/latest.json (`make bench`). Everything here is
arithmetic on them: no Kafka, no clock.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render import fill
from reporting import RESULTS, Row, at, markdown, package_line, say, where

DAY_S = 86_400
BILLION = 10**9
RECORD_LIMIT = 1_048_588  # max.message.bytes of Kafka's topic of offsets, its default
METADATA_LIMIT = 4096  # offset.metadata.max.bytes, the broker's default
KEPT_S = 120.0  # max.compaction.lag.ms of our changelogs
HEARTBEAT_S = 0.3  # of a worker; by one of them it learns of a rebalance
COMMIT_S = 0.5  # the setting commit_interval
PARTITIONS = 1000
SIZES = (4, 10, 25, 50, 100, 250)
BROKERS = 3
COPIES = 3
HOUR_S, LONG_PAUSE_S = 3600.0, 6.0  # a rolling restart, and a pause: session_timeout, that plants would not accept

Points = Sequence[tuple[float, float]]


def between(points: Points, x: float) -> float:
    """Read a value off straight lines between measured points, ascending; outside of them the nearest one's."""
    places = [place for place, _ in points]
    right = bisect_left(places, x)
    if right == 0 or right == len(points):
        return points[min(right, len(points) - 1)][1]
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def slope(points: Points) -> float:
    """Fit y = a * x by least squares."""
    return sum(x * y for x, y in points) / sum(x * x for x, _ in points)


def line(points: Points) -> tuple[float, float]:
    """Fit y = a + b * x by least squares; a and b."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    b = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y - b * mean_x, b


@dataclass(frozen=True)
class Model:
    """The figures that the model takes from the measurements, and what follows from them."""

    broker_s: float
    """CPU seconds of the broker for each member in a rebalance; one thread of it serves a group."""
    stop_s: float
    """From SIGTERM to the end of a worker that is alone."""
    ready_s: float
    """From the start of a worker that is alone until it is ready."""
    record: tuple[float, float]
    """Bytes of the group's own record: a fixed part, and one for each member, over `PARTITIONS`."""
    commit_bytes: float
    """One committed offset at the broker, key and value."""
    requests: Points
    """A worker's requests per second over its samples per second."""
    fetches: float
    """Those of them that a worker at rest sends to each broker that leads a partition of its."""
    cores: Points
    """A worker's cores over its samples per second."""
    broker_cores: Points
    """The broker's cores over the samples per second of one worker."""
    full: tuple[float, float, float]
    """A worker at half of its highest rate: samples per second, its cores and the broker's."""
    sample_bytes: Mapping[str, float]
    """Bytes in the logs for each sample, of source and output."""
    state_bytes: float
    """A state in the changelog."""
    states_per_s: float
    """Changelog records that a worker reads in a second when it recovers."""

    def pause_s(self, members: int) -> float:
        """The time for which all streams stand still at a rebalance, with members on hosts of their own."""
        return HEARTBEAT_S + members * self.broker_s

    def restart_s(self, members: int) -> float:
        """One worker of a rolling restart: until it is ready again."""
        return self.stop_s + self.ready_s + self.pause_s(members)

    def rolling_s(self, members: int) -> float:
        """A rolling restart, one worker after the other."""
        return members * self.restart_s(members)

    def still_s(self, members: int) -> float:
        """The time for which each stream stands still in a rolling restart: each leave and each join stops all."""
        return 2 * members * self.pause_s(members)

    def record_bytes(self, members: int) -> float:
        """The group's own record at the broker."""
        fixed, each = self.record
        return fixed + each * members

    def group_requests(self, members: int, rate: float) -> float:
        """Requests per second of a group at a load, on `BROKERS` brokers that share its partitions."""
        leaders = min(BROKERS, PARTITIONS // members)
        return members * (between(self.requests, rate / members) + (leaders - 1) * self.fetches)

    def workers_for(self, rate: float) -> int:
        """Workers that are needed if each has half of its highest rate."""
        return math.ceil(rate / self.full[0])

    def cores_of(self, members: int, rate: float) -> tuple[float, float]:
        """Cores of so many workers at a load, and of the brokers, with one copy of each record."""
        each = rate / members
        if each > self.cores[-1][0]:
            return rate / self.full[0] * self.full[1], rate / self.full[0] * self.full[2]
        return members * between(self.cores, each), members * between(self.broker_cores, each)

    def states_written(self, streams: int, hz: float) -> float:
        """State records per second: a stream's state goes out once in a commit interval at most."""
        return streams * min(hz, 1 / COMMIT_S)

    def states_kept(self, streams: int, hz: float) -> float:
        """State records in the changelogs, at most: those of the last minutes are not compacted yet."""
        return streams + KEPT_S * self.states_written(streams, hz)

    def recovery_s(self, streams: int, hz: float, heirs: int) -> float:
        """Read the states of this many streams, which so many workers share."""
        return self.states_kept(streams, hz) / self.states_per_s / heirs


def model_of(scale: Mapping[str, Any], latest: Mapping[str, Any]) -> Model:
    """Take the inputs from the two reports."""
    few = scale["worker"][0]
    loads = [load for load in few["loads"] if load["rate"]]
    latency, states = at(latest, "parts", "latency"), at(latest, "parts", "scale", "streams").values()
    paced = sorted((float(load["rate"]), load) for key, load in latency.items() if key.isdigit())
    half, busiest = latency["half"], loads[-1]
    groups = scale["members"]
    return Model(
        broker_s=slope([(one["members"], broker_spent(one)) for one in groups]),
        stop_s=few["stop_s"],
        ready_s=few["ready_s"],
        record=line([(one["members"], one["group_record_bytes"]) for one in groups]),
        commit_bytes=max(one["commit_record_bytes"] for one in groups),
        requests=[(load["rate"], sum(load["requests_per_s"].values())) for load in few["loads"]],
        fetches=few["loads"][0]["requests_per_s"]["Fetch"],
        cores=[(rate, load["worker_cores"]) for rate, load in paced],
        broker_cores=[(rate, load["broker_cores"]) for rate, load in paced],
        full=(half["rate"], half["worker_cores"], half["broker_cores"]),
        sample_bytes={what: busiest["bytes_per_s"][what] / busiest["rate"] for what in ("source", "output")},
        state_bytes=max(one["changelog_record_bytes"] for one in states),
        states_per_s=min(one["changelog_records"] / one["changelog_read_s"] for one in states),
    )


def broker_spent(group: Mapping[str, Any]) -> float:
    """CPU seconds of the broker while the group changed, without the rest that was watched after; the smallest found.

    What members ask at rest is not taken off: most of it stops meanwhile, so this is on the safe side.
    """
    changes = (*group["leaves"], *group["joins"])
    return float(
        min(one["broker_cpu_s"] - group["broker_cores"] * (one["watched_s"] - one["total_s"]) for one in changes)
    )


# The tables of the page.


def rules(model: Model) -> str:
    """A row for each size of a group."""
    rows: list[Row] = [
        (
            members,
            model.pause_s(members),
            model.rolling_s(members) / 60,
            model.still_s(members),
            model.group_requests(members, 0.0),
            model.record_bytes(members) / 1000,
        )
        for members in SIZES
    ]
    header = (
        "workers",
        "pause of all streams at each change, s",
        "rolling restart, minutes",
        "of it each stream stands still, s",
        "requests/s without load",
        "group's record at the broker, KB",
    )
    return markdown(header, rows, text=())


def members_table(scale: Mapping[str, Any]) -> str:
    """A row for each group of light members."""
    rows: list[Row] = [
        (
            one["members"],
            one["formed"]["total_s"],
            min(change["longest_pause_s"] for change in one["leaves"]),
            max(change["longest_pause_s"] for change in one["leaves"]),
            min(change["longest_pause_s"] for change in one["joins"]),
            max(change["longest_pause_s"] for change in one["joins"]),
            broker_spent(one),
            one["group_record_bytes"],
        )
        for one in scale["members"]
    ]
    header = (
        "members",
        "all started, whole after s",
        "pause at a leave, least s",
        "most s",
        "pause at a join, least s",
        "most s",
        "broker CPU for one change, s",
        "group's record, bytes",
    )
    return markdown(header, rows, text=())


def assignor_table(scale: Mapping[str, Any]) -> str:
    """Our assignment beside Faust's, when one member of a group leaves."""
    rows: list[Row] = [
        (
            one["members"],
            one["ours"]["needed"],
            *(value for kind in ("ours", "faust") for value in _assigned(one[kind])),
        )
        for one in scale["assignor"]
    ]
    header = (
        "members",
        "partitions of the one that left",
        "moved",
        "CPU, ms",
        "KB",
        "Faust's: moved",
        "CPU, ms",
        "KB",
    )
    return markdown(header, rows, text=())


def _assigned(found: Mapping[str, Any]) -> tuple[object, ...]:
    return found["moved"], 1000 * found["cpu_s"], found["record_bytes"] / 1000


NAMES = ("Fetch", "Produce", "OffsetCommit", "Heartbeat")


def requests_table(scale: Mapping[str, Any]) -> str:
    """A real worker's requests per second by load."""
    rows: list[Row] = [
        (one["partitions"], load["rate"], *_requests(load["requests_per_s"]))
        for one in scale["worker"]
        for load in one["loads"]
    ]
    return markdown(("partitions", "samples/s", *NAMES, "others", "all requests/s"), rows, text=())


def _requests(sent: Mapping[str, float]) -> tuple[float, ...]:
    named = [sent.get(name, 0.0) for name in NAMES]
    return *named, sum(sent.values()) - sum(named), sum(sent.values())


def cost(model: Model) -> str:
    """Cores and bytes of a billion and of 100 billion samples a day."""
    rows: list[Row] = []
    for billions, members in ((1, None), (1, 25), (100, None), (100, 250)):
        rate = billions * BILLION / DAY_S
        workers = members or model.workers_for(rate)
        worker_cores, broker_cores = model.cores_of(workers, rate)
        through = rate * sum(model.sample_bytes.values())
        kept = through * DAY_S * COPIES / 1e12
        requests = model.group_requests(workers, rate)
        rows.append((f"{billions} billion", rate, workers, worker_cores, broker_cores, through / 1e6, kept, requests))
    header = (
        "a day",
        "samples/s",
        "workers",
        "their cores",
        "brokers' cores, one copy",
        "source and output, MB/s",
        f"TB a day with {COPIES} copies",
        "requests/s",
    )
    return markdown(header, rows)


def changelog(model: Model) -> str:
    """Changelogs and recovery by streams."""
    rows: list[Row] = []
    for streams, hz in ((100_000, 1.0), (1_000_000, 0.1), (1_000_000, 1.0), (10_000_000, 0.1), (10_000_000, 1.0)):
        written, kept = model.states_written(streams, hz), model.states_kept(streams, hz)
        share = streams // 10
        rows.append(
            (
                streams,
                hz,
                written * model.state_bytes / 1e6,
                kept * model.state_bytes / 1e9,
                model.recovery_s(share, hz, 9),
                model.recovery_s(streams, hz, 10),
            )
        )
    header = (
        "streams",
        "samples/s of each",
        "changelog, MB/s, one copy",
        "kept, GB, at most",
        "one of 10 workers dies: states read, s",
        "all 10 start: states read, s",
    )
    return markdown(header, rows, text=())


def limits(model: Model) -> str:
    """The limits of a group, by the number of workers."""
    fixed, each = model.record
    record = int((RECORD_LIMIT - fixed) / each)
    pause = int((LONG_PAUSE_S - HEARTBEAT_S) / model.broker_s)
    rolling = next(members for members in range(1, 100_000) if model.rolling_s(members) > HOUR_S)
    still = next(members for members in range(1, 100_000) if model.still_s(members) > 60)
    rows: list[Row] = [
        ("a rolling restart makes every stream stand still for more than a minute", still),
        ("a rolling restart takes more than an hour", rolling),
        (f"one change of the group takes more than {LONG_PAUSE_S:g} s, the default session", pause),
        ("the group's own record passes Kafka's 1 MB", record),
        (f"metadata of a commit passes the broker's {METADATA_LIMIT:,} bytes", "never"),
    ]
    return markdown(("what breaks", f"above so many workers, over {PARTITIONS:,} partitions"), rows)


def check(model: Model, scale: Mapping[str, Any]) -> str:
    """The model beside a rolling restart of real workers; one alone, in the same minutes, stands for the machine."""
    found = scale["rolling"]
    members, alone, group = found["workers"], found["alone"], found["group"]
    took = [one["stop_s"] + one["ready_s"] for one in group["restarts"]]
    (single,) = (one["stop_s"] + one["ready_s"] for one in alone["restarts"])
    each = single + model.pause_s(members)
    rows: list[Row] = [
        ("all restarts, s", sum(took), members * each),
        ("the longest one, s", max(took), each),
        ("longest silence of a partition, s", group["longest_silence_s"], 2 * model.pause_s(members)),
    ]
    return markdown((f"{members} workers, {found['partitions']} partitions", "measured", "predicted"), rows)


def about(scale: Mapping[str, Any], latest: Mapping[str, Any]) -> str:
    """The machines and the times of the two reports."""
    first = f"Groups and workers: {where(scale)}; {scale['started']}. {package_line(scale)}."
    return f"{first} CPU of a sample, changelog and recovery: {where(latest)}; {latest['started']}."


def blocks_of(scale: Mapping[str, Any], latest: Mapping[str, Any]) -> dict[str, Callable[[], str]]:
    """Return the content of each block of the page, by name."""
    model = model_of(scale, latest)
    return {
        "scale_where": lambda: about(scale, latest),
        "scale_rules": lambda: rules(model),
        "scale_members": lambda: members_table(scale),
        "scale_assignor": lambda: assignor_table(scale),
        "scale_requests": lambda: requests_table(scale),
        "scale_cost": lambda: cost(model),
        "scale_changelog": lambda: changelog(model),
        "scale_limits": lambda: limits(model),
        "scale_check": lambda: check(model, scale),
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of scale.json and latest.json")
    parser.add_argument("--write", type=Path, help="the page to fill")
    options = parser.parse_args()
    try:
        scale, latest = (json.loads((options.results / name).read_text()) for name in ("scale.json", "latest.json"))
        blocks = blocks_of(scale, latest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"error: {options.results}: {error!r}; `scale_members.py --store` and `make bench` measure what is missing")
        return 2
    if options.write:
        options.write.write_text(fill(options.write.read_text(), blocks))
        say(f"wrote {options.write}")
    else:
        print("\n\n".join(f"{name}\n\n{content()}" for name, content in blocks.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
