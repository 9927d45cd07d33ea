"""The fault suite: a short part of it, and that it is able to fail. All of it: `make faults`."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import sabotage
from tests.faults.acts import ACTS
from tests.faults.judge import Row
from tests.faults.load import LoadPlan
from tests.faults.orders import POINTS
from tests.faults.points import WRAPPED
from tests.faults.proxy import DOWN, HOST, UP, Proxy
from tests.faults.run import play_and_judge
from tests.faults.schedule import Fault, Schedule
from tests.faults.stage import Stage
from tests.faults.streams import Habits
from tests.faults.themes import THEMES, draw, number_of

# Schedules.


def test_a_number_always_gives_the_same_schedule_and_another_one_another() -> None:
    numbers = range(3000, 3040)

    assert [draw(number) for number in numbers] == [draw(number) for number in numbers]
    assert len({str(draw(number)).partition(":")[2] for number in numbers}) == len(numbers)


def test_a_run_of_twenty_has_every_theme_and_every_fault_can_be_done() -> None:
    run = [draw(number_of(1, index)) for index in range(20)]
    drawn = [draw(number_of(seed, index)) for seed in range(40) for index in range(20)]

    assert {schedule.theme for schedule in run} == set(THEMES)
    assert {fault.kind for schedule in drawn for fault in schedule.faults} == set(ACTS)


def test_failure_points_are_where_orders_can_send_a_worker() -> None:
    assert {point for _, _, _, point in WRAPPED} == set(POINTS)


# The proxy.


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(10)
        yield listening


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[Proxy]:
    between = Proxy(server.getsockname()[1])
    yield between
    between.close()


def connect(proxy: Proxy, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection through the proxy, which has passed something on."""
    client = socket.create_connection((HOST, proxy.port), timeout=10)
    target, _ = server.accept()
    target.settimeout(10)
    client.sendall(b"!")
    assert target.recv(1) == b"!"
    return client, target


