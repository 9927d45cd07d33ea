"""The peers of the pipeline benchmark: how each is started, and which topics it writes.

Each runs in processes of its own, on the broker and the source topic that all share. A peer that is no caststream has
its program in a file beside this one, written as its own documentation recommends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from stream_app.admin import Cluster
from stream_app.settings import Settings
from stream_app.topics import SIGNAL_PREDICTIONS, SIGNAL_SAMPLES, SIGNAL_STATES, STREAM_CONFIG, create_topics

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer:
    """One peer in one run, its topics empty.

    Args:
        output: full name of the topic that takes its predictions.
        changelog: full name of the topic that takes its states; the peer may create it itself.
        commands: one for each of its processes.
        environment: of all its processes, beside what they inherit.
    """

    name: str
    version: str
    output: str
    changelog: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]


def caststream(settings: Settings, run: str) -> Peer:
    """caststream's worker in one process, with default settings; creates its topics."""
    own = settings.replace(app_id=f"{settings.app_id}-caststream-{run}", metrics_port=0)
    create_topics(own)
    return Peer(
        name="caststream_1",
        version=f"caststream {version('caststream')}",
        output=own.topic(SIGNAL_PREDICTIONS),
        changelog=own.changelog(SIGNAL_STATES),
        commands=[[sys.executable, "-m", "stream_app.process"]],
        environment=own.environment(),
    )


def faust_plain(settings: Settings, run: str) -> Peer:
    """A Faust agent that takes one message after the other; creates its output topic."""
    app_id, output = f"{settings.app_id}-faust-{run}", settings.topic("faust-predictions")
    Cluster(settings).create({output: settings.partitions}, settings.replication_factor, {output: STREAM_CONFIG})
    return Peer(
        name="faust",
        version=f"faust-streaming {version('faust-streaming')}",
        output=output,
        changelog=f"{app_id}-states-changelog",
        commands=[[sys.executable, str(HERE / "faust_plain.py"), "worker", "--loglevel", "info", "--without-web"]],
        environment={
            "BENCH_BROKER": settings.broker,
            "BENCH_APP_ID": app_id,
            "BENCH_SOURCE": settings.topic(SIGNAL_SAMPLES),
            "BENCH_OUTPUT": output,
            "BENCH_PARTITIONS": str(settings.partitions),
        },
    )


MakePeer = Callable[[Settings, str], Peer]

PEERS: Mapping[str, MakePeer] = {"caststream_1": caststream, "faust": faust_plain}
"""By the key in the results. The functions take the settings of the benchmark and a name for the run."""
