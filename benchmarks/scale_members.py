"""Measures how far one group goes: light members on a real broker, the assignor alone, and real workers.

    .venv/bin/python benchmarks/scale_members.py [--quick] [--json] [--only PART ...]

assignor: CPU time and bytes of an assignment, ours beside Faust's own; no Kafka.
members: groups of light members (`scale_light.py`) form; members leave and join; all rest. 1,000 partitions.
worker: one real worker: start, stop, requests and bytes by load.
rolling: four real workers over 64 partitions are restarted one after the other, under a load.

The whole run takes about 10 minutes. --store puts the report into benchmarks/results/scale.json, part by part, and
`scale_model.py` makes the tables of docs/scale.md of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from failover import Failover, group_of
from failover import Plan as Events
from harness import bench_broker
from live_worker import LiveWorker, Meter, broker_pid
from loads import Sending, Watch, load_of, send
from reporting import RESULTS, Report, Row, Say, at, markdown, parser, run_script, write_whole
from scale_crowd import Crowd
from scale_light import Plan, light_assignor

from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_SAMPLES, SIGNAL_STATES, routes
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STORED = RESULTS / "scale.json"
PARTITIONS = 1000
MEMBERS, QUICK_MEMBERS = (10, 25, 50, 100, 250), (10, 25, 50)
ASSIGNED = (*MEMBERS, 60, 300)  # and two that do not divide the partitions
REPEATS = 2
REST_S = 5.0
LOADS = (0, 10, 100, 1000, 11_574)
LOAD_S, AROUND_S, STREAMS = 6.0, 3.0, 1000
WORKER_PARTITIONS = (4, 64)
ROLLING_WORKERS, ROLLING_PARTITIONS = 4, 64
GROUP_KEY = 2  # the version of a key of a group's own record among the offsets; below it those of commits
OFFSETS = "__consumer_offsets"

Topics = Mapping[str, int]


def measure_assignor(options: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """A group of each size loses a member: CPU time of the new assignment, bytes, and partitions that move."""
    found = []
    for members in sorted(ASSIGNED):
        ours, theirs = (one_assignment(kind, members, PARTITIONS) for kind in ("ours", "faust"))
        found.append({"members": members, "partitions": PARTITIONS, "ours": ours, "faust": theirs})
        say(f"assignor, {members} members: {ours['cpu_s']:.3f} s; Faust's {theirs['cpu_s']:.3f} s")
    return found


def one_assignment(kind: str, members: int, partitions: int) -> dict[str, Any]:
    """One member of a group at rest leaves: what the new assignment costs the member that makes it."""
    topics = {"signal-samples": partitions, "caststream-signal-states-changelog": partitions}
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: range(topics[topic]))
    group = {f"caststream-{number:036d}": light_assignor(kind, number) for number in range(members)}
    leader = next(iter(group.values()))
    for _ in range(2):  # the second time, members tell what they hold
        said = {member: assignor.metadata(set(topics)) for member, assignor in group.items()}
        given = leader.assign(cluster, said)
        for member, assignor in group.items():
            assignor.on_assignment(given[member])
    before = _owners(given)
    gone, _ = group.popitem()
    said = {member: assignor.metadata(set(topics)) for member, assignor in group.items()}
    started = time.process_time()
    given = leader.assign(cluster, said)
    spent = time.process_time() - started
    after = _owners(given)
    sizes = [len(said[member].encode()) + len(given[member].encode()) for member in group]
    return {
        "cpu_s": spent,
        "record_bytes": sum(sizes),
        "moved": sum(after[place] != owner for place, owner in before.items()),
        "needed": sum(owner == gone for owner in before.values()),
    }


def _owners(given: Mapping[str, Any]) -> dict[int, str]:
    return {
        partition: member
        for member, found in given.items()
        for topic, mine in found.assignment
        for partition in mine
        if topic == "signal-samples"
    }


def measure_members(options: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Groups of light members, each size with a group of its own on the same topics."""
    with bench_broker(say) as settings:
        topics = {SIGNAL_SAMPLES: options.partitions, SIGNAL_STATES: options.partitions}
        Cluster(settings).create(topics, 1, {name: {} for name in topics})
        _warm_up(settings, topics)
        sizes = options.members or (QUICK_MEMBERS if options.quick else MEMBERS)
        return [_group_at(settings, topics, members, options.assignor, say) for members in sizes]


def _warm_up(settings: Settings, topics: Topics) -> None:
    """The first group of a broker waits for the topic of offsets, and for Java to become fast."""
    with Crowd(settings, Plan("warm-up", list(topics)), 2, topics[SIGNAL_SAMPLES]) as crowd:
        crowd.change("start", range(2))