def is_gone(connection: socket.socket) -> bool:
    """Whether nothing more comes."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_a_proxy_passes_on_what_comes_and_the_end(proxy: Proxy, server: socket.socket) -> None:
    client, target = connect(proxy, server)
    with client, target:
        client.sendall(b"to the broker")
        assert target.recv(100) == b"to the broker"
        target.sendall(b"from it")
        assert client.recv(100) == b"from it"
        client.shutdown(socket.SHUT_WR)

        assert target.recv(100) == b""


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_half_open_connection_holds_one_direction_until_it_is_healed(
    proxy: Proxy, server: socket.socket, direction: str
) -> None:
    client, target = connect(proxy, server)
    (source, sink) = (client, target) if direction == UP else (target, client)
    with client, target:
        proxy.hold(direction)
        source.sendall(b"late")
        sink.sendall(b"at once")
        assert source.recv(100) == b"at once"
        sink.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sink.recv(100)
        proxy.heal()
        sink.settimeout(10)

        assert sink.recv(100) == b"late"


def test_what_was_held_when_its_sender_has_reset_the_connection_never_arrives(
    proxy: Proxy, server: socket.socket
) -> None:
    client, target = connect(proxy, server)
    with target:
        proxy.hold()
        client.sendall(b"thrown away")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        time.sleep(0.05)  # the reset is on its way
        proxy.heal()

        assert is_gone(target)


def test_a_connection_that_is_cut_is_reset_and_a_new_one_works(proxy: Proxy, server: socket.socket) -> None:
    client, target = connect(proxy, server)
    with client, target:
        proxy.cut()
        assert is_gone(client)
        assert is_gone(target)
    client, target = connect(proxy, server)
    with client, target:
        client.sendall(b"again")

        assert target.recv(100) == b"again"


def test_a_slow_proxy_takes_its_time(proxy: Proxy, server: socket.socket) -> None:
    client, target = connect(proxy, server)
    with client, target:
        proxy.slow(bytes_per_s=1000, delay_s=0.05)
        started = time.monotonic()
        client.sendall(bytes(100))
        assert target.recv(100) == bytes(100)

        assert time.monotonic() - started >= 0.15


def test_a_proxy_that_refuses_has_no_connections(proxy: Proxy, server: socket.socket) -> None:
    proxy.refuse()
    try:
        client = socket.create_connection((HOST, proxy.port), timeout=10)
    except ConnectionResetError:
        return  # so soon
    with client:
        assert is_gone(client)


# Schedules on the real broker.


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as ready:
        yield ready


POINT_S = 90.0
"""Every commit comes to the points of these schedules, also on a slow machine whose broker was killed just before."""
SETTINGS = {"commit_interval": 0.3, "session_timeout": 3.0, "window_min": 20, "window_length": 100, "hop": 10}


def short(number: int, *faults: Fault, workers: int = 1, seconds: float = 6.0) -> Schedule:
    load = LoadPlan(signals=24, signal_hz=25, strands=8, strand_hz=20, seconds=seconds, habits=Habits(bad=0.01))
    return Schedule(number, "short", workers, load, SETTINGS, faults, patience_s=POINT_S)


def play_together(stage: Stage, directory: Path, *plays: tuple[Schedule, str]) -> list[Row]:
    """Play schedules side by side, each with a mode of sabotage; faults of the network and the broker befall all."""
    with ThreadPoolExecutor(len(plays)) as pool:
        futures = [
            pool.submit(play_and_judge, schedule, stage, directory / str(schedule.number), mode)
            for schedule, mode in plays
        ]
        return [future.result() for future in futures]


def dies_at(point: str, count: int) -> Fault:
    return Fault(1.0, "die at point", 0, 0.1, {"point": point, "count": count})


@pytest.mark.slow
@pytest.mark.kafka
def test_workers_that_are_broken_on_purpose_are_caught(stage: Stage, tmp_path: Path) -> None:
    """Each dies where it harms; a sound one that dies there, its outputs as slow as they can be, passes."""
    no_skip, no_acks, offsets_first, sound = play_together(
        stage,
        tmp_path,
        (short(1, dies_at("before offsets", 1)), sabotage.NO_SKIP),
        (short(2, dies_at("offsets committed", 1)), sabotage.NO_ACKS),
        (short(3, dies_at("states queued", 1)), sabotage.OFFSETS_FIRST),
        (short(4, dies_at("offsets committed", 1)), sabotage.SLOW_OUTPUTS),
    )

    assert no_skip.differing + no_skip.unexpected > 0, no_skip
    assert no_acks.missing > 0, no_acks
    assert offsets_first.differing > 0, offsets_first
    assert no_skip.wrong["pump"] > 0, f"found in the other tasks alone: {no_skip}"
    assert not any(row.passed for row in (no_skip, no_acks, offsets_first))
    assert sound.passed, sound
    assert sound.wrong == {"signal": 0, "casting": 0, "pump": 0, "pump by its own model": 0}
    assert {row.restarts for row in (no_skip, no_acks, offsets_first, sound)} == {1}


@pytest.mark.slow
@pytest.mark.kafka
def test_zombies_deaths_inside_a_commit_and_a_crash_of_the_broker_harm_nothing(stage: Stage, tmp_path: Path) -> None:
    zombie = Fault(1.0, "stop at point", 0, 4.5, {"point": "outputs acked", "count": 0})
    faults = (
        Fault(1.0, "half-open", 0, 1.0, {"direction": DOWN}),
        Fault(2.5, "die at point", 1, 0.1, {"point": "states of a partition acked", "count": 2}),
        Fault(4.5, "broker killed"),
    )
    rows = play_together(
        stage, tmp_path, (short(5, zombie, workers=2, seconds=8), ""), (short(6, *faults, workers=2, seconds=8), "")
    )

    assert [row.problems for row in rows] == [[], []]
    assert [row.not_reached for row in rows] == [[], []]
    assert rows[1].restarts == 1
