"""Cases of topics: whose they are, how they are set up, how large a record they take, how many partitions they have."""

from __future__ import annotations

from stream_app.clients.admin import Cluster
from stream_app.exits import EXIT_REFUSED
from stream_app.settings import Settings, load_settings
from stream_app.topics.administration import create_topics
from tests.admin import add_partitions, alter_topic, commit, committed
from tests.broker import Received, ToSend, consume_all, consume_until, produce, wait_until
from tests.cases.case import case, expect
from tests.cases.room import ROOT, Ran, Room


def run(room: Room, settings: Settings, *arguments: str) -> Ran:
    """A command with settings in its environment."""
    names = ("broker", "app_id", "topic_prefix", "partitions", "idle_timeout")
    return room.caststream(*arguments, **{name: getattr(settings, name) for name in names}, metrics_port=0)


@case(
    "ops-01",
    tried="topics, then a worker, of two deployments that differ in topic_prefix only and share app_id",
    before="both were ready and shared one changelog; after a crash streams went on from the other's states",
    slow=True,
)
def one_app_id_for_two(room: Room) -> str:
    one = room.settings()
    two = one.replace(topic_prefix=f"test-{one.topic_prefix}")
    created, worker = run(room, two, "topics", "create"), run(room, two, "worker")
    reset = run(room, two, "topics", "reset-state", "--yes")
    for done in (created, reset):
        expect(done.status == 2 and "belongs to the deployment of" in done.said, done.said)
        expect(one.topic("signal-samples") in done.said and two.topic("signal-samples") in done.said, done.said)
    expect(worker.status == 2, worker.said)
    expect(run(room, one, "topics", "describe").status == 0, "the first deployment's topics are not as they were")
    return created.said


@case(
    "ops-04",
    tried="a worker on a source with cleanup.policy=compact",
    before="it processed what compaction had left, 105 of 1,200 samples, and everything was green",
    slow=True,
)
def compacted_source(room: Room) -> str:
    settings = room.settings()
    alter_topic(settings, settings.topic("signal-samples"), cleanup_policy="compact")
    worker, described = run(room, settings, "worker"), run(room, settings, "topics", "describe")
    expect(worker.status == 2 and "set it to delete" in worker.err, worker.said)
    expect("set it to delete" in described.err, described.said)
    return next(line for line in worker.err.splitlines() if "set it to delete" in line)


@case(
    "ops-33",
    tried="a source that the broker has made by itself, with producers' timestamps",
    before="no word from create, describe or worker: latency and idle rule silently went by the senders' clocks",
    slow=True,
)
def create_time(room: Room) -> str:
    settings = room.settings()
    alter_topic(settings, settings.topic("signal-samples"), message_timestamp_type="CreateTime")
    created = run(room, settings, "topics", "create")
    expect("is CreateTime" in created.err, created.said)
    with room.worker(settings) as worker:
        worker.start()
        expect("is CreateTime" in worker.log, "the worker says nothing of it")
    return created.said


@case(
    "ops-05",
    tried="topics made by hand with Kafka's limits, and a bad record of 1,048,401 bytes with headers",
    before="the dead letter did not fit; the worker died of it at each start, for ever",
    slow=True,
)
def letter_too_large(room: Room) -> str:
    settings = room.settings(partitions=1)
    letters, source = settings.topic("dead-letters"), settings.topic("signal-samples")
    good = b'{"signal": 0.5, "condition_vector": [0, 1, 0, 0]}'
    large = ToSend("s", b"?" * 1_048_401, [("a", b"b" * 20)])
    found: list[Received] = []
    for limit in ("1048588", "2000"):
        alter_topic(settings, letters, max_message_bytes=limit)
        with room.worker(settings) as worker:
            worker.start()
            produce(settings, source, [large, ToSend("s", good)], {"message.max.bytes": 2_000_000})
            seen = len(found) + 1
            found = consume_until(settings, letters, seen)
            expect(worker.running, worker.log[-300:])
        expect(len(found) == seen and found[-1].header("error.value_bytes") == b"1048401", f"letters: {len(found)}")
    return f"two dead letters, of {len(found[0].value or b'')} and {len(found[1].value or b'')} bytes of the value"


def send(settings: Settings, streams: int, steps: range, client: str = "sender") -> None:
    """One sample of each stream and step, placed by the key. A new client asks how many partitions there are."""
    value = '{"sequence": "a", "step": %d, "signal": %.1f, "condition_vector": [0, 1, 0, 0]}'
    records = [
        ToSend(f"s{stream}", (value % (step, 0.1 * ((7 * step + stream) % 11))).encode())
        for step in steps
        for stream in range(streams)
    ]
    produce(settings, settings.topic("signal-samples"), records, {"partitioner": "murmur2_random", "client.id": client})


def outputs(settings: Settings, count: int) -> list[Received]:
    """The predictions, when there are so many."""
    return consume_until(settings, settings.topic("signal-predictions"), count)


