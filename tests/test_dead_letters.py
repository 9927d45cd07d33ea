"""``caststream dead-letters resend``: what goes back, where to, and what stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from core.engines.state import pack_state, step_back
from core.engines.table_keys import state_key
from core.native.streams import StreamState
from core.wire.partition import partition_of
from core.wire.records import SENSORS
from stream_app.letters.dead_letters import make_plan
from stream_app.letters.letter import Choice, split_headers
from stream_app.letters.resend import Resender, overtaken
from stream_app.routes import DEAD_LETTERS
from stream_app.settings import Settings
from tests.admin import delete_records
from tests.broker import Received, ToSend, consume_all, produce
from tests.commands import Done, Run
from tests.feeds import Feed, assert_close, casting_feed, signal_feed
from tests.offline import predictions, signal_samples
from tests.worker import WorkerProcess

# A sample of either kind.
GOOD = {"sequence": "a", "step": 3, "signal": 0.5, "condition_vector": [1, 0, 0, 0]} | dict.fromkeys(SENSORS, 1.0)
BAD = GOOD | {"signal": "0.5"}
PARTITION = 2

Headers = list[tuple[str, bytes]]
Resend = Callable[..., Done]


def block(topic: str, offset: int, reason: str = "wrong_type", partition: int = PARTITION, **more: Any) -> Headers:
    """The headers that a worker puts behind a record's own."""
    said = {"reason": reason, "message": "signal", "topic": topic, "partition": partition, "offset": offset}
    said |= {"timestamp_ms": 1_700_000_000_000, **more}
    return [*((f"error.{name}", str(value).encode()) for name, value in said.items()), ("app-id", b"some-worker")]


def letter(feed: Feed, offset: int, value: Any = GOOD, own: Headers | None = None, **more: Any) -> None:
    """What a worker makes of the record at this offset."""
    headers = [*(own or []), *block(feed.topic, offset, **more)]
    produce(feed.settings, feed.settings.topic(DEAD_LETTERS), [ToSend(feed.name, value, headers, PARTITION)])


def refused(feed: Feed, value: Any = GOOD, own: Headers | None = None, **more: Any) -> int:
    """Send a record and its dead letter. It is good, as one that was refused until a worker's settings were put right.

    Returns:
        The record's offset.
    """
    (offset,) = feed.send(value, headers=own or [])
    letter(feed, offset, value, own, **more)
    return offset


def source(feed: Feed) -> list[Received]:
    return [record for record in consume_all(feed.settings, feed.topic) if record.partition == feed.partition]


@pytest.fixture
def feed(settings: Settings) -> Feed:
    return signal_feed(settings, PARTITION)


