"""``caststream dead-letters resend``: what stays, and what corrections change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.engines.state import pack_state, step_back
from core.engines.table_keys import state_key
from core.native.streams import StreamState
from core.wire.partition import partition_of
from stream_app.routes import DEAD_LETTERS
from stream_app.settings import Settings
from tests.admin import delete_records
from tests.broker import ToSend, consume_all, produce
from tests.commands import Done, Run
from tests.feeds import Feed, casting_feed, signal_feed
from tests.letters import BAD, GOOD, PARTITION, Resend, block, corrected, letter, refused, source


@pytest.fixture
def feed(settings: Settings) -> Feed:
    return signal_feed(settings, PARTITION)


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
    key = state_key("step" if kind == "signal" else "window", feed.name.encode())
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
        "its topic __consumer_offsets is of no task of the setting tasks": (block("__consumer_offsets", offset), BAD),
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


# What corrections change.


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