@case(
    "ops-11",
    tried="streams were evicted and the group was deleted while everything stood still",
    before="no line; every output was published a second time",
    slow=True,
)
def offsets_gone(room: Room) -> str:
    settings = room.settings(idle_timeout=0.5)
    with room.worker(settings) as worker:
        worker.start()
        send(settings, 5, range(4))
        outputs(settings, 20)
        wait_until(lambda: evicted(settings) == 5, 60, "eviction")
        worker.sigterm()
    Cluster(settings).delete_group(settings.app_id)
    with room.worker(settings) as worker:
        worker.start()
        send(settings, 5, range(4, 5))
        outputs(settings, 25)
        worker.sigterm()
        expect("committed offset is gone" in worker.log, "no line says that the offsets were gone")
    verified = run(room, settings, "verify")
    expect(verified.status == 0, verified.said)
    return "a line for each partition; what stands in the log was left out: " + verified.said


def evicted(settings: Settings) -> int:
    """Streams whose state was deleted."""
    found = consume_all(settings, settings.changelog("signal-states"))
    return len({record.key for record in found if record.value is None and (record.key or b"").startswith(b"s")})


@case(
    "ops-34",
    tried="an operator sets the group's offsets back to read a day again",
    before="all records were counted as duplicates, without output or line",
    slow=True,
)
def group_moved_back(room: Room) -> str:
    settings = room.settings()
    with room.worker(settings) as worker:
        worker.start()
        send(settings, 5, range(4))
        outputs(settings, 20)
        worker.sigterm()
    commit(settings, {at: (0, "") for at, (offset, _) in committed(settings).items() if offset > 0})
    with room.worker(settings) as worker:
        worker.start()
        worker.sigterm()
        line = next((line for line in worker.log.splitlines() if "was moved back" in line), "")
        expect("reset-state" in line, "no line says that the group was moved back")
    return line


@case(
    "ops-12",
    tried="partitions added to a source while samples come",
    before="for up to 30 s moved streams were predicted from zeros in their new partition",
    slow=True,
)
def partitions_added(room: Room) -> str:
    settings = room.settings(partitions=4)
    with room.worker(settings) as worker:
        worker.start()
        send(settings, 20, range(5))
        outputs(settings, 100)
        add_partitions(settings, settings.topic("signal-samples"), 6)
        send(settings, 20, range(5, 8), settings.app_id)
        status = worker.wait()
        line = worker.errors[-1]
    places: dict[bytes | None, set[int]] = {}
    for record in consume_all(settings, settings.topic("signal-predictions")):
        places.setdefault(record.key, set()).add(record.partition)
    moved = [key for key, found in places.items() if len(found) > 1]
    expect(not moved, f"{len(moved)} streams were predicted from zeros")
    expect(status == EXIT_REFUSED and "topics grow --partitions 6" in line, f"status {status}: {line}")
    return line


@case(
    "ops-40",
    tried="more partitions for a system in production",
    before="it could not be done: a new prefix and app_id, and all streams began anew",
    slow=True,
)
def more_partitions(room: Room) -> str:
    settings = room.settings(partitions=2)
    with room.worker(settings) as worker:
        worker.start()
        send(settings, 12, range(5))
        outputs(settings, 60)
        worker.sigterm()
    larger = settings.replace(partitions=5)
    grown = run(room, larger, "topics", "grow")
    expect(grown.status == 0, grown.said)
    with room.worker(larger) as worker:
        worker.start()
        send(larger, 12, range(5, 9), larger.app_id)
        found = outputs(larger, 108)
        worker.sigterm()
    gaps = [record.json for record in found if record.json.get("gap") or len(found) != 108]
    expect(not gaps, f"{len(found)} outputs, {len(gaps)} with a gap")
    difference = _difference(found)
    expect(difference <= 1e-5, f"a stream in its new partition is off by {difference:g}")
    verified = run(room, larger, "verify")
    expect(verified.status == 0, verified.said)
    return f"{grown.said}; outputs as offline within {difference:.0e}; {verified.said}"


def _difference(found: list[Received]) -> float:
    from tests.offline import predictions

    worst = 0.0
    for stream in {record.key for record in found}:
        number = int((stream or b"")[1:])
        samples = [
            {"signal": round(0.1 * ((7 * step + number) % 11), 1), "condition_vector": [0, 1, 0, 0]}
            for step in range(9)
        ]
        came = sorted((record.json["step"], record.json["prediction"]) for record in found if record.key == stream)
        worst = max(worst, *(abs(a - b) for (_, a), b in zip(came, predictions(samples), strict=True)))
    return worst


@case(
    "ops-14",
    tried="a worker whose user has no permission at all on one topic, so that the broker does not show it",
    before='"topics are missing: casting-scores; create them", which then failed with "Authorization failed."',
    slow=True,
)
def permission_that_hides_a_topic(room: Room) -> str:
    from tests.secure_broker import acls_in, secure_broker

    with secure_broker(room.folder()) as secured:
        settings = load_settings(**secured.settings("PLAINTEXT"))
        create_topics(settings)
        granted = acls_in((ROOT / "SECURITY.md").read_text(), settings)
        secured.allow([acl for acl in granted if acl.name != "casting-scores"])
        done = room.caststream("worker", **secured.settings("SASL_PLAINTEXT", "worker"), metrics_port=0)
    expect(done.status == 2 and "worker" in done.said, done.said)
    expect("casting-scores" in done.err and "Describe" in done.err, done.err[-400:])
    return next(line for line in done.err.splitlines() if "casting-scores" in line)[-200:]
