"""Outputs that are published already: what is found of them, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from core.native.records import Outputs, Record, Records
from stream_app.flow.published import LogEnds, Published, Wanted, find_published
from stream_app.settings import Settings
from stream_app.worker.assignment import stored_ends
from tests.broker import ToSend, produce
from tests.conftest import MakeSettings

SOURCE, APP = ("source", 3), b"app"
NOBODY = lambda partition, key, offset: False  # noqa: E731
Headers = tuple[tuple[str, bytes], ...]


def value(step: int, final: bool | None = None) -> bytes:
    fields: dict[str, Any] = {"stream": "s", "step": step, "prediction": 0.5}
    return msgspec.json.encode(fields | ({} if final is None else {"final": final}))


def output(offset: int, step: int, final: bool | None = None, key: bytes = b"s", app: bytes = APP) -> Record:
    headers = (("source-offset", b"%d" % offset), ("app-id", app))
    return Record(3, 0, 0, key, value(step, final), headers)


def letter(offset: int, source: tuple[str, int] = SOURCE, app: bytes = APP, own: Headers = ()) -> Record:
    headers = (
        *own,
        ("error.topic", source[0].encode()),
        ("error.partition", b"%d" % source[1]),
        ("error.offset", b"%d" % offset),
        ("app-id", app),
    )
    return Record(3, 0, 0, b"s", b"?", headers)


def found(outputs: Iterable[Record] = (), letters: Iterable[Record] = ()) -> Published:
    published = Published(SOURCE, APP)
    published.add_outputs(records(outputs))
    published.add_letters(records(letters))
    return published


def records(of: Iterable[Record]) -> Records:
    records = Records(3)
    for record in of:
        records.add(record)
    return records


def left(published: Published, *outputs: tuple[int, int, bool | None, bytes]) -> list[int]:
    """The source offsets of those that are not left out."""
    given = Outputs(3)
    for offset, step, final, key in outputs:
        given.append(key, value(step, final), offset, 0)
    return [offset for _, _, offset, _ in published.leave_out(given, [])]


def test_exactly_what_stands_in_the_log_is_left_out_and_only_once() -> None:
    published = found([output(10, 0), output(12, 2)])

    assert left(published, (10, 0, None, b"s"), (11, 1, None, b"s"), (12, 2, None, b"s")) == [11]
    assert left(published, (10, 0, None, b"s")) == [10]


@pytest.mark.parametrize("other", [(11, 5, None, b"s"), (10, 6, None, b"s"), (10, 5, True, b"s"), (10, 5, None, b"t")])
def test_an_output_that_differs_in_any_part_of_its_identity_is_another_one(other: Any) -> None:
    assert left(found([output(10, 5)]), other) == [other[0]]


def test_a_hop_score_and_the_final_one_of_the_same_sample_are_two() -> None:
    published = found([output(10, 99, final=False)])

    assert left(published, (10, 99, False, b"s"), (10, 99, True, b"s")) == [10]
    assert left(found([output(10, 99, final=True)]), (10, 99, False, b"s")) == [10]


@pytest.mark.parametrize(
    "stranger",
    [
        output(10, 0, app=b"other"),
        Record(3, 0, 0, b"s", value(0), (("source-offset", b"10"),)),
        Record(3, 0, 0, b"s", value(0), (("app-id", APP),)),
        Record(3, 0, 0, b"s", value(0), (("source-offset", b"-10"), ("app-id", APP))),
        Record(3, 0, 0, b"s", value(0), (("source-offset", b"9" * 30), ("app-id", APP))),
        Record(3, 0, 0, b"s", b"not json", (("source-offset", b"10"), ("app-id", APP))),
        Record(3, 0, 0, None, value(0), (("source-offset", b"10"), ("app-id", APP))),
        Record(3, 0, 0, b"s", None, (("source-offset", b"10"), ("app-id", APP))),
    ],
)
def test_what_others_write_to_the_topic_does_not_count(stranger: Record) -> None:
    assert left(found([stranger]), (10, 0, None, b"s")) == [10]


def test_dead_letters_of_another_source_or_application_do_not_count() -> None:
    strangers = [letter(10, ("other", 3)), letter(10, ("source", 4)), letter(10, app=b"other")]
    published = found(letters=[*strangers, letter(11)])

    assert [published.leaves_out_letter(offset) for offset in (10, 11, 11)] == [False, True, False]


def test_a_records_own_headers_of_our_names_do_not_count() -> None:
    """Somebody who may send records could else have dead letters of others left out."""
    own = (("error.topic", b"source"), ("error.partition", b"3"), ("error.offset", b"7"), ("app-id", APP))
    published = found(letters=[letter(11, own=own)])

    assert not published.leaves_out_letter(7)
    assert published.leaves_out_letter(11)


def test_it_is_settled_when_all_its_records_are_committed() -> None:
    published = found([output(10, 0)], [letter(12)])

    assert [published.is_settled(offset, NOBODY) for offset in (10, 11, 12, 13)] == [False, False, False, True]


def test_a_final_score_is_not_settled_while_its_cast_may_still_end() -> None:
    published = found([output(10, 99, final=True)])
    asked = []

    def may_conclude(*at: Any) -> bool:
        asked.append(at)
        return True

    assert not published.is_settled(50, may_conclude)
    assert asked == [(3, b"s", 10)]
    assert published.is_settled(50, NOBODY)
    left(published, (10, 99, True, b"s"))
    assert published.is_settled(50, may_conclude)


@pytest.mark.parametrize(
    ("metadata", "ends"),
    [
        ('{"topic_id": "x", "outputs": 5, "dead_letters": 0}', LogEnds(5, 0)),
        ('{"topic_id": "x", "outputs": 5}', None),
        ('{"outputs": -5, "dead_letters": 0}', None),
        ('{"outputs": true, "dead_letters": 0}', None),
        ('{"outputs": "5", "dead_letters": 0}', None),
        ("[]", None),
        ("no json", None),
        ("", None),
        (None, None),
    ],
)
def test_a_commit_without_ends_says_nothing(metadata: str | None, ends: LogEnds | None) -> None:
    assert stored_ends(metadata) == ends


@pytest.mark.kafka
class TestOnTheBroker:
    @pytest.fixture
    def settings(self, make_settings: MakeSettings) -> Settings:
        return make_settings(partitions=1).replace(app_id="app")

    @staticmethod
    def wanted(settings: Settings, since: LogEnds | None) -> Wanted:
        from aiokafka.structs import TopicPartition

        names = ("signal-samples", "signal-predictions", "dead-letters")
        return Wanted(*(TopicPartition(settings.topic(name), 0) for name in names), since)

    @staticmethod
    def publish(settings: Settings, *offsets: int) -> None:
        topic = settings.topic("signal-predictions")
        sent = [ToSend(b"s", value(at), output(at, at).headers, partition=0) for at in offsets]
        produce(settings, topic, sent)

    async def test_the_log_is_read_from_the_commit_on(self, settings: Settings) -> None:
        self.publish(settings, 1, 2, 3)
        source = self.wanted(settings, LogEnds(1, 0))

        (found,) = (await find_published(settings, [source])).values()

        assert sorted(identity.source_offset for identity in found.published.outputs) == [2, 3]
        assert (found.since, found.now) == (LogEnds(1, 0), LogEnds(3, 0))

    async def test_where_no_commit_says_from_where_nothing_is_left_out(self, settings: Settings) -> None:
        """The first worker, or the first of this version: what stands there is not known to be ours to repeat."""
        self.publish(settings, 1, 2)

        (found,) = (await find_published(settings, [self.wanted(settings, None)])).values()

        assert found.published.outputs == set()
        assert found.since == found.now == LogEnds(2, 0)

    async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(self, settings: Settings) -> None:
        self.publish(settings, 1, 2)

        (found,) = (await find_published(settings, [self.wanted(settings, LogEnds(1_000, 0))])).values()

        assert len(found.published.outputs) == 2
        assert found.since == LogEnds(0, 0)
