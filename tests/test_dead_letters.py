"""``caststream dead-letters resend``: what goes back, and where to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from core.errors import RunError
from stream_app.letters.dead_letters import make_plan
from stream_app.letters.letter import Choice, split_headers
from stream_app.letters.resend import Resender, overtaken
from stream_app.settings import Settings, load_settings
from tests.commands import Run
from tests.feeds import Feed, assert_close, signal_feed
from tests.letters import BAD, GOOD, PARTITION, Resend, block, letter, refused, source
from tests.offline import predictions, signal_samples
from tests.worker import WorkerProcess


@pytest.fixture
def feed(settings: Settings) -> Feed:
    return signal_feed(settings, PARTITION)


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


def test_a_commit_without_an_answer_is_not_called_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker may have got it, and take it when it goes on."""

    class Silent:
        def __init__(self, *_: object, **__: object) -> None: ...

        def init_transactions(self, timeout: float) -> None: ...

        begin_transaction = abort_transaction = lambda self, *_: None

        def commit_transaction(self, timeout: float) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))

    monkeypatch.setattr("stream_app.letters.resend.Producer", Silent)

    with pytest.raises(RunError, match="does not say whether the dead letters were resent: run it again"):
        Resender(load_settings()).send([])


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


# Parts.


def test_the_workers_block_is_the_last_one() -> None:
    own = [("a", b"1"), *block("fake", 1)]
    said = block("real", 2)

    assert split_headers([*own, *said]) == (own, said)
    assert split_headers([("a", b"1")]) == ([("a", b"1")], [])
