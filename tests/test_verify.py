"""``caststream verify`` on real systems: sound ones pass, and every kind of damage is found."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from admin import delete_records
from broker import Received, ToSend, produce, wait_until
from commands import Run
from conftest import MakeSettings
from consistency import assert_consistent, drained
from damage import System, copied, look_at, with_fields, with_header
from feeds import Feed, casting_feed, in_sequence, msgpack, signal_feed
from offline import casting_samples, signal_samples
from worker import WorkerProcess, own_worker

from core.errors import RunError
from core.native.streams import StreamState
from core.scorer import HEAD, SEGMENT
from core.state import pack_state, seal, unpack_state
from stream_app.broker import LocalBroker
from stream_app.settings import Settings
from stream_app.verify import Report, verify

pytestmark = pytest.mark.kafka

PREDICTIONS, SCORES, LETTERS = "signal-predictions", "casting-scores", "dead-letters"
STATES, WINDOWS = "signal-states", "casting-windows"
MSGPACK = (("content-type", b"application/msgpack"),)


class Load:
    """Both kinds of streams, and everything that the record table speaks of but pauses."""

    def __init__(self, settings: Settings) -> None:
        self.plain, self.odd, self.unnamed = (signal_feed(settings, number % 2) for number in range(3))
        self.casts, self.short = casting_feed(settings, 0), casting_feed(settings, 1)

    @property
    def feeds(self) -> list[Feed]:
        return [self.plain, self.odd, self.unnamed, self.casts, self.short]

    def send(self) -> None:
        """The first half; streams are in the middle of their sequences then."""
        samples = signal_samples(120, 1)
        self.plain.send(*in_sequence(samples[:60], "A"))
        self.odd.send(*samples[:3], samples[1], *samples[9:20], b"{", {"signal": 1}, *samples[90:100])
        self.unnamed.send(*({**sample, "step": None} for sample in samples[:30]))
        cast = casting_samples(140, 2)
        self.casts.send(*in_sequence(cast[:50], "cast-1"))
        self.short.send(*in_sequence(casting_samples(110, 3), "cast-1"))

    def send_rest(self) -> None:
        """The other half: sequences change, casts end, some records are late."""
        samples, cast = signal_samples(120, 1), casting_samples(140, 2)
        self.plain.send(*in_sequence(samples[60:80], "A"), *in_sequence(samples[:40], "B"))
        self.plain.send(*in_sequence(samples[80:82], "A"), {**samples[40], "sequence": "B", "timestamp_ms": 77})
        self.odd.send(samples[0], *samples[1:5], {**samples[5], "step": 10**9}, *samples[5:9])
        self.odd.send(*(msgpack(sample) for sample in samples[9:12]), headers=MSGPACK)
        self.odd.send(b"?", ToSend(None, samples[0], partition=self.odd.partition), ToSend(b"\xff", b"", partition=0))
        self.unnamed.send(*({**sample, "step": None} for sample in samples[30:50]), *samples[:5])
        self.unnamed.send(*samples[:10], partition=1 - self.unnamed.partition)
        self.casts.send(*in_sequence(cast[50:139], "cast-1"), {**cast[139], "sequence": "cast-1", "end": True})
        self.casts.send(*in_sequence(cast[:2], "cast-1"), *in_sequence(cast[:115], "cast-2"))
        self.short.send(*in_sequence(casting_samples(20, 4), "cast-2"), *in_sequence(casting_samples(3, 5), "cast-3"))


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


# What is found. A damage is done to a copy.


def found(report: Report) -> dict[str, int]:
    counts = {name: value for name, value in report.as_dict().items() if name.startswith(("dead_letters_", "states_"))}
    kinds = ("missing", "repeated", "differing", "out_of_order", "unexpected")
    counts |= {name: getattr(report, name) for name in kinds}
    return {name: value for name, value in counts.items() if value}


Damage = Callable[[System, Load], None]
DAMAGES: dict[str, tuple[Damage, dict[str, int]]] = {}


def damage(*counts: str) -> Callable[[Damage], Damage]:
    """A function that damages a system so that each of these kinds of problem is found once; none: it does no harm."""

    def add(function: Damage) -> Damage:
        DAMAGES[function.__name__] = (function, dict.fromkeys(counts, 1))
        return function

    return add


@damage()
def no_damage_is_done(system: System, load: Load) -> None:
    pass


@damage("missing")
def a_prediction_is_dropped(system: System, load: Load) -> None:
    system.drop(PREDICTIONS, system.only(PREDICTIONS, load.plain.name, sequence="A", step=17))


@damage("missing")
def a_final_score_is_dropped(system: System, load: Load) -> None:
    system.drop(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("missing")
def the_final_score_of_a_short_cast_is_dropped(system: System, load: Load) -> None:
    system.drop(SCORES, system.only(SCORES, load.short.name, reason="too_short"))


@damage()
def an_output_is_not_there_yet(system: System, load: Load) -> None:
    last = system.only(PREDICTIONS, load.plain.name)
    system.drop(PREDICTIONS, last)
    system.committed["signal-samples", load.plain.partition] = int(last.header("source-offset") or 0)


@damage()
def nothing_is_committed(system: System, load: Load) -> None:
    system.committed.clear()
    system.logs[LETTERS].clear()
    system.drop(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("repeated")
def a_prediction_is_repeated(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name, step=17, sequence="A"))


@damage("repeated")
def a_score_is_repeated(system: System, load: Load) -> None:
    system.put(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("repeated", "differing")
def a_prediction_is_repeated_with_another_value(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.put(PREDICTIONS, record, value=with_fields(record, prediction=record.json["prediction"] + 1e-4))


def _changed(log: str, feed: str, **fields: Any) -> Damage:
    def harm(system: System, load: Load) -> None:
        which = {} if log == PREDICTIONS else {"final": True, "sequence": "cast-1"}
        record = system.only(log, getattr(load, feed).name, **which)
        new = {name: value(record.json[name]) if callable(value) else value for name, value in fields.items()}
        system.change(log, record, value=with_fields(record, **new))

    return harm


for _name, _value in {
    "prediction": lambda value: value + 1e-4,
    "stream": "other",
    "sequence": "other",
    "step": 99,
    "timestamp_ms": 78,
    "gap": 1,
    "model": "0123456789ab",
}.items():
    DAMAGES[f"a_prediction_has_another_{_name}"] = (_changed(PREDICTIONS, "plain", **{_name: _value}), {"differing": 1})
for _name, _value in {
    "probability": lambda value: value + 1e-4,
    "attention_peak": lambda value: value - 1,
    "start": 1,
    "length": 99,
    "model": "0123456789ab",
}.items():
    DAMAGES[f"a_score_has_another_{_name}"] = (_changed(SCORES, "casts", **{_name: _value}), {"differing": 1})


@damage()
def a_prediction_differs_within_the_tolerance(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.change(PREDICTIONS, record, value=with_fields(record, prediction=record.json["prediction"] + 5e-6))


@damage("differing")
def a_score_has_no_probability(system: System, load: Load) -> None:
    record = system.only(SCORES, load.casts.name)
    system.change(SCORES, record, value=with_fields(record, probability=None))


@damage("differing")
def an_output_has_the_key_of_another_stream(system: System, load: Load) -> None:
    system.change(PREDICTIONS, system.only(PREDICTIONS, load.unnamed.name, step=20), key=b"other")


@damage("out_of_order")
def two_predictions_are_swapped(system: System, load: Load) -> None:
    log = system.logs[PREDICTIONS]
    first, second = (log.index(system.only(PREDICTIONS, load.plain.name, sequence="A", step=step)) for step in (7, 8))
    log[first], log[second] = log[second], log[first]


@damage("unexpected")
def a_duplicate_has_an_output(system: System, load: Load) -> None:
    key = load.odd.name.encode()
    record = next(record for record in system.logs[PREDICTIONS] if record.key == key and record.json["step"] == 2)
    duplicate = int(record.header("source-offset") or 0) + 1
    system.put(PREDICTIONS, record, headers=with_header(record, "source-offset", b"%d" % duplicate))


@damage("unexpected")
def a_cast_that_goes_on_has_a_final_score(system: System, load: Load) -> None:
    record = system.only(SCORES, load.casts.name, sequence="cast-2", final=False)
    system.put(SCORES, record, value=with_fields(record, final=True))


@damage("unexpected")
def an_output_is_of_a_record_that_was_never_sent(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.put(PREDICTIONS, record, headers=with_header(record, "source-offset", b"999999"))


@damage("unexpected")
def an_output_does_not_say_where_it_comes_from(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name), headers=[])


@damage("unexpected")
def an_output_cannot_be_read(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name), value=b"{")


@damage()
def another_application_writes_to_the_same_topics(system: System, load: Load) -> None:
    for log in (PREDICTIONS, SCORES, LETTERS):
        record = system.logs[log][-1]
        system.put(log, record, headers=with_header(record, "app-id", b"another"))


@damage("dead_letters_missing")
def a_dead_letter_is_dropped(system: System, load: Load) -> None:
    system.drop(LETTERS, system.only(LETTERS, load.odd.name))


@damage("dead_letters_repeated")
def a_dead_letter_is_repeated(system: System, load: Load) -> None:
    system.put(LETTERS, system.only(LETTERS, load.casts.name))


@damage("dead_letters_differing")
def a_dead_letter_has_another_reason(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    system.change(LETTERS, record, headers=with_header(record, "error.reason", b"late"))


@damage("dead_letters_differing")
def a_dead_letter_has_another_value(system: System, load: Load) -> None:
    system.change(LETTERS, system.only(LETTERS, load.odd.name), value=b"!")


@damage("dead_letters_differing")
def a_dead_letter_has_another_key(system: System, load: Load) -> None:
    system.change(LETTERS, system.only(LETTERS, load.odd.name), key=b"other")


@damage("dead_letters_unexpected")
def a_good_record_has_a_dead_letter(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    good = int(system.only(PREDICTIONS, load.odd.name).header("source-offset") or 0)
    system.put(LETTERS, record, headers=with_header(record, "error.offset", b"%d" % good))


@damage("dead_letters_unexpected", "dead_letters_missing")
def a_dead_letter_stands_in_another_partition(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    system.change(LETTERS, record, partition=1 - record.partition)


@damage("states_missing")
def the_records_of_a_state_are_dropped(system: System, load: Load) -> None:
    system.logs[STATES] = [record for record in system.logs[STATES] if record.key != load.plain.name.encode()]


@damage("states_missing")
def a_state_is_deleted_that_was_not_idle(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), value=None)


@damage("states_differing")
def a_state_is_older_than_the_committed_offset(system: System, load: Load) -> None:
    key = load.plain.name.encode()
    first = next(record for record in system.logs[STATES] if record.key == key)
    system.logs[STATES] = [record for record in system.logs[STATES] if record.key != key or record is first]


@damage()
def an_old_state_is_written_after_a_newer_one(system: System, load: Load) -> None:
    system.put(STATES, next(record for record in system.logs[STATES] if record.key == load.plain.name.encode()))


@damage("states_differing")
def the_hidden_state_is_another(system: System, load: Load) -> None:
    record, state = system.only(STATES, load.plain.name), StreamState()
    model, body = unpack_state(record.value or b"", state)
    hidden = np.frombuffer(body, "<f4").copy()
    hidden[10] += 1e-3
    system.put(STATES, record, value=pack_state(state, model, hidden.tobytes()))


@damage("states_differing")
def a_state_stands_at_another_step(system: System, load: Load) -> None:
    record, state = system.only(STATES, load.plain.name), StreamState()
    model, body = unpack_state(record.value or b"", state)
    state.step += 1
    system.put(STATES, record, value=pack_state(state, model, body))


@damage("states_differing")
def a_state_is_corrupt(system: System, load: Load) -> None:
    record = system.only(STATES, load.plain.name)
    system.put(STATES, record, value=(record.value or b"")[:-1] + b"?")


@damage("states_differing")
def a_stream_that_was_never_met_has_a_state(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), key=b"never met")


@damage("states_differing")
def a_foreign_record_stands_in_a_changelog(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), headers=[])


def _segment(system: System, load: Load) -> Received:
    """The last segment of the window that goes on."""
    name = load.casts.name.encode()
    return [
        record
        for record in system.logs[WINDOWS]
        if record.value and (record.key or b"")[:1] == SEGMENT and name in (record.key or b"")
    ][-1]


@damage("states_differing")
def a_segment_of_a_window_is_deleted(system: System, load: Load) -> None:
    system.put(WINDOWS, _segment(system, load), value=None)


@damage("states_differing")
def a_window_holds_other_samples(system: System, load: Load) -> None:
    record = _segment(system, load)
    payload = bytearray(record.value or b"")[:-4]
    payload[-1] ^= 1
    system.put(WINDOWS, record, value=seal(bytes(payload)))


@damage()
def a_segment_is_there_that_no_head_needs(system: System, load: Load) -> None:
    record = _segment(system, load)
    system.put(WINDOWS, record, key=SEGMENT + (3).to_bytes(8) + load.casts.name.encode())


@damage("states_differing")
def the_head_of_a_window_is_closed(system: System, load: Load) -> None:
    record, state = system.only(WINDOWS, (HEAD + load.casts.name.encode()).decode()), StreamState()
    model, body = unpack_state(record.value or b"", state)
    state.closed = True
    system.put(WINDOWS, record, value=pack_state(state, model, body))


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(system: System, load: Load, name: str) -> None:
    harm, expected = DAMAGES[name]

    report = verify(copied(system, lambda copy: harm(copy, load)))

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

    settings = copied(system, drop_two)
    plain = verify(settings, streams=[load.plain.name])

    assert found(plain) == {"missing": 1}
    assert (plain.records, plain.states, plain.dead_letters) == (123, 1, 2)
    assert found(verify(settings, streams=[load.plain.name, load.odd.name])) == {"missing": 2, "states_missing": 1}
    assert assert_consistent(settings, streams=[load.casts.name]).outputs == 4


def test_a_source_that_was_made_anew_is_refused(system: System) -> None:
    def ahead(copy: System) -> None:
        copy.committed["signal-samples", 0] += 1000

    with pytest.raises(RunError, match=r"signal-samples\[0\] ends at offset \d+, but the group has committed \d+"):
        verify(copied(system, ahead))


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_system_under_load_never_looks_wrong(make_settings: MakeSettings, tmp_path: Path, guarantee: str) -> None:
    settings = make_settings(partitions=2, processing_guarantee=guarantee)
    signals = [signal_feed(settings, number % 2) for number in range(20)]
    casts = [casting_feed(settings, number % 2) for number in range(4)]
    stopping = threading.Event()
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        sender = threading.Thread(target=send_until, args=(stopping, signals, casts))
        sender.start()
        reports = [assert_consistent(settings) for _ in range(4)]
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
    for turn in itertools.count():
        for number, feed in enumerate(signals):
            block = signal_samples(300, number)[turn % 30 * 10 :][:10]
            feed.send(*in_sequence(block, f"{turn // 30}"), *([b"{"] if turn % 7 == number else []))
        for number, feed in enumerate(casts):
            feed.send(*in_sequence(casting_samples(300, number)[turn % 30 * 10 :][:10], f"{turn // 30}"))
        if stopping.is_set():
            return


# The command.


def options(settings: Settings) -> list[str]:
    return ["--broker", settings.broker, "--app-id", settings.app_id, "--topic-prefix", settings.topic_prefix]


def test_the_command_says_that_everything_agrees(run: Run, system: System) -> None:
    done = run("verify", *options(system.settings))

    assert (done.status, done.out) == (0, "")
    assert done.err.startswith("621 records, ")
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
    assert "caststream: 5 outputs are missing\ncaststream: 1 outputs are there again\n" in told.err
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
    assert report("--since", "100000", "--until", "0")["records"] == 621
    assert report("--until", "2000-01-01T00:00:00+02:00")["records"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "yesterday"], "--since 'yesterday' is no time: give seconds ago, such as 600, or a time"),
        (["--until", "1e999"], "--until '1e999' is no time"),
        (["--topic-prefix", "nothing-here-"], "no topic nothing-here-casting-samples, "),
        (["--hop", "0"], "setting hop: '0' is not accepted"),
        (["--broker", "127.0.0.1:1"], "no Kafka broker answers on 127.0.0.1:1"),
    ],
)
def test_what_is_to_be_put_right_first_is_said_in_a_line(
    run: Run, system: System, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_app.verify.read.CONNECT_TIMEOUT_S", 2.0)
    done = run("verify", *options(system.settings), *arguments)

    assert done.status == 2
    assert done.err.startswith("caststream: ")
    assert words in done.err
    assert done.err.count("\n") == 1