def _group_at(settings: Settings, topics: Topics, members: int, assignor: str, say: Say) -> dict[str, Any]:
    group, partitions = f"scale-{assignor}-{members}", topics[SIGNAL_SAMPLES]
    with Crowd(settings, Plan(group, list(topics), assignor), members, partitions) as crowd:
        formed = crowd.change("start", range(members))
        say(f"{members} members: whole after {formed.total_s:.1f} s, {formed.generations} generations")
        leaves, joins = [], []
        for repeat in range(REPEATS):
            leaves.append(_changed(crowd, "stop", members - 1 - repeat))
            joins.append(_changed(crowd, "start", members - 1 - repeat))
        say(f"{members} members: pauses {[round(one['longest_pause_s'], 2) for one in (*leaves, *joins)]} s")
        meter = Meter(broker=broker_pid())
        requests, member_cores = crowd.requests(REST_S)
        return {
            "members": members,
            "partitions": partitions,
            "formed": asdict(formed),
            "leaves": leaves,
            "joins": joins,
            "requests_per_s": requests,
            "members_cores": member_cores,
            "broker_cores": meter.cores()["broker"],
            "led": {key: crowd.last_led()[key] for key in ("cpu_s", "metadata_bytes", "assignment_bytes")},
            **kept_at_broker(settings, group),
        }


def _changed(crowd: Crowd, command: str, member: int) -> dict[str, Any]:
    """A rebalance, and the CPU seconds of the broker and of all members meanwhile; the work at rest is among them."""
    meter, began = Meter(broker=broker_pid(), **{str(pid): pid for pid in crowd.pids}), time.monotonic()
    found = crowd.change(command, [member])
    watched_s, spent = time.monotonic() - began, meter.cpu_s()
    broker_cpu_s = spent.pop("broker")
    return asdict(found) | {
        "watched_s": watched_s,
        "broker_cpu_s": broker_cpu_s,
        "members_cpu_s": sum(spent.values()),
    }


def kept_at_broker(settings: Settings, group: str) -> dict[str, Any]:
    """Bytes of the records that the broker keeps: the group's own, the last one; the mean one of a committed offset."""
    consumer = Consumer({**settings.client_config(), "group.id": "bench", "enable.auto.commit": False})
    places = consumer.list_topics(OFFSETS).topics[OFFSETS].partitions
    consumer.assign([TopicPartition(OFFSETS, place, OFFSET_BEGINNING) for place in places])
    own, commits = 0, []
    try:
        while messages := consumer.consume(5000, 3.0):
            for message in messages:
                key, value = message.key() or b"", message.value() or b""
                if message.error() is None and key[4:].startswith(group.encode()) and value:
                    if int.from_bytes(key[:2], "big") == GROUP_KEY:
                        own = len(value)
                    else:
                        commits.append(len(key) + len(value))
    finally:
        consumer.close()
    return {"group_record_bytes": own, "commit_record_bytes": sum(commits) / len(commits) if commits else None}