@pytest.fixture
def resend(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Resend:
    """`resend(arguments...)`: the command, without a question, on the test's own topics."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: run("dead-letters", "resend", "--yes", *arguments)


# With a real worker.


@pytest.mark.kafka
def test_a_corrected_record_goes_back_and_its_prediction_appears(
    worker: WorkerProcess, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in worker.settings.environment().items():
        monkeypatch.setenv(name, value)
    feed = signal_feed(worker.settings, PARTITION)
    samples = [{**sample, "sequence": "a"} for sample in signal_samples(5)]
    feed.send(*samples[:4], {**samples[4], "signal": str(samples[4]["signal"])})
    feed.predictions(4)
    tail = ("tail", "dead-letters", "--from-beginning", "--json", "--count", 1, "--reason", "wrong_type")
    line = json.loads(run(*tail, "--stream", feed.name).out)
    line["value"] = samples[4]
    corrected = tmp_path / "corrected.jsonl"
    corrected.write_text(json.dumps(line) + "\n")

    first = run("dead-letters", "resend", "--yes", "--corrected", corrected)
    assert_close(predictions(samples), [found.prediction for found in feed.predictions(5)])
    second = run("dead-letters", "resend", "--yes", "--corrected", corrected)

    assert (first.status, first.err) == (0, "1 resent\n")
    assert (second.status, second.err) == (0, "0 resent; 1 resent before\n")
    assert sum(record.header("resent-from-offset") is not None for record in source(feed)) == 1


@pytest.mark.kafka
def test_a_stream_that_has_gone_on_is_left_alone_by_default(
    worker: WorkerProcess, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in worker.settings.environment().items():
        monkeypatch.setenv(name, value)
    feed = signal_feed(worker.settings, PARTITION)
    samples = [{key: value for key, value in sample.items() if key != "step"} for sample in signal_samples(3)]
    offsets = feed.send(samples[0], {**samples[1], "signal": "x"}, samples[2])
    feed.predictions(2)
    feed.dead_letter(offsets[1])

    done = run("dead-letters", "resend", "--yes", "--stream", feed.name)

    assert done.status == 1
    assert f"{feed.topic} partition {PARTITION} offset {offsets[1]} (letter" in done.err
    assert f"skipped: its stream has already moved past it, up to offset {offsets[2]}" in done.err
    assert len(feed.predictions(2)) == 2


# What goes back, and how.


@pytest.mark.kafka
def test_a_record_goes_to_its_partition_with_its_headers_and_is_marked(feed: Feed, resend: Resend) -> None:
    own = [("content-type", b"application/json"), ("plant", b"7"), ("app-id", b"the sender's")]
    offset = refused(feed, GOOD, own)

    done = resend("--json")

    found = source(feed)[-1]
    assert (done.status, done.err) == (0, "1 resent\n")
    assert (found.key, found.json) == (feed.name.encode(), GOOD)
    marks = [("resent-from-offset", b"%d" % offset), ("resent-first-offset", b"%d" % offset)]
    assert found.headers == [*own, *marks, ("resent-letter", b"%d/0" % PARTITION)]
    assert json.loads(done.out)["fate"] == "resend"


@pytest.mark.kafka
def test_letters_of_one_stream_go_in_the_order_of_their_records(feed: Feed, resend: Resend) -> None:
    offsets = feed.send(*(GOOD | {"step": step} for step in range(5)))
    for step in (3, 0, 4, 1, 2):
        letter(feed, offsets[step], GOOD | {"step": step})
    letter(feed, offsets[1], GOOD | {"step": 1})  # a worker that starts again may repeat one

    assert resend().err == "5 resent\n"
    assert [record.json["step"] for record in source(feed)[5:]] == [0, 1, 2, 3, 4]


@pytest.mark.kafka
def test_run_twice_it_sends_once_and_after_a_second_refusal_once_more(feed: Feed, resend: Resend) -> None:
    first = refused(feed)
    assert resend().err == "1 resent\n"
    again = source(feed)[-1]
    letter(feed, again.offset, GOOD, again.headers)

    assert resend().err == "1 resent; 1 resent before\n"
    assert resend().err == "0 resent; 2 resent before\n"
    last = source(feed)[-1]
    assert (last.header("resent-from-offset"), last.header("resent-first-offset")) == (
        b"%d" % again.offset,
        b"%d" % first,
    )


@pytest.mark.kafka
def test_a_run_that_dies_in_the_middle_leaves_nothing_and_the_next_one_sends_all(
    feed: Feed, settings: Settings, resend: Resend
) -> None:
    for step in range(3):
        refused(feed, GOOD | {"step": step})
    died, plan = Resender(settings), make_plan(settings, Choice())
    died._producer.begin_transaction()
    for verdict in plan.to_send[:2]:
        died._produce(verdict, lambda error, message: None)
    died._producer.flush(30)

    done = resend()

    assert (done.status, done.err) == (0, "3 resent\n")
    assert [record.json["step"] for record in source(feed)] == [0, 1, 2, 0, 1, 2]
    with pytest.raises(KafkaException, match="fenced"):  # were it still alive
        died._producer.commit_transaction(30)


@pytest.mark.kafka
def test_a_stream_that_goes_on_while_its_letters_are_sent_is_told(feed: Feed, settings: Settings) -> None:
    for step in range(2):
        refused(feed, GOOD | {"step": step})
    quiet = signal_feed(settings, PARTITION)
    refused(quiet)
    plan = make_plan(settings, Choice())
    feed.send(GOOD | {"step": 2})

    last = Resender(settings).send(plan.to_send)
    feed.send(GOOD | {"step": 3})

    assert [verdict.letter.stream for verdict in overtaken(settings, plan, last)] == [feed.name]


@pytest.mark.kafka
def test_reason_stream_and_time_choose(settings: Settings, feed: Feed, resend: Resend) -> None:
    other = signal_feed(settings, PARTITION)
    refused(feed, GOOD | {"step": 1})
    refused(feed, GOOD | {"step": 2}, reason="not_finite")
    refused(other)

    def would_go(*arguments: str) -> str:
        return resend("--dry-run", *arguments).err.splitlines()[-1]

    assert would_go() == "3 would be resent"
    assert would_go("--stream", feed.name, "--stream", other.name) == "3 would be resent"
    assert would_go("--stream", feed.name, "--reason", "not_finite") == "1 would be resent"
    assert would_go("--since", "2h") == "3 would be resent"
    assert would_go("--since", "2099-01-01") == "0 would be resent"
    assert len(source(feed)) == 3


@pytest.mark.kafka
def test_a_dry_run_names_each_letter_and_what_would_become_of_it(feed: Feed, resend: Resend) -> None:
    good, bad = refused(feed), refused(feed, BAD)

    done = resend("--dry-run")

    at = f"{feed.topic} partition {PARTITION} offset"
    assert done.err.splitlines() == [
        f"{at} {good} (letter {PARTITION}/0): would be resent",
        f"{at} {bad} (letter {PARTITION}/1): refused: a worker would refuse it again, "
        'so correct it (--corrected): signal is "0.5": a number in quotes, send it without',
        "1 would be resent; 1 refused",
    ]
    assert len(source(feed)) == 2


@pytest.mark.kafka
def test_what_would_be_refused_again_keeps_its_chance(feed: Feed, resend: Resend, tmp_path: Path) -> None:
    offset = refused(feed, BAD)
    line = {"topic": feed.topic, "partition": PARTITION, "offset": offset, "value": GOOD}
    (tmp_path / "c.jsonl").write_text(json.dumps(line))

    uncorrected = resend()

    assert uncorrected.status == 1
    assert "refused: a worker would refuse it again, so correct it (--corrected): " in uncorrected.err
    assert resend("--corrected", tmp_path / "c.jsonl").err == "1 resent\n"
    assert [record.json for record in source(feed)] == [BAD, GOOD]


@pytest.mark.kafka
def test_it_asks_before_it_sends(run: Run, resend: Resend, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(feed)
    refused(feed, BAD)
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO("n\n"))

    done = run("dead-letters", "resend")

    assert done.status == 1
    assert 0 < done.err.find("refused: ") < done.err.find("Send records")
    assert f"Send records on {feed.settings.broker} again: 1 into {feed.topic}?" in done.err
    assert len(source(feed)) == 2


# What stays.


@pytest.mark.kafka
def test_what_was_sent_to_the_stream_later_keeps_a_letter_back_unless_told_to(feed: Feed, resend: Resend) -> None:
    refused(feed, GOOD | {"step": 3})
    (later,) = feed.send(GOOD | {"step": 4})
    refused(feed, GOOD | {"step": 5})

    done = resend()

    assert done.status == 1
    assert f"already moved past it, up to offset {later}" in done.err
    assert done.err.endswith(
        "1 resent; 1 skipped, because their streams have moved past them (--even-if-late sends them)\n"
    )
    assert resend("--even-if-late").err == "1 resent; 1 resent before\n"
    assert [record.json["step"] for record in source(feed)[3:]] == [5, 3]


@pytest.mark.kafka
def test_a_late_record_stays_until_its_sequence_is_corrected(feed: Feed, resend: Resend, tmp_path: Path) -> None:
    offset = refused(feed, GOOD, reason="late")
    line = {"topic": feed.topic, "partition": PARTITION, "offset": offset, "value": GOOD | {"sequence": "b"}}
    (tmp_path / "c.jsonl").write_text(json.dumps(line))

    assert "skipped: it came too late: its sequence had ended" in resend().err
    assert resend("--corrected", tmp_path / "c.jsonl").err == "1 resent\n"
    assert source(feed)[-1].json["sequence"] == "b"


@pytest.mark.kafka
def test_a_step_back_stays_until_its_step_is_corrected(feed: Feed, resend: Resend, tmp_path: Path) -> None:
    offset = refused(feed, GOOD | {"step": 0}, reason="step_back")
    line = {"topic": feed.topic, "partition": PARTITION, "offset": offset, "value": GOOD | {"step": 8}}
    (tmp_path / "c.jsonl").write_text(json.dumps(line))

    assert "skipped: its counter went back, and would do so again: correct its step (--corrected)" in resend().err
    assert resend("--corrected", tmp_path / "c.jsonl").err == "1 resent\n"
    assert source(feed)[-1].json["step"] == 8


@pytest.mark.kafka
def test_a_state_that_includes_a_step_back_has_moved_on_only_to_its_last_good_record(
    settings: Settings, feed: Feed, resend: Resend
) -> None:
    (good,) = feed.send(GOOD | {"step": 5})
    wrong, back = refused(feed), refused(feed, GOOD | {"step": 0}, reason="step_back")
    state = StreamState()
    state.offset, state.step = good, 5
    step_back(state, 0, 1, back)
    key = feed.name.encode()
    headers = [("source-offset", b"%d" % back)]
    produce(
        settings, settings.changelog("signal-states"), [ToSend(key, pack_state(state, "m" * 12), headers, PARTITION)]
    )

    done = resend()

    assert (good, wrong, back) == (0, 1, 2)
    assert done.err.endswith(
        "1 resent; 1 skipped, because their streams have moved past them (--even-if-late sends them)\n"
    )


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["signal", "casting"])
def test_of_records_that_retention_has_deleted_the_changelog_knows(
    settings: Settings, resend: Resend, kind: str
) -> None:
    feed = (signal_feed if kind == "signal" else casting_feed)(settings, PARTITION)
    offset = refused(feed)
    quiet = (signal_feed if kind == "signal" else casting_feed)(settings, PARTITION)
    refused(quiet)
    (later,) = feed.send(GOOD)
    delete_records(settings, feed.topic, PARTITION, later + 1)
    table = settings.changelog("signal-states" if kind == "signal" else "casting-windows")
    key = state_key("signal" if kind == "signal" else "casting", feed.name.encode())
    produce(settings, table, [ToSend(key, b"state", [("source-offset", b"%d" % later)], PARTITION)])

    done = resend()

    assert f"offset {offset} (letter {PARTITION}/0): skipped: its stream has already moved past" in done.err
    assert [record.key for record in source(feed)] == [quiet.name.encode()]


@pytest.mark.kafka
def test_what_cannot_go_back_is_refused_and_named(feed: Feed, settings: Settings, resend: Resend) -> None:
    (offset,) = feed.send(BAD)
    letters = settings.topic(DEAD_LETTERS)
    cases = {
        "only the start of its 9,999,999 bytes was kept": (block(feed.topic, offset, value_bytes=9_999_999), BAD),
        "another record stands at its place": (block(feed.topic, offset), {"forged": True}),
        "it names no partition of our source topics": (block("__consumer_offsets", offset), BAD),
    }
    for why, (headers, value) in cases.items():
        produce(settings, letters, [ToSend(feed.name, value, headers, PARTITION)])
        done = resend("--reason", "wrong_type")

        assert done.status == 1
        assert f"refused: {why}" in done.err
        delete_records(settings, letters, PARTITION, consume_all(settings, letters)[-1].offset + 1)
    produce(settings, letters, [ToSend(None, BAD, block(feed.topic, offset, "no_key"), PARTITION)])
    produce(settings, letters, [ToSend(feed.name, BAD, block(feed.topic, 10**6), PARTITION)])
    produce(settings, letters, [ToSend(feed.name, b"no letter at all", (), PARTITION)])
    said = resend().err
    assert said.count("refused: ") == 3
    assert "? partition ? offset ? (letter" in said
    assert len(source(feed)) == 1


@pytest.mark.kafka
def test_a_senders_own_error_headers_count_for_nothing(
    feed: Feed, settings: Settings, run: Run, resend: Resend
) -> None:
    fake = block(settings.topic("casting-samples"), 0, "late", partition=0, value_bytes=7)
    offset = refused(feed, GOOD, fake, reason="not_finite")

    shown = run("tail", "dead-letters", "--from-beginning", "--count", 1, "--json", "--reason", "not_finite")
    done = resend()

    found = json.loads(shown.out)
    assert [found[name] for name in ("topic", "partition", "offset")] == [feed.topic, PARTITION, offset]
    assert done.err == "1 resent\n"
    assert not any(name.startswith("error.") for name, _ in source(feed)[-1].headers)


def corrected(feed: Feed, offset: int, path: Path, **fields: Any) -> Path:
    """A file with one correction."""
    place = {"topic": feed.topic, "partition": PARTITION, "offset": offset, "value": GOOD}
    path.write_text(json.dumps(place | fields))
    return path


@pytest.mark.kafka
def test_a_corrected_content_type_lets_a_letter_go_back(feed: Feed, resend: Resend, tmp_path: Path) -> None:
    own = [("content-type", b"text/plain"), ("plant", b"7")]
    offset = refused(feed, GOOD, own, reason="content_type")
    as_it_came, without = resend(), corrected(feed, offset, tmp_path / "c", headers={"plant": "7"})

    done = resend("--corrected", without)

    assert "refused: a worker would refuse it again, so correct it (--corrected): content-type" in as_it_came.err
    assert (done.status, done.err) == (0, "1 resent\n")
    assert source(feed)[-1].headers[0] == ("plant", b"7")
    assert source(feed)[-1].header("content-type") is None
    assert resend("--corrected", without).err == "0 resent; 1 resent before\n"


@pytest.mark.kafka
def test_a_corrected_key_goes_once_to_the_partition_of_that_key(
    feed: Feed, settings: Settings, resend: Resend, tmp_path: Path
) -> None:
    name = next(name for name in map("press-{}".format, range(99)) if partition_of(name.encode(), 4) != PARTITION)
    key = b"\0\0\0\0\5" + name.encode()
    [(_, offset)] = produce(settings, feed.topic, [ToSend(key, GOOD, (), PARTITION)])
    headers = block(feed.topic, offset, "key_not_utf8")
    produce(settings, settings.topic(DEAD_LETTERS), [ToSend(key, GOOD, headers, PARTITION)])
    path = corrected(feed, offset, tmp_path / "c", key=name)
    as_it_came = resend()

    done = resend("--corrected", path)

    found = [record for record in consume_all(settings, feed.topic) if record.key == name.encode()]
    assert "refused: its key names no stream" in as_it_came.err
    assert (done.status, done.err) == (0, "1 resent\n")
    assert [record.partition for record in found] == [partition_of(name.encode(), 4)]
    assert found[0].header("resent-from") == b"%d/%d" % (PARTITION, offset)
    assert resend("--corrected", path).err == resend().err == "0 resent; 1 resent before\n"
    assert resend("--corrected", corrected(feed, offset, path, key="another")).err == "0 resent; 1 resent before\n"


@pytest.mark.kafka
def test_a_letter_goes_to_a_stream_of_another_name_only_while_that_waits(
    feed: Feed, settings: Settings, resend: Resend, tmp_path: Path
) -> None:
    (offset,) = feed.send(GOOD)
    letter(feed, offset, timestamp_ms=source(feed)[-1].timestamp)
    produce(settings, feed.topic, [ToSend("other", GOOD, (), partition_of(b"other", 4))])
    path = corrected(feed, offset, tmp_path / "c", key="other")

    assert "skipped: its stream has already moved past it" in resend("--corrected", path).err
    assert resend("--corrected", path, "--even-if-late").err == "1 resent\n"


@pytest.mark.kafka
def test_corrections_that_do_not_fit_are_refused(feed: Feed, resend: Resend, tmp_path: Path) -> None:
    offset = refused(feed)
    place = {"topic": feed.topic, "partition": PARTITION, "offset": offset}

    def with_line(**fields: Any) -> Done:
        (tmp_path / "c.jsonl").write_text(json.dumps(place | fields))
        return resend("--corrected", tmp_path / "c.jsonl")

    assert "line 1: still not usable: " in with_line(value=BAD).err
    assert "line 1: still not usable: the key holds byte 0 at 1" in with_line(value=GOOD, key="a\0").err
    assert "line 1: still not usable: content-type is b'x'" in with_line(value=GOOD, headers={"content-type": "x"}).err
    assert "1 corrections fit no dead letter" in with_line(value=GOOD, offset=offset + 1).err
    assert "there is no value" in with_line().err
    assert "cannot be read: No such file" in resend("--corrected", tmp_path / "none").err
    assert len(source(feed)) == 1


@pytest.mark.kafka
def test_a_number_of_thousands_of_digits_is_none(feed: Feed, settings: Settings, resend: Resend) -> None:
    digits = b"9" * 5_000
    offset = refused(feed, own=[("resent-from-offset", digits), ("resent-first-offset", digits)])
    quiet = signal_feed(settings, PARTITION)
    (later,) = quiet.send(GOOD)
    delete_records(settings, feed.topic, PARTITION, later)  # so that the changelog is looked at
    state = ToSend(feed.name, b"state", [("source-offset", digits)], PARTITION)
    produce(settings, settings.changelog("signal-states"), [state])
    odd = [(name, digits if name == "error.offset" else held) for name, held in block(feed.topic, offset)]
    produce(settings, settings.topic(DEAD_LETTERS), [ToSend(feed.name, BAD, odd, PARTITION)])

    done = resend()

    assert done.err.endswith("1 resent; 1 refused\n"), done.err
    assert source(feed)[-1].key == feed.name.encode()


# Parts.


def test_the_workers_block_is_the_last_one() -> None:
    own = [("a", b"1"), *block("fake", 1)]
    said = block("real", 2)

    assert split_headers([*own, *said]) == (own, said)
    assert split_headers([("a", b"1")]) == ([("a", b"1")], [])
