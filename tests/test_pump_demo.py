"""The pumps' demo: what its view shows, and that its verdict counts what was lost, repeated, different and found."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from core.data.pump.faults import Fault
from stream_app.demo.pump import PumpPlan
from stream_app.demo.pump_summary import (
    PumpSummary,
    alarm_begins,
    largest_difference,
    read_lines,
    summarise_pumps,
)
from stream_app.demo.pump_view import PumpView
from stream_app.demo.pump_watch import PumpsWatched
from stream_app.settings import PREFIX
from tests.broker import JARS_DIR
from tests.commands import ROOT

EVENTS = {"pump-0": [Fault("offset_sensor", "flow", 3, 6, 5.0), Fault("imbalance", "vibration_de", 8, 9, 2.0)]}


def line(step: int, stream: str = "pump-0", **more: Any) -> bytes:
    held = {"stream": stream, "sequence": stream, "step": step, "timestamp_ms": 1_767_225_600_000 + 10_000 * step}
    return json.dumps(
        held | {"score": 0.01, "leading": None, "alarm": False, "expected": {"flow": 1.5}} | more
    ).encode()


def alarmed(step: int, leading: str = "flow", **more: Any) -> bytes:
    return line(step, score=2.0, leading=leading, alarm=True, **more)


def watched(*lines: bytes) -> PumpsWatched:
    found = PumpsWatched()
    for each in lines:
        found.add(each)
    return found


def verdict(*lines: bytes, reference: list[bytes] | None = None) -> PumpSummary:
    expected = read_lines(b"\n".join(lines if reference is None else reference))
    return summarise_pumps(watched(*lines), expected, EVENTS)


def test_a_run_without_a_loss_that_equals_offline_is_a_success() -> None:
    done = verdict(line(0), line(1), alarmed(4), alarmed(5), line(6))

    assert done.problems == []
    assert (done.scored, done.lost, done.repeated, done.max_abs_diff) == (5, 0, 0, 0.0)


def test_lost_and_repeated_outputs_are_counted() -> None:
    done = verdict(line(0), line(0), line(2), reference=[line(0), line(1), line(2), line(3)])

    assert (done.lost, done.repeated) == (2, 1)
    assert done.problems == ["2 expected outputs were not seen"]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (line(1, score=0.02), 0.01),
        (line(1, expected={"flow": 1.75}), 0.25),
        (line(1, leading="flow"), math.inf),
        (line(1, alarm=True), math.inf),
        (line(1, score=None), math.inf),
        (line(1, expected={"speed": 1.5}), math.inf),
    ],
)
def test_the_largest_difference_is_over_all_that_an_output_holds(other: bytes, difference: float) -> None:
    found = largest_difference(read_lines(line(0) + b"\n" + other), read_lines(line(0) + b"\n" + line(1)))

    assert found == pytest.approx(difference)


def test_an_output_that_offline_does_not_have_is_a_difference_and_nothing_seen_is_no_success() -> None:
    assert largest_difference(read_lines(line(7)), read_lines(line(0))) == math.inf
    assert largest_difference({}, read_lines(line(0))) is None
    assert verdict(reference=[]).problems != []


def test_a_fault_is_found_by_an_alarm_in_it_and_led_by_its_sensor() -> None:
    done = verdict(line(2), alarmed(4), alarmed(5), line(6), alarmed(8, "motor_power"), line(9), alarmed(12))

    assert (done.faults, done.found, done.led, done.alarms, done.false_alarms) == (2, 2, 1, 3, 1)


def test_alarms_begin_where_the_step_before_had_none() -> None:
    found = watched(alarmed(1), alarmed(2), line(3), alarmed(4), alarmed(5)).alarms["pump-0"]

    assert [each.step for each in alarm_begins(found)] == [1, 4]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_shows_the_alarm_with_its_leading_sensor_beside_the_truth(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=terminal)
    view = PumpView(console, watched(line(3), alarmed(4), line(0, "pump-1")), EVENTS, 0.5, "http://127.0.0.1:1/metrics")

    console.print(view.drawing())

    shown = text.getvalue()
    assert "! flow" in shown
    assert "offset_sensor (flow)" in shown
    assert "01 Jan 00:00" in shown
    assert shown.count("pump-") == 2


def test_latency_is_from_a_samples_append_to_its_outputs() -> None:
    found = PumpsWatched()
    found.appended_ms[0].extend([0, 1000, 2000])
    found.published.extend([(0, 0, 900), (0, 1, 1005), (0, 2, 2015), (0, 7, 9999)])

    assert found.latencies_ms().tolist() == [5, 15]


def test_the_plan_plays_so_many_days_as_its_seconds_and_speed_give() -> None:
    assert PumpPlan(40, 1).days == pytest.approx(1.2)
    assert PumpPlan(40, 2).days == pytest.approx(2.4)


@pytest.mark.kafka
@pytest.mark.slow
def test_the_demo_of_the_pumps_ends_with_everything_there_and_equal_to_offline() -> None:
    pytest.importorskip("torch")
    place = {f"{PREFIX}DATA_DIR": str(JARS_DIR), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stream_app.cli.main", "demo", "--task", "pump", "--seconds", "10", "--json"]

    done = subprocess.run(command, env=os.environ | place, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["sent"] == summary["scored"] == 4 * round(10 * 0.03 * 8640)
    assert (summary["lost"], summary["dead_letters"]) == (0, 0)
