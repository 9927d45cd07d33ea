"""What ``caststream verify`` says of streams that `caststream topics grow` has moved into another partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from core.audit.scope import Scope
from core.wire.partition import partition_of
from core.wire.records import Score, encoder
from stream_app.routes import routes
from stream_app.settings import Settings
from stream_app.topics.grown import Grown
from stream_app.verify.cut import VerifiedRange
from stream_app.verify.outputs import OutputCheck
from stream_app.verify.report import VerifyReport
from stream_app.verify.run import _came
from tests.audits import ALL, audit_of, cast, signal
from tests.strategies import IDLE_TIMEOUT_MS, FakeRecord

END = 7
"""Where the source partition ended when partitions were added to it."""
GROWN = Grown(1, 4, {2: END}, at_ms=1_000)


def a_key(partition: int = 2) -> bytes:
    return next(key for key in (b"s%d" % n for n in range(99)) if GROWN.came(key, partition, END))


@dataclass
class Message:
    """A record of casting-scores."""

    key_: bytes
    value_: bytes
    offset_: int

    def key(self) -> bytes:
        return self.key_

    def value(self) -> bytes:
        return self.value_

    def headers(self) -> list[tuple[str, bytes]]:
        return [("source-offset", b"%d" % self.offset_), ("app-id", b"us")]

    def topic(self) -> str:
        return "casting-scores"

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return 0


def complaints(
    key: bytes,
    offset: int,
    records: list[FakeRecord],
    final: bool = True,
    notes: Sequence[Grown] = (GROWN,),
    partition: int = 2,
) -> list[str]:
    """What is said of one score in the partition."""
    scope = Scope(committed=ALL, came=partial(_came, notes, partition))
    audit, report = audit_of("casting", records, scope), VerifyReport()
    route = next(route for route in routes(Settings()).values() if route.task == "casting")
    cut: Any = VerifiedRange(route, 2, ALL, *[(0, 9)] * 4, 0, 0, False, True)
    score = Score(key.decode(), "a", 3, 0, 4, 5, None, None, final, "model", "too_short")
    message: Any = Message(key, encoder("json")(score), offset)
    OutputCheck(audit, cut, "us", report).take(message)
    return report.examples


@pytest.mark.parametrize("offset", [END - 1, END - 2])
@pytest.mark.parametrize("before", [[], [cast(END - 2, end=True), cast(END - 1, key=b"other", end=True)]])
def test_the_final_score_of_a_cast_that_was_moved_is_not_taken_for_one_of_nothing(
    offset: int, before: list[FakeRecord]
) -> None:
    """Its last sample stands in the partition where it was, and its state has an offset before the records to come."""
    assert complaints(a_key(), offset, before) == []


def test_other_scores_of_nothing_are_found_as_before() -> None:
    stays = next(key for key in (b"s%d" % n for n in range(99)) if not GROWN.came(key, 2, END))

    assert complaints(stays, END - 1, [])
    assert complaints(a_key(), END - 3, [])
    assert complaints(a_key(), END - 1, [], final=False)


def test_the_final_score_of_a_cast_that_has_left_is_not_missed_where_it_was() -> None:
    def required(**scope: Any) -> list[bool]:
        audit = audit_of("casting", [cast(0)], Scope(committed=ALL, **scope), now_ms=IDLE_TIMEOUT_MS + 1)
        return [bool(each) for each in audit.required]

    assert required() == [True]
    assert required(left=lambda key: True) == [False]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_pause_since_the_move_settles_a_stream_only_where_the_broker_set_the_times(ordered: bool) -> None:
    """A producer's time says nothing of when its record before was appended."""
    records = [signal(END, GROWN.at_ms + IDLE_TIMEOUT_MS + 1, step=5), signal(END + 1, GROWN.at_ms, step=6)]

    audit = audit_of("signal", records, Scope(committed=ALL, ordered=ordered, came=lambda key, offset: 1_000))

    assert audit.is_judged(END) == ordered


# Partitions were added twice, and the second time the stream came back to where it had begun.

THERE, BACK = Grown(2, 3, {0: 3}, at_ms=1_000), Grown(3, 5, {0: END}, at_ms=2_000)


def came(partition: int) -> Callable[[bytes, int], float | None]:
    return partial(_came, [THERE, BACK], partition)


def key_that_comes_back() -> bytes:
    return next(key for key in (b"s%d" % n for n in range(99)) if THERE.left(key, 0) and BACK.came(key, 0, END))


def test_a_stream_that_comes_back_is_not_taken_up_where_it_left() -> None:
    """Its records in between are in another partition."""
    key = key_that_comes_back()
    records = [*(signal(step, key=key, step=step) for step in range(3)), signal(END, key=key, step=9)]
    scope = Scope(committed=ALL, states={key: END}, came=came(0), came_at=[3, END], left=lambda key: True)

    audit = audit_of("signal", records, scope)

    assert len(audit) == 3
    assert [audit.is_judged(record.offset) for record in records] == [True, True, True, False]
    again = audit_of("signal", [*records, signal(END + 1, key=key, sequence="new", step=0)], scope)
    assert len(again) == 3, "that may be the sequence before the one that it came back with"


def test_the_cast_of_a_stream_that_comes_back_may_have_ended_elsewhere() -> None:
    key = key_that_comes_back()
    scope = Scope(committed=ALL, came=came(0), came_at=[3, END], left=lambda key: True)

    audit = audit_of("casting", [cast(0, key=key, sequence="a"), cast(END, key=key, sequence="b")], scope)

    assert [bool(each) for each in audit.required] == [False]
    assert not audit.is_judged(END)


def test_streams_that_stay_are_judged_beyond_added_partitions() -> None:
    key = next(key for key in (b"s%d" % n for n in range(999)) if {partition_of(key, n) for n in (2, 3, 5)} == {0})
    scope = Scope(committed=ALL, came=came(0), came_at=[3, END])

    audit = audit_of("signal", [signal(0, key=key, step=0), signal(END, key=key, step=5)], scope)

    assert (len(audit), audit.is_judged(END)) == (2, True)


def test_a_final_score_is_explained_by_the_second_move_too() -> None:
    """As long as its last sample stands in the partition where the cast was in between."""
    again = Grown(5, 7, {0: 2 * END}, at_ms=3_000)
    notes = [Grown(2, 3, {0: 3}, 1_000), again]
    key = next(
        key for key in (b"s%d" % n for n in range(999)) if notes[0].came(key, 0, 3) and again.came(key, 0, 2 * END)
    )

    assert complaints(key, 2 * END - 1, [], notes=notes, partition=0) == []