def measure_worker(options: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """One real worker of the signal task, on few partitions and on many."""
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-scale-") as directory:
        return [_worker_on(settings, partitions, Path(directory), say) for partitions in WORKER_PARTITIONS]


def _worker_on(settings: Settings, partitions: int, directory: Path, say: Say) -> dict[str, Any]:
    name = f"scale-{partitions}"
    own = settings.replace(app_id=name, topic_prefix=f"{name}-", partitions=partitions, tasks="signal")
    create_topics(own)
    file = directory / f"{name}.json"
    command = (sys.executable, str(Path(__file__).with_name("scale_worker.py")), str(file))
    with LiveWorker(own, directory, command) as worker:
        worker.start()
        worker.stop()  # the first start has filled the system's file cache
        ready_s = worker.start()
        _meet_streams(own, worker)
        loads = [_load_on(own, worker, file, rate, say) for rate in LOADS]
        started = time.monotonic()
        worker.stop()
        return {
            "partitions": partitions,
            "ready_s": ready_s,
            "stop_s": time.monotonic() - started,
            "streams": STREAMS,
            "loads": loads,
        }


def _meet_streams(settings: Settings, worker: LiveWorker) -> None:
    """A sample of each stream: those that a worker does not know cost it a request of their own."""
    watch = Watch(settings, "signal")
    send(load_of(settings, "signal", streams=STREAMS, rate=0, samples=STREAMS, sequence="first"))
    watch.wait(STREAMS, worker.require_running)
    time.sleep(1.0)


def _load_on(settings: Settings, worker: LiveWorker, file: Path, rate: int, say: Say) -> dict[str, Any]:
    with ExitStack() as stack:
        if rate:
            samples = round(rate * (LOAD_S + AROUND_S))
            what = {"streams": STREAMS, "rate": rate, "samples": samples, "sequence": f"rate-{rate}"}
            sending = Sending(load_of(settings, "signal", **what))
            stack.callback(sending.finish)
            sending.wait_until_started()
            time.sleep(1.0)
        found = _watched(settings, worker, file)
    say(f"{settings.partitions} partitions, {rate}/s: {sum(found['requests_per_s'].values()):.0f} requests/s")
    return {"rate": rate, **found}


def _watched(settings: Settings, worker: LiveWorker, file: Path) -> dict[str, Any]:
    """Requests, bytes and cores for a while."""
    meter, began = Meter(worker=worker.pid, broker=broker_pid()), time.monotonic()
    before, bytes_before = json.loads(file.read_text()), log_bytes(settings)
    time.sleep(LOAD_S)
    after, bytes_after, took = json.loads(file.read_text()), log_bytes(settings), time.monotonic() - began
    sent = {name: (count - before.get(name, 0)) / took for name, count in sorted(after.items())}
    cores = meter.cores()
    return {
        "requests_per_s": {name: count for name, count in sent.items() if count > 0},
        "bytes_per_s": {name: (bytes_after[name] - bytes_before[name]) / took for name in bytes_after},
        "worker_cores": cores["worker"],
        "broker_cores": cores["broker"],
    }


def log_bytes(settings: Settings) -> dict[str, int]:
    """Bytes in the logs of the broker of this machine, by what a topic is to the signal task."""
    route = routes(settings)["signal"]
    names = {"source": route.source, "output": route.output, "changelog": route.changelog}
    data = settings.data_dir / "broker" / "data"
    return {
        what: sum(file.stat().st_size for number in range(settings.partitions) for file in _logs(data, name, number))
        for what, name in names.items()
    }


def _logs(data: Path, topic: str, partition: int) -> Iterator[Path]:
    return (data / f"{topic}-{partition}").glob("*.log")


def measure_rolling(options: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Real workers restarted one after the other, beside one that is alone: how long it takes, what streams see."""
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-scale-") as directory:
        alone, group = (_rolled(settings, Path(directory), number, say) for number in (1, ROLLING_WORKERS))
    lost = sum(one[what] for one in (alone, group) for what in ("lost", "repeated"))
    return {
        "workers": ROLLING_WORKERS,
        "partitions": ROLLING_PARTITIONS,
        "alone": alone,
        "group": group,
        "failures": [f"rolling: {lost} outputs lost or repeated"] * bool(lost),
    }


def _rolled(settings: Settings, directory: Path, workers: int, say: Say) -> dict[str, Any]:
    restarts: list[dict[str, float]] = []
    name = f"roll-{workers}"
    own = settings.replace(app_id=name, topic_prefix=f"{name}-", partitions=ROLLING_PARTITIONS, tasks="signal")
    create_topics(own)
    with group_of(own, directory / name, workers) as group:
        bench = Failover(own, group, Events(1), name, say)
        event = bench.event("rolling", lambda: restarts.extend(map(_restart, group)))
    return {
        "restarts": restarts,
        "longest_silence_s": max(event["silence_s"].values()),
        "lost": event["lost"],
        "repeated": event["repeated"],
    }


def _restart(worker: LiveWorker) -> dict[str, float]:
    started = time.monotonic()
    worker.stop()
    stopped = time.monotonic()
    worker.start()
    return {"stop_s": stopped - started, "ready_s": time.monotonic() - stopped}


PARTS: dict[str, Callable[[argparse.Namespace, Say], Any]] = {
    "assignor": measure_assignor,
    "members": measure_members,
    "worker": measure_worker,
    "rolling": measure_rolling,
}


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON, by part."""
    found = {name: PARTS[name](options, say) for name in options.only or PARTS}
    return {**found, "failures": (at(found, "rolling", "failures") or [])}


def table(report: Report) -> str:
    """A row for each group of light members."""
    rows: list[Row] = [
        (
            one["members"],
            one["formed"]["total_s"],
            min(change["longest_pause_s"] for change in one["leaves"]),
            min(change["longest_pause_s"] for change in one["joins"]),
            sum(one["requests_per_s"].values()),
            one["broker_cores"],
            one["group_record_bytes"],
        )
        for one in report.get("members", ())
    ]
    header = ("members", "formed, s", "pause at a leave, s", "at a join, s", "requests/s", "broker, cores", "bytes")
    return "\n".join([markdown(header, rows, text=()), *(f"{name}: measured" for name in PARTS if name in report)])


def store(report: Report, path: Path = STORED) -> None:
    """Store the parts that were measured; the others stay as they are, and so do groups of other sizes."""
    there = json.loads(path.read_text()) if path.exists() else {}
    if "members" in report:
        groups = {one["members"]: one for one in (*there.get("members", ()), *report["members"])}
        report = report | {"members": [groups[members] for members in sorted(groups)]}
    write_whole(path, json.dumps(there | report, indent=1) + "\n")


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="*", choices=PARTS, help="some of the parts")
    options.add_argument("--members", type=int, nargs="*", help="sizes of the groups of light members")
    options.add_argument("--partitions", type=int, default=PARTITIONS, help=f"default {PARTITIONS:,}")
    options.add_argument("--assignor", choices=("ours", "faust"), default="ours", help="for comparison")
    options.add_argument("--store", action="store_true", help=f"put the report into {STORED.name}")
    made = options.parse_args()
    return run_script(made, measure, table, store if made.store else lambda _: None)


if __name__ == "__main__":
    sys.exit(main())
