"""What is done for each kind of fault, and undone when it is over."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from stream_app.routes import routes
from tests.admin import alter_topic
from tests.faults import administration
from tests.faults.orders import KILL, STOP
from tests.faults.proxy import Proxy
from tests.faults.schedule import Fault
from tests.faults.stage import LOAD, WORKERS

if TYPE_CHECKING:
    from tests.faults.play import Play

HALT_S = 60.0
COMPACTION = {
    "segment_ms": "200",
    "min_compaction_lag_ms": "0",
    "max_compaction_lag_ms": "1000",
    "min_cleanable_dirty_ratio": "0.01",
}


def _kill(play: Play, fault: Fault) -> None:
    play.crew.kill(_worker(fault), fault.seconds)


def _die_at_point(play: Play, fault: Fault) -> None:
    play.crew.order(_worker(fault), fault.seconds, action=KILL, **fault.with_)


def _stop_at_point(play: Play, fault: Fault) -> None:
    play.crew.order(_worker(fault), fault.seconds, action=STOP, **fault.with_)


def _terminate(play: Play, fault: Fault) -> None:
    play.crew.terminate(_worker(fault), fault.seconds)


def _leave(play: Play, fault: Fault) -> None:
    play.crew.terminate(_worker(fault), None)


def _join(play: Play, fault: Fault) -> None:
    play.crew.want(_worker(fault))


def _pause(play: Play, fault: Fault) -> None:
    worker = play.crew.slots[_worker(fault)].worker
    worker.signal(signal.SIGSTOP)
    play.later(fault.seconds, lambda: worker.signal(signal.SIGCONT))


def _clock(play: Play, fault: Fault) -> None:
    play.crew.order(_worker(fault), clock_s=fault.with_["hours"] * 3600)


def _lull(play: Play, fault: Fault) -> None:
    play.load.pause()
    play.later(fault.seconds, play.load.resume)


# The broker.


def _broker_killed(play: Play, fault: Fault) -> None:
    play.stage.broker.kill()
    play.later(fault.seconds, play.stage.broker.start)


def _broker_restarted(play: Play, fault: Fault) -> None:
    play.stage.broker.stop()
    play.later(fault.seconds, play.stage.broker.start)


def _broker_paused(play: Play, fault: Fault) -> None:
    play.stage.pause_broker()
    play.later(fault.seconds, play.stage.resume_broker)


def _disk_full(play: Play, fault: Fault) -> None:
    def halted() -> bool:
        play.stage.fill_disk()  # again and again: a file that Kafka writes anew gives the space of the old one back
        return not play.stage.broker.running

    play.wait(halted, HALT_S, "Kafka's halt on a full disk")

    def make_space() -> None:
        play.stage.free_disk()
        play.stage.broker.start()

    play.later(fault.seconds, make_space)


def _compaction(play: Play, fault: Fault) -> None:
    for route in routes(play.settings).values():
        alter_topic(play.settings, route.changelog, **COMPACTION)


# The network.


def _unreachable(play: Play, fault: Fault) -> None:
    for proxy in _proxies(play, fault):
        proxy.hold()
        play.later(fault.seconds, proxy.heal)


def _half_open(play: Play, fault: Fault) -> None:
    for proxy in _proxies(play, fault):
        proxy.hold(fault.with_["direction"])
        play.later(fault.seconds, proxy.heal)


def _slow(play: Play, fault: Fault) -> None:
    for proxy in _proxies(play, fault):
        proxy.slow(**fault.with_)
        play.later(fault.seconds, proxy.heal)


def _connections_cut(play: Play, fault: Fault) -> None:
    for proxy in _proxies(play, fault):
        proxy.cut()


def _producer_cut_off(play: Play, fault: Fault) -> None:
    proxy = play.stage.proxies[LOAD]
    proxy.refuse()
    play.later(fault.seconds, proxy.heal)


def _proxies(play: Play, fault: Fault) -> list[Proxy]:
    """A worker's, or those of everybody, the producer included."""
    names = [LOAD, *WORKERS] if fault.worker is None else [WORKERS[fault.worker]]
    return [play.stage.proxies[name] for name in names]


def _worker(fault: Fault) -> int:
    assert fault.worker is not None, fault
    return fault.worker


Act = Callable[["Play", Fault], None]
ACTS: dict[str, Act] = {
    "kill": _kill,
    "die at point": _die_at_point,
    "stop at point": _stop_at_point,
    "terminate": _terminate,
    "leave": _leave,
    "join": _join,
    "pause": _pause,
    "clock": _clock,
    "lull": _lull,
    "broker killed": _broker_killed,
    "broker restarted": _broker_restarted,
    "broker paused": _broker_paused,
    "disk full": _disk_full,
    "compaction": _compaction,
    "unreachable": _unreachable,
    "half-open": _half_open,
    "slow": _slow,
    "connections cut": _connections_cut,
    "producer cut off": _producer_cut_off,
    "partitions added": administration.partitions_added,
    "source made anew": administration.source_made_anew,
    "records deleted": administration.records_deleted,
    "offsets deleted": administration.offsets_deleted,
}
