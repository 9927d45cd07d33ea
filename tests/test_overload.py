"""What is sent for an overload, what came back of it and of a failover, and what both are judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import failover
import flatness
import numpy as np
import overload
import pytest
from loads import UNANSWERED, Sending, Times, answers, ends, longest_silence, mix_of, read_times, send
from mixed_sender import GARBAGE, MIXES, Record, casts, coming_and_going, even, garbage, hot
from reliability import write_plot
from watch import Flow

from core.errors import RecordError
from core.wire.records import decode_casting, decode_signal
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_PREDICTIONS, SIGNAL_SAMPLES
from stream_app.settings import Settings

pytestmark = pytest.mark.slow


def times(*rows: tuple[int, int, int, int]) -> Times:
    """Of (partition, offset, time in ms, source offset)."""
    return Times(*np.array(rows, np.int64).reshape(-1, 4).T)


# What is sent.


def taken(mix: Iterator[Record], count: int) -> list[Record]:
    return list(islice(mix, count))


def test_every_mix_is_the_same_each_time() -> None:
    arguments: dict[str, dict[str, Any]] = {
        "even": {"streams": 10, "sequence": "s"},
        "hot": {"others": 10, "sequence": "s"},
        "garbage": {"others": 10, "sequence": "s"},
        "coming_and_going": {"places": 10, "steps": 9, "sequences": 2},
        "casts": {"strands": 3, "idle_turns": 50},
    }

    assert arguments.keys() == MIXES.keys()
    for name, mix in MIXES.items():
        first, second = (taken(mix(partitions=4, **arguments[name]), 500) for _ in range(2))
        assert first == second
        assert {partition for partition, _, _ in first} <= set(range(4))


@pytest.mark.parametrize("escaped", [False, True])
def test_an_even_feed_has_one_sample_of_each_stream_in_turn(escaped: bool) -> None:
    records = taken(even(3, "s", 2, escaped=escaped), 7)
    samples = [decode_signal(value or b"") for _, _, value in records]

    assert [key for _, key, _ in records[:4]] == [b"signal-0000", b"signal-0001", b"signal-0002", b"signal-0000"]
    assert [sample.step for sample in samples] == [0, 0, 0, 1, 1, 1, 2]
    assert {sample.sequence for sample in samples} == {"line/s" if escaped else "s"}


def test_a_hot_stream_has_every_second_sample() -> None:
    records = taken(hot(5, "s", 4), 1000)
    keys = Counter(key for _, key, _ in records)

    assert keys[b"hot"] == 500
    assert len(keys) == 6
    assert [decode_signal(value or b"").step for _, key, value in records if key == b"hot"] == list(range(500))


def test_garbage_is_a_fifth_and_of_one_stream() -> None:
    keys = Counter(key for _, key, _ in taken(garbage(5, "s", 4), 1000))

    assert keys[b"garbage"] == 200


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_a_bad_record(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode_signal(value)


def test_streams_come_and_go_with_sequences_that_are_never_used_again() -> None:
    records = taken(coming_and_going(20, steps=10, sequences=3, partitions=4), 60_000)
    partitions: dict[bytes | None, set[int]] = {}
    runs: list[tuple[bytes | None, str]] = []
    current: dict[bytes | None, str] = {}
    bad = late = repeated = gaps = 0
    last: dict[bytes | None, int] = {}
    for partition, key, value in records:
        partitions.setdefault(key, set()).add(partition)
        try:
            sample = decode_signal(value or b"")
        except RecordError:
            bad += 1
            continue
        if current.get(key) != sample.sequence:
            if (key, sample.sequence) in runs:
                late += 1
                continue
            current[key], last[key] = sample.sequence, -1
            runs.append((key, sample.sequence))
        step = sample.step or 0
        repeated += step == last[key]
        gaps += step > last[key] + 1
        last[key] = step

    assert all(len(found) == 1 for found in partitions.values())
    assert len({sequence for _, sequence in runs}) == len(runs)
    coming_back = {key for key, _ in runs if key is not None and int(key[5:9]) % 2 == 0}
    assert len(coming_back) == 10 * 4
    assert len(partitions) > 500
    assert 60 < bad < 240
    assert 20 < late < 120
    assert 150 < repeated < 600
    assert 20 < gaps < 120


def test_casts_end_in_every_way() -> None:
    records = taken(casts(4, partitions=2, idle_turns=200), 60_000)
    samples = [(key, decode_casting(value or b"")) for _, key, value in records]
    lengths = Counter((key, sample.sequence) for key, sample in samples)
    ended = {sample.sequence for _, sample in samples if sample.end}

    assert len(lengths) > 100
    assert all(60 <= length < 500 for length in list(lengths.values())[:-4])
    assert 0.4 < len(ended) / len(lengths) < 0.8
    present = [{key for key, _ in samples[first : first + 40]} for first in range(0, len(samples), 40)]
    assert min(map(len, present)) < 4  # one of them is silent


# What came back.


def test_each_sample_has_its_first_answer_in_its_own_place() -> None:
    samples = times((1, 7, 100, 0), (0, 5, 101, 0), (1, 8, 102, 0), (0, 6, 103, 0))
    outputs = times((0, 0, 111, 5), (1, 0, 110, 7), (1, 1, 140, 7), (0, 1, 150, 99), (1, 2, 120, 8))

    found = answers(samples, outputs)

    assert found.answered_ms.tolist() == [110, 111, 120, UNANSWERED]
    assert (found.unanswered, found.repeated) == (1, 1)
    assert found.latency_ms().tolist() == [10, 10, 18]
    assert found.latency_ms(samples.partitions == 1).tolist() == [10, 18]


def test_the_longest_silence_is_found_between_outputs_and_at_the_edges() -> None:
    at_ms = np.array([1000, 1010, 5000, 5010, 5020])

    found = longest_silence(at_ms, 900, 5100)
    assert (found.begin_ms, found.end_ms, found.seconds) == (1010, 5000, 3.99)
    assert longest_silence(at_ms, 900, 20_000).end_ms == 20_000
    assert longest_silence(np.array([], np.int64), 0, 700).seconds == 0.7


# Overload and failover.

LOAD: dict[str, Any] = {
    "unanswered": 0,
    "repeated": 0,
    "special_sent": 0,
    "rate": 1.0,
    **{kind: {"p50_ms": 5.0, "p99_ms": 20.0} for kind in ("others", "same_partition", "elsewhere")},
}


def overloaded(**changes: Any) -> dict[str, Any]:
    """A report of a run that is right; changes are those of its overload."""
    memory = vars(flatness.bounded(np.arange(10.0), np.full(10, 6e8), 0.1, "memory"))
    over = {"memory": memory, "assignments": 1, "left_by_partition": [0, 0], "times": 3.0}
    hot_and_even = {"rate": 1, "others_alone": LOAD, "even": LOAD, "hot": LOAD}
    dirty = {"rate": 1, "clean": LOAD, "garbage": LOAD | {"special_sent": 40}, "dead_letters": 40}
    parts = {"below": hot_and_even, "above_capacity": hot_and_even, "garbage": dirty}
    return {"overload": over | changes, **parts, "checker": {"ok": True}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"assignments": 2}, "2 assignments"),
        ({"left_by_partition": [0, 3]}, "by partition: [0, 3]"),
        ({"times": 1.5}, "1.5 times"),
        ({"memory": vars(flatness.bounded(np.arange(10.0), np.linspace(5e8, 6e8, 10), 0.1, "memory"))}, "NOT FLAT"),
    ],
)
def test_an_overload_fails_by_a_rebalance_a_loss_memory_or_too_little_of_it(changes: dict[str, Any], said: str) -> None:
    assert overload.failures(overloaded()) == []
    assert said in overload.failures(overloaded(**changes))[0]


def test_others_that_wait_behind_a_hot_stream_or_garbage_are_told() -> None:
    slow = LOAD | {kind: {"p50_ms": 50.0, "p99_ms": 400.0} for kind in ("others", "elsewhere")}
    report = overloaded()
    report["below"] = report["below"] | {"hot": slow}
    report["garbage"] = report["garbage"] | {"garbage": slow | {"special_sent": 40}, "dead_letters": 39}

    found = overload.failures(report)

    assert [line.split(":")[0] for line in found] == ["hot, below capacity", "garbage", "garbage"]
    assert "40 sent, 39 dead letters" in found[2]


def event(setting: str, kind: str, moved: list[int], **changes: Any) -> dict[str, Any]:
    silence = {str(partition): 6.0 if partition in moved else 0.2 for partition in range(4)}
    plain = {"silence_s": silence, "went_on_s": silence, "samples": 100, "lost": 0, "repeated": 0}
    return {"setting": setting, "kind": kind, "moved": moved} | plain | changes


def failed_over(*events: dict[str, Any]) -> dict[str, Any]:
    report = {"events": list(events), "checker": {"default": {"ok": True}}, "recovery": None}
    return report | {"summary": failover.summary_of(report)}


def test_a_pause_is_the_median_of_the_slowest_partition_that_moved_or_stayed() -> None:
    report = failed_over(
        *(event("default", "kill", [1, 3], went_on_s={"1": s, "3": 1.0, "0": 99.0}) for s in (5, 7, 8))
    )
    rows = {row["what"]: row for row in report["summary"]}

    dead = rows["kill, default session: dead worker's streams go on"]
    assert (dead["median_s"], dead["values_s"], dead["held"]) == (7, [5, 7, 8], True)
    assert rows["kill, default session: survivor's own pause"]["median_s"] == 0.2
    assert rows["kill, tuned session: dead worker's streams go on"]["held"] is None
    assert failover.failures(report) == []


def test_a_failover_fails_by_a_long_pause_a_loss_a_repetition_or_the_checker() -> None:
    slow = failed_over(event("tuned", "kill", [0]))
    lost = failed_over(event("default", "stop", [0], lost=2, repeated=1))

    assert "aimed at are 3 s" in failover.failures(slow)[0]
    assert failover.failures(lost) == ["default, stop: 2 lost, 1 repeated"]
    wrong = failed_over() | {"checker": {"default": {"ok": False, "problems": ["2 outputs are missing"]}}}
    assert "2 outputs are missing" in failover.failures(wrong)[0]


def test_a_worker_s_partitions_are_those_of_its_last_word() -> None:
    log = (
        "worker 0: ready: a-signal-samples[0]@0, a-signal-samples[1]@5, a-casting-samples[3]@0\n"
        "worker 0: something else\nworker 0: ready: a-casting-samples[0]@1, a-signal-samples[2]@77\n"
    )

    assert failover.owned(log, "a-signal-samples") == {2}
    assert failover.owned("", "a-signal-samples") == set()


def test_the_table_holds_what_was_measured() -> None:
    report = failed_over(event("tuned", "kill", [0]))

    shown = failover.table(report | {"failures": failover.failures(report)})

    assert "| kill, tuned session: dead worker's streams go on | 6.00 | 6.00 to 6.00 | 3 | NO |" in shown


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    columns = ("rss_bytes", "fds", "threads", "tasks", "lag", "active_streams", "changelogs_disk_bytes")
    looks = {"at_s": [0.0, 5.0, 10.0], **{name: [6e8, 6.1e8, 6.2e8] for name in columns}}
    by_minute = {"at_s": [60.0, 120.0], "p50_ms": [5.0, 5.0], "p99_ms": [20.0, 21.0]}
    rates = {"at_s": [1.0, 2.0], "in_per_s": [9.0, 9.0], "out_per_s": [3.0, 3.0], "waiting": [6.0, 12.0]}
    reports = {
        "soak": {"seconds": 3600, "workers": [{"columns": looks, "by_minute": by_minute}] * 2},
        "overload": {"overload": {"rates": rates, "columns": looks}},
        "failover": failed_over(event("tuned", "kill", [0]), event("default", "join", [0, 1])),
    }

    for name, report in reports.items():
        assert 5_000 < write_plot(name, report, tmp_path).stat().st_size < 300_000


# The real thing.


@pytest.mark.kafka
def test_a_mix_goes_out_until_it_is_stopped_and_is_counted_on_its_way(settings: Settings) -> None:
    source, output = (settings.topic(name) for name in (SIGNAL_SAMPLES, SIGNAL_PREDICTIONS))
    starts = ends(settings, source)

    with Flow(settings, SIGNAL_SAMPLES, SIGNAL_PREDICTIONS) as flow:
        whole = send(mix_of(settings, "signal", "garbage", 2000, 0.5, others=10, sequence="s"))
        sending = Sending(mix_of(settings, "signal", "even", 1000, 600, streams=10, sequence="t"))
        sending.wait_until_started()
        part = sending.stop()
        found = read_times(settings, source, starts, None, lambda message: message.key() == b"garbage")
        waiting = flow.waiting()

    assert whole["samples"] == 1000
    assert part["samples"] < 100_000
    assert len(found.offsets) == waiting == whole["samples"] + part["samples"]
    assert int(found.sources.sum()) == 200
    assert sum(flow.left_by_partition()) == waiting
    assert Cluster(settings).offsets({output: 4})[output] == 0
