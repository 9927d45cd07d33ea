"""The peers of the pipeline benchmark: how each is started, which topics it writes, where its states are.

Each runs in processes of its own, on the broker and the source topic that all share. A peer that is no caststream has
its program in a file beside this one, written as its own documentation recommends.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions, version
from pathlib import Path

from checkouts import Checkout
from workload import TOLERANCE, WARM_UP

from core.errors import StartupError
from peers import java
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_PREDICTIONS, SIGNAL_SAMPLES, SIGNAL_STATES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from stream_app.topics.plans import CHANGELOG_CONFIG, STREAM_CONFIG

HERE = Path(__file__).resolve().parent
PACKAGES_DIR = Path(sys.prefix) / "peers"
"""Packages of peers that do not go with ours; before ours on the path of such a peer. `make bench` installs them."""

BYTEWAX_SNAPSHOT_S = "1"  # of its command line, which asks for whole seconds; the nearest to our 0.5 s
TWO_WARM_UP = 0.3
JVM_WARM_UP = 0.3  # a JVM compiles its code while it runs
GUARANTEES = {"at_least_once": "at_least_once", "exactly_once": "exactly_once_v2"}
"""Kafka Streams' words for the values of our setting `processing_guarantee`."""
ONNX_TOLERANCE = 1e-4
"""ONNX Runtime rounds otherwise than torch in every step, and the model remembers for long."""

CountStates = Callable[[Cluster, Path], int]


@dataclass(frozen=True)
class Peer:
    """One peer in one run, its topics empty.

    Args:
        output: full name of the topic that takes its predictions.
        states: counts the states that it has written, given the directory in which it runs.
        commands: one for each of its processes.
        environment: of all its processes, beside what they inherit.
        changelog: full name of the topic that takes its states, if any; the peer may create it itself.
        prepare: commands that run before, one after the other, in the same directory.
        warm_up: share of its outputs, the first ones, that its rate does not count.
        tolerance: how far an output may be from the offline run.
    """

    name: str
    version: str
    output: str
    states: CountStates
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    changelog: str | None = None
    prepare: Sequence[Sequence[str]] = field(default_factory=list)
    warm_up: float = WARM_UP
    tolerance: float = TOLERANCE

    @property
    def topics(self) -> list[str]:
        """The topics that are its own."""
        return [self.output, *([self.changelog] if self.changelog else [])]


def caststream_1(settings: Settings, run: str) -> Peer:
    """caststream's worker in one process, with default settings; creates its topics."""
    return _caststream("caststream_1", settings, run, processes=1)


def caststream_2(settings: Settings, run: str) -> Peer:
    """caststream's worker in two processes of one group; creates its topics.

    The first one begins alone, and gives half of its partitions away when the second has joined.
    """
    return replace(_caststream("caststream_2", settings, run, processes=2), warm_up=TWO_WARM_UP)


def caststream_1_exactly_once(settings: Settings, run: str) -> Peer:
    """caststream's worker in one process, outputs, states and offsets in transactions; creates its topics."""
    own = settings.replace(processing_guarantee="exactly_once")
    return _caststream("caststream_1_exactly_once", own, run, processes=1)


def caststream_command(settings: Settings, run: str, code: Checkout | None = None) -> Peer:
    """`caststream worker`: one worker and the process that supervises it; creates its topics.

    Args:
        code: of another checkout.
    """
    made = _caststream("caststream_1", settings, run, processes=1)
    if code is not None:
        made = replace(made, version=str(code.version), environment=code.environment(made.environment))
    return replace(made, commands=[[sys.executable, "-m", "stream_app.cli.main", "worker"]])


def _caststream(name: str, settings: Settings, run: str, processes: int) -> Peer:
    own = settings.replace(app_id=f"{settings.app_id}-{name}-{run}", metrics_port=0)
    create_topics(own)
    return Peer(
        name=name,
        version=f"caststream {version('caststream')}",
        output=own.topic(SIGNAL_PREDICTIONS),
        states=_in_topic(own.changelog(SIGNAL_STATES), settings),
        commands=[[sys.executable, "-m", "stream_app.worker.process", "--index", str(i)] for i in range(processes)],
        environment=own.environment(),
        changelog=own.changelog(SIGNAL_STATES),
    )


def faust(settings: Settings, run: str) -> Peer:
    """A Faust agent that takes one message after the other; creates its output topic."""
    environment = _names("faust", settings, run)
    changelog = f"{environment['BENCH_APP_ID']}-states-changelog"
    return Peer(
        name="faust",
        version=f"faust-streaming {version('faust-streaming')}",
        output=environment["BENCH_OUTPUT"],
        states=_in_topic(changelog, settings),
        commands=[[sys.executable, str(HERE / "faust_plain.py"), "worker", "--loglevel", "info", "--without-web"]],
        environment=environment,
        changelog=changelog,
    )


def quix(settings: Settings, run: str) -> Peer:
    """Quix Streams, one message after the other; creates its output topic.

    Raises:
        StartupError: it is not installed.
    """
    environment = _names("quix", settings, run) | _own_packages()
    changelog = f"changelog__{environment['BENCH_APP_ID']}--{environment['BENCH_SOURCE']}--default"
    return Peer(
        name="quix",
        version=f"quixstreams {installed()['quixstreams']}",
        output=environment["BENCH_OUTPUT"],
        states=_in_topic(changelog, settings),
        commands=[[sys.executable, str(HERE / "quix_plain.py")]],
        environment=environment,
        changelog=changelog,
    )


