"""What an administrator, or retention, does to topics and groups: the workers must notice, and the remedy must work."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from core.errors import StartupError
from stream_app.clients.admin import Cluster
from stream_app.routes import DEAD_LETTERS, SIGNAL_PREDICTIONS, routes
from stream_app.topics.administration import create_topics, reset_state
from stream_app.verify import verify
from tests.admin import add_partitions, committed, delete_records
from tests.faults.gaps import gap_problems
from tests.faults.schedule import Fault
from tests.faults.streams import SIGNAL

if TYPE_CHECKING:
    from tests.faults.play import Play

RESET = "caststream topics reset-state"
# aiokafka asks for a topic's partitions every 30 s: until then nobody can notice more of them.
REFUSAL_S = 60.0
FEWEST_LOST = 20


def partitions_added(play: Play, fault: Fault) -> None:
    """Every worker stops and says why. Outputs and dead letters get as many partitions; states are made again."""
    source = play.settings.topic(SIGNAL)
    play.load.pause()
    total = Cluster(play.settings).partitions([source])[source] + 1
    add_partitions(play.settings, source, total)
    again = _refusals(play, "partitions")
    for name in (SIGNAL_PREDICTIONS, DEAD_LETTERS):
        add_partitions(play.settings, play.settings.topic(name), total)
    _reset(play)
    again()


def source_made_anew(play: Play, fault: Fault) -> None:
    """Every worker stops and says so, however many records come. Outputs of records that are gone go with them."""
    settings = play.settings
    play.load.pause()
    play.wait(play.at_the_end, REFUSAL_S, "everything committed")
    play.problems += verify(settings).problems  # of what is gone with the topic
    cluster, source = Cluster(settings), settings.topic(SIGNAL)
    cluster.delete([source])
    create_topics(settings)
    play.load.renew()
    play.load.burst(fault.with_["burst"])
    again = _refusals(play, source, RESET)
    cluster.delete([settings.topic(DEAD_LETTERS), *(route.output for route in routes(settings).values())])
    create_topics(settings)
    _reset(play)
    again()


def offsets_deleted(play: Play, fault: Fault) -> None:
    """Workers that come back refuse: what their states include is unknown."""
    play.wait(lambda: any(offset for offset, _ in committed(play.settings).values()), REFUSAL_S, "a first commit")
    slots = play.crew.dismiss()
    _patiently(play, lambda: Cluster(play.settings).delete_group(play.settings.app_id))
    play.crew.recall(slots)
    again = _refusals(play, "no committed offset", RESET)
    _reset(play)
    again()


def records_deleted(play: Play, fault: Fault) -> None:
    """While no worker runs, retention takes what comes: exactly that is counted, and told by partition.

    The workers end in order: behind a crash states and outputs may be ahead of committed offsets, and the gaps less.
    """
    slots = play.crew.dismiss()
    time.sleep(fault.seconds)
    play.load.pause()
    read, source, lost = committed(play.settings), play.settings.topic(SIGNAL), {}
    for (topic, partition), end in play.ends().items():
        begin = read.get((topic, partition), (0, ""))[0]
        if topic == source and end - begin > FEWEST_LOST:
            lost[partition] = (begin, begin + (end - begin) // 2)
            delete_records(play.settings, source, partition, lost[partition][1])
    play.crew.recall(slots)
    play.wait(play.crew.all_ready, REFUSAL_S, "the workers' readiness")
    _check_lost(play, source, lost)
    play.at_end += [partial(gap_problems, play.settings, partition, *span) for partition, span in lost.items()]
    play.load.resume()


def _check_lost(play: Play, source: str, lost: dict[int, tuple[int, int]]) -> None:
    if not lost:
        play.problems.append("no records could be deleted before they were read: nothing was tried")
    workers = [slot.worker for slot in play.crew.slots if slot.wanted]
    counted = sum(worker.metric("caststream_records_lost_total") for worker in workers)
    expected = sum(end - begin for begin, end in lost.values())
    if counted != expected:
        play.problems.append(f"{expected} records were deleted before they were read, {counted:g} were counted")
    logs = "".join(worker.log for worker in workers)
    for partition, (begin, end) in lost.items():
        if f"{source}[{partition}]: records {begin} to {end - 1} were deleted" not in logs:
            play.problems.append(f"nobody has told that records {begin} to {end - 1} of {source}[{partition}] are lost")


def _refusals(play: Play, *words: str) -> Callable[[], None]:
    """Wait until all workers have refused, for these reasons; returns what makes them go on."""
    crew = play.crew
    slots = [slot.index for slot in crew.slots if slot.wanted]
    play.wait(lambda: not any(slot.wanted for slot in crew.slots), REFUSAL_S, "the workers' refusal")
    for line in crew.refused:
        play.problems += [f"a refusal without {word!r}: {line}" for word in words if word not in line]
    crew.refused.clear()

    def again() -> None:
        crew.recall(slots)
        play.load.resume()

    return again


def _reset(play: Play) -> None:
    _patiently(play, lambda: reset_state(play.settings))


def _patiently(play: Play, what: Callable[[], object]) -> None:
    """Again until no member is left: one that was killed counts for as long as its session."""
    deadline = time.monotonic() + REFUSAL_S
    while True:
        try:
            what()
            return
        except StartupError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
