"""``caststream verify`` on real systems: sound ones pass, and every kind of damage is found."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from core.errors import RunError
from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from stream_app.verify import VerifyReport, verify
from tests.admin import delete_records
from tests.broker import ToSend, consume_until, produce, wait_until
from tests.commands import Run
from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.damages import DAMAGES, LETTERS, PREDICTIONS, SCORES, STATES, Load
from tests.feeds import Feed, casting_feed, in_sequence, signal_feed
from tests.log_reader import verified
from tests.offline import casting_samples, signal_samples
from tests.system_copy import System, copied, look_at
from tests.worker import WorkerProcess, own_worker

pytestmark = pytest.mark.kafka


def run_load(worker: WorkerProcess) -> Load:
    """In two parts, with commits between them."""
    load = Load(worker.settings)
    load.send()
    drained(worker.settings)
    load.send_rest()
    drained(worker.settings)
    return load


@pytest.fixture(scope="module")
def at_rest(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> tuple[System, Load]:
    """What a sound system has left in Kafka, its worker stopped."""
    with own_worker(broker, tmp_path_factory.mktemp("verify"), "verify-tests", partitions=2) as worker:
        load = run_load(worker)
    return look_at(worker.settings), load


@pytest.fixture(scope="module")
def system(at_rest: tuple[System, Load]) -> System:
    return at_rest[0]


@pytest.fixture(scope="module")
def load(at_rest: tuple[System, Load]) -> Load:
    return at_rest[1]


def test_a_sound_system_passes(system: System) -> None:
    report = assert_consistent(system.settings)

    assert report.records == sum(len(system.logs[source]) for source in ("signal-samples", "casting-samples"))
    assert report.outputs == len(system.logs[PREDICTIONS]) + len(system.logs[SCORES])
    assert report.dead_letters == len(system.logs[LETTERS]) == 10
    assert (report.states, report.not_judged, report.pending) == (6, 0, 0)
    assert 0 < report.max_abs_diff < 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"gap_policy": "hold", "max_gap": 10, "output_format": "msgpack", "window_length": 120},
        {"gap_policy": "reset", "window_min": 30, "hop": 7, "max_step_jump": 50},
        {"processing_guarantee": "exactly_once"},
    ],
    ids=["hold", "reset", "exactly_once"],
)
def test_a_worker_of_other_settings_passes_with_the_same(
    make_settings: MakeSettings, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = make_settings(partitions=2, **changes)
    with WorkerProcess(settings, tmp_path) as worker:
        run_load(worker.start())

        report = assert_consistent(settings)

        assert report.states == 6
        if "gap_policy" in changes:
            assert not verify(settings.replace(gap_policy="step", max_step_jump=10**6)).ok, "the settings do matter"


# What is found. A damage is done to a copy, in memory; some of them to one on the broker too.

ON_THE_BROKER = [
    "no_damage_is_done",
    "a_prediction_has_another_prediction",
    "a_dead_letter_stands_in_another_partition",
    "the_hidden_state_is_another",
    "a_segment_of_a_window_is_deleted",
]


def found(report: VerifyReport) -> dict[str, int]:
    counts = {name: value for name, value in report.as_dict().items() if name.startswith(("dead_letters_", "states_"))}
    kinds = ("missing", "repeated", "differing", "out_of_order", "unexpected")
    counts |= {name: getattr(report, name) for name in kinds}
    return {name: value for name, value in counts.items() if value}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(system: System, load: Load, name: str) -> None:
    harm, expected = DAMAGES[name]

    report = verified(system, lambda copy: harm(copy, load))

    assert_found(report, expected)


@pytest.mark.parametrize("name", ON_THE_BROKER)
def test_damage_is_found_on_the_broker_as_in_memory(system: System, load: Load, name: str) -> None:
    harm, expected = DAMAGES[name]

    report = verify(copied(system, lambda copy: harm(copy, load)))

    assert_found(report, expected)
    in_memory = verified(system, lambda copy: harm(copy, load))
    assert report.as_dict() | {"examples": 0} == in_memory.as_dict() | {"examples": 0}  # which name their topics


def assert_found(report: VerifyReport, expected: dict[str, int]) -> None:
    assert found(report) == expected, str(report)
    assert report.ok == (not expected)
    assert {example.split(":")[0] for example in report.examples} == expected.keys()


# What cannot be judged, and what goes on.


def test_the_final_score_of_an_idle_cast_is_asked_for_when_its_state_has_gone(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(partitions=1, idle_timeout=1)
    cast, signals = casting_feed(settings, 0), signal_feed(settings, 0)
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        cast.send(*casting_samples(20))
        signals.send(*signal_samples(20))
        drained(settings)

        before = assert_consistent(settings)
        cast.scores(1)
        wait_until(lambda: verify(settings).states == 0, what="the states to be let go of")
        gone = look_at(settings)
        cast.send(*casting_samples(2))
        signals.send(*signal_samples(5))
        drained(settings)
        after = assert_consistent(settings)

    assert (before.outputs, before.states) == (20, 2)
    assert (after.outputs, after.states) == (26, 2)
    assert assert_consistent(copied(gone, lambda system: None)).outputs == 21
    assert found(verify(copied(gone, lambda system: system.logs[SCORES].clear()))) == {"missing": 1}


@pytest.fixture(scope="module")
def sequences(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> tuple[System, Feed, list[int]]:
    """One stream with six sequences of 10 samples, one without a name, one that is bad; where the sequences begin."""
    with own_worker(broker, tmp_path_factory.mktemp("range"), "verify-range", partitions=1) as worker:
        settings = worker.settings
        named, unnamed = signal_feed(settings, 0), signal_feed(settings, 0)
        starts = []
        for name in "abcdef":
            starts += named.send(*in_sequence(signal_samples(10), name))[:1]
            unnamed.send(*({**sample, "step": None} for sample in signal_samples(5)), b"{")
            drained(settings)
    return look_at(settings), named, starts


def test_behind_what_retention_took_streams_are_judged_from_a_certain_beginning(
    sequences: tuple[System, Feed, list[int]],
) -> None:
    original, named, starts = sequences
    settings = copied(original, lambda system: None)
    delete_records(settings, settings.topic("signal-samples"), 0, before=starts[1] + 4)

    report = assert_consistent(settings)

    # b may be late, and so on: the fourth name is the first that begins in any case.
    assert (report.outputs, report.not_judged, report.dead_letters) == (20, 1, 5)
    assert report.records == 16 * 5 - 4
    for sequence, expected in (("c", {}), ("e", {"repeated": 1})):
        record = original.only(PREDICTIONS, named.name, sequence=sequence, step=3)
        ours = [header for header in record.headers if header[0] == "source-offset"]
        produce(settings, settings.topic(PREDICTIONS), [ToSend(record.key, record.value, ours)])
        assert found(verify(settings)) == expected


def test_outputs_that_retention_took_are_not_missing(sequences: tuple[System, Feed, list[int]]) -> None:
    settings = copied(sequences[0], lambda system: None)
    delete_records(settings, settings.topic(PREDICTIONS), 0, before=7)
    delete_records(settings, settings.topic(LETTERS), 0, before=1)

    assert assert_consistent(settings).outputs == 6 * 15 - 7


def test_a_range_of_time_is_looked_at_alone(sequences: tuple[System, Feed, list[int]]) -> None:
    system, _, starts = sequences
    times = {record.offset: record.timestamp for record in system.logs["signal-samples"]}
    since, until = times[starts[1]], times[starts[5]]

    report = assert_consistent(system.settings, since_ms=since, until_ms=until)

    assert (report.records, report.outputs, report.dead_letters) == (4 * 16, 10, 4)
    assert (report.not_judged, report.states) == (1, 0)
    before = assert_consistent(system.settings, until_ms=until)
    assert (before.records, before.outputs, before.not_judged) == (5 * 16, 5 * 15, 0)
    since_all = assert_consistent(system.settings, since_ms=since)
    assert (since_all.outputs, since_all.states) == (20, 1)


def test_only_the_streams_asked_for_are_looked_at(at_rest: tuple[System, Load]) -> None:
    system, load = at_rest

    def drop_two(copy: System) -> None:
        for feed in (load.plain, load.odd):
            copy.drop(PREDICTIONS, copy.only(PREDICTIONS, feed.name))
        copy.logs[STATES] = [record for record in copy.logs[STATES] if record.key != load.odd.name.encode()]

    plain, both, casts = (
        verified(system, drop_two, streams=streams)
        for streams in ([load.plain.name], [load.plain.name, load.odd.name], [load.casts.name])
    )

    assert found(plain) == {"missing": 1}
    assert (plain.records, plain.states, plain.dead_letters) == (123, 1, 2)
    assert found(both) == {"missing": 2, "states_missing": 1}
    assert (found(casts), casts.outputs) == ({}, 4)


def test_a_source_that_was_made_anew_is_refused(system: System) -> None:
    def ahead(copy: System) -> None:
        copy.committed["signal-samples", 0] += 1000

    with pytest.raises(RunError, match=r"signal-samples\[0\] ends at offset \d+, but the group has committed \d+"):
        verified(system, ahead)


@pytest.mark.parametrize("guarantee", ["at_least_once", pytest.param("exactly_once", marks=pytest.mark.slow)])
def test_a_system_under_load_never_looks_wrong(make_settings: MakeSettings, tmp_path: Path, guarantee: str) -> None:
    settings = make_settings(partitions=2, processing_guarantee=guarantee)
    signals = [signal_feed(settings, number % 2) for number in range(20)]
    casts = [casting_feed(settings, number % 2) for number in range(4)]
    stopping = threading.Event()
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        sender = threading.Thread(target=send_until, args=(stopping, signals, casts))
        sender.start()
        try:
            consume_until(settings, settings.topic(PREDICTIONS), 1)
            reports = [assert_consistent(settings) for _ in range(4)]
        finally:
            stopping.set()
            sender.join()
        drained(settings)
        last = assert_consistent(settings)
        assert worker.sigterm() == 0

    assert max(report.pending for report in reports) > 0
    assert sum(later.outputs > earlier.outputs for earlier, later in pairwise(reports)) > 0
    assert last.pending == 0


def send_until(stopping: threading.Event, signals: list[Feed], casts: list[Feed]) -> None:
    """Sequences of 300 samples, 10 of each stream in turn, with a bad record now and then."""
    samples = {feed: signal_samples(300, number) for number, feed in enumerate(signals)}
    samples |= {feed: casting_samples(300, number) for number, feed in enumerate(casts)}
    for turn in itertools.count():
        for topic in (signals[0].topic, casts[0].topic):
            records = [
                ToSend(feed.name, sample, partition=feed.partition)
                for feed in (*signals, *casts)
                if feed.topic == topic
                for sample in in_sequence(samples[feed][turn % 30 * 10 :][:10], f"{turn // 30}")
            ]
            records.insert(turn % len(records), ToSend(signals[turn % len(signals)].name, b"{"))
            produce(signals[0].settings, topic, records)
        if stopping.wait(0.05):
            return


@pytest.fixture
def in_transaction(system: System, load: Load) -> Iterator[tuple[Settings, Producer]]:
    """A copy whose last prediction stands in a transaction that is still open."""
    last = system.only(PREDICTIONS, load.plain.name)
    settings = copied(system, lambda copy: copy.drop(PREDICTIONS, last))
    producer = Producer({"bootstrap.servers": settings.broker, "transactional.id": settings.app_id, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    ours = [header for header in last.headers if header[0] == "source-offset"]
    producer.produce(settings.topic(PREDICTIONS), last.value, last.key, partition=last.partition, headers=ours)
    assert producer.flush(30) == 0
    yield settings, producer
    with suppress(KafkaException):
        producer.abort_transaction(30)


def test_a_transaction_that_is_open_is_waited_for(in_transaction: tuple[Settings, Producer]) -> None:
    settings, producer = in_transaction
    with ThreadPoolExecutor(1) as threads:
        report = threads.submit(verify, settings)
        with pytest.raises(TimeoutError):
            report.result(3)
        producer.commit_transaction(30)

        assert report.result(30).ok


def test_a_transaction_that_stays_open_is_told(
    in_transaction: tuple[Settings, Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = in_transaction
    monkeypatch.setattr("stream_app.verify.run.STALLED_S", 1.0)

    with pytest.raises(RunError, match=r"nothing can be read at offset \d+ for 1 s: a transaction is open"):
        verify(settings)


# The command.


def options(settings: Settings) -> list[str]:
    return ["--broker", settings.broker, "--app-id", settings.app_id, "--topic-prefix", settings.topic_prefix]


def test_the_command_says_that_everything_agrees(run: Run, system: System) -> None:
    done = run("verify", *options(system.settings))

    assert (done.status, done.out) == (0, "")
    assert done.err.startswith("621 records were read; ")
    assert "everything agrees; the largest difference is " in done.err


def test_the_command_tells_each_kind_of_problem_in_a_line_and_leaves_with_1(
    run: Run, at_rest: tuple[System, Load]
) -> None:
    system, load = at_rest

    def harm(copy: System) -> None:
        for step in range(10, 15):
            copy.drop(PREDICTIONS, copy.only(PREDICTIONS, load.plain.name, step=step, sequence="A"))
        copy.put(PREDICTIONS, copy.only(PREDICTIONS, load.plain.name))

    settings = copied(system, harm)

    told, as_json = run("verify", *options(settings)), run("verify", *options(settings), "--json")

    assert (told.status, as_json.status) == (1, 1)
    assert "caststream: 5 outputs are missing\ncaststream: 1 outputs are repeated\n" in told.err
    source = f"{settings.topic('signal-samples')}[{load.plain.partition}] offset "
    assert told.err.count(f"  missing: {source}") == 3
    assert f"stream '{load.plain.name}', sequence 'A', step 10\n" in told.err
    report = json.loads(as_json.out)
    assert (report["ok"], report["missing"], report["repeated"]) == (False, 5, 1)
    assert len(report["examples"]) == 4


def test_the_command_looks_at_streams_and_times(run: Run, at_rest: tuple[System, Load]) -> None:
    system, load = at_rest

    def report(*more: str) -> dict[str, Any]:
        done = run("verify", *options(system.settings), "--json", *more)
        assert done.status == 0, done.err
        return json.loads(done.out)

    assert report("--stream", load.plain.name, "--stream", load.casts.name)["records"] == 123 + 257
    assert report("--since", "2000-01-01T00:00")["records"] == 621
    assert report("--since", "100000s", "--until", "0s")["records"] == 621


def test_where_nothing_can_be_compared_a_system_is_not_found_in_order(run: Run, system: System) -> None:
    done = run("verify", *options(system.settings), "--until", "2000-01-01T00:00:00+02:00")

    assert (done.status, done.err.splitlines()[-1]) == (1, "caststream: nothing was compared")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "yesterday"], "'yesterday' is no time: write 2026-11-30T14:00 (UTC), or how long ago, as 90m"),
        (["--until", "1e999"], "'1e999' is no time"),
        (["--since", "2m", "--until", "10m"], "--since 2m is not before --until 10m"),
        (["--stream", "nosuch"], "no record of 'nosuch' was found in what was read of the source topics"),
        (["--until", "9999999999d"], "'9999999999d' is no time"),
        (["--topic-prefix", "nothing-here-"], "no topic nothing-here-casting-samples, "),
        (["--hop", "0"], "setting hop: '0' is not accepted"),
    ],
)
def test_what_is_to_be_put_right_first_is_said_in_a_line(
    run: Run, system: System, arguments: list[str], words: str
) -> None:
    done = run("verify", *options(system.settings), *arguments)

    assert done.status == 2
    assert done.err.startswith("caststream: ")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_without_a_broker_the_run_has_failed_with_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.verify.run.CONNECT_TIMEOUT_S", 2.0)
    done = run("verify", "--broker", "127.0.0.1:1")

    assert done.status == 1
    assert done.err.startswith("caststream: no Kafka broker answers on 127.0.0.1:1")
    assert done.err.count("\n") == 1