def bytewax(settings: Settings, run: str) -> Peer:
    """Bytewax, one message after the other, its states in a recovery store; creates its output topic.

    Raises:
        StartupError: it is not installed.
    """
    environment = _names("bytewax", settings, run) | _own_packages()
    start = ["-m", "bytewax.run", "bytewax_plain", "-r", ".", "-s", BYTEWAX_SNAPSHOT_S, "-b", "0"]
    return Peer(
        name="bytewax",
        version=f"bytewax {installed()['bytewax']}",
        output=environment["BENCH_OUTPUT"],
        states=_in_recovery_store,
        commands=[[sys.executable, *start]],
        environment=environment,
        prepare=[[sys.executable, "-m", "bytewax.recovery", ".", "1"]],
    )


def loop(settings: Settings, run: str) -> Peer:
    """A loop written by hand around confluent-kafka, with the model in batches; creates its topics."""
    environment = _names("loop", settings, run)
    changelog = f"{environment['BENCH_APP_ID']}-changelog"
    _create(settings, changelog, CHANGELOG_CONFIG)
    return Peer(
        name="loop",
        version=f"confluent-kafka {version('confluent-kafka')}",
        output=environment["BENCH_OUTPUT"],
        states=_in_topic(changelog, settings),
        commands=[[sys.executable, str(HERE / "confluent_loop.py")]],
        environment=environment | {"BENCH_CHANGELOG": changelog},
        changelog=changelog,
    )


def kafka_streams_1(settings: Settings, run: str) -> Peer:
    """Kafka Streams with ONNX Runtime in Java, one record after the other; creates its output topic.

    Raises:
        StartupError: there is no JDK, or its jars cannot be fetched.
    """
    return _kafka_streams("kafka_streams_1", "each", settings, run)


def kafka_streams_gathered(settings: Settings, run: str) -> Peer:
    """The same with records of many streams gathered for one call of the model."""
    return _kafka_streams("kafka_streams_gathered", "gathered", settings, run)


def _kafka_streams(name: str, form: str, settings: Settings, run: str) -> Peer:
    program, environment = java.built(), _names(name, settings, run)
    changelog = f"{environment['BENCH_APP_ID']}-states-changelog"
    its_own = {
        "MODEL": str(program.model),
        "MODEL_NAME": program.model_name,
        "GUARANTEE": GUARANTEES[settings.processing_guarantee],
    }
    return Peer(
        name=name,
        version=java.version(),
        output=environment["BENCH_OUTPUT"],
        states=_in_topic(changelog, settings),
        commands=[[*program.command, form]],
        environment=environment | {f"BENCH_{key}": value for key, value in its_own.items()},
        changelog=changelog,
        warm_up=JVM_WARM_UP,
        tolerance=ONNX_TOLERANCE,
    )


def installed() -> dict[str, str]:
    """Versions by name of the packages that are for peers alone."""
    return {each.metadata["Name"]: each.version for each in distributions(path=[str(PACKAGES_DIR)])}


def _own_packages() -> dict[str, str]:
    """Their packages come first, then ours: torch and the model are the same for all."""
    if not {"quixstreams", "bytewax"} <= installed().keys():
        raise StartupError(
            f"{PACKAGES_DIR}: Quix Streams and Bytewax are not installed; `make bench` does it, or: "
            f"{sys.executable} -m pip install --target {PACKAGES_DIR} -r {HERE / 'requirements.txt'}"
        )
    return {"PYTHONPATH": os.pathsep.join((str(PACKAGES_DIR), str(HERE)))}


def _names(name: str, settings: Settings, run: str) -> dict[str, str]:
    """Return the environment of a peer's program; create the output topic."""
    output = settings.topic(f"{name}-predictions")
    _create(settings, output, STREAM_CONFIG)
    return {
        "BENCH_BROKER": settings.broker,
        "BENCH_APP_ID": f"{settings.app_id}-{name}-{run}",
        "BENCH_SOURCE": settings.topic(SIGNAL_SAMPLES),
        "BENCH_OUTPUT": output,
        "BENCH_PARTITIONS": str(settings.partitions),
    }


def _create(settings: Settings, topic: str, config: Mapping[str, str]) -> None:
    Cluster(settings).create({topic: settings.partitions}, settings.replication_factor, {topic: config})


def _in_topic(changelog: str, settings: Settings) -> CountStates:
    def count(cluster: Cluster, _: Path) -> int:
        if changelog not in cluster.partitions([changelog]):  # the peer makes it, when it gets so far
            return 0
        return cluster.offsets({changelog: settings.partitions})[changelog]

    return count


def _in_recovery_store(_: Cluster, directory: Path) -> int:
    """States that the last snapshots hold: Bytewax deletes older ones, as its backup interval is 0."""
    with closing(sqlite3.connect(directory / "part-0.sqlite3", timeout=30)) as store:
        count: int = store.execute("SELECT COUNT(*) FROM snaps WHERE step_id LIKE '%stateful%'").fetchone()[0]
    return count


def without_jdk(names: Iterable[str]) -> list[str]:
    """Those of the peers that cannot be compiled, because this machine has no JDK."""
    of_java = [name for name in names if name.startswith("kafka_streams")]
    return of_java if of_java and java.find_javac() is None else []


MakePeer = Callable[[Settings, str], Peer]

PEERS: Mapping[str, MakePeer] = {
    "caststream_1": caststream_1,
    "caststream_2": caststream_2,
    "caststream_1_exactly_once": caststream_1_exactly_once,
    "faust": faust,
    "quix": quix,
    "bytewax": bytewax,
    "loop": loop,
    "kafka_streams_1": kafka_streams_1,
    "kafka_streams_gathered": kafka_streams_gathered,
}
"""Peers by their key in the results. The functions take the settings of the benchmark and a name for the run."""
