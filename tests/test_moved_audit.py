"""What ``caststream verify`` says of streams that `caststream topics grow` has moved into another partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from core.audit.scope import Scope
from core.wire.records import Score, encoder
from stream_app.routes import routes
from stream_app.settings import Settings
from stream_app.topics.grown import Grown
from stream_app.verify.cut import VerifiedRange
from stream_app.verify.outputs import OutputCheck
from stream_app.verify.report import VerifyReport
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


def complaints(key: bytes, offset: int, records: list[FakeRecord], final: bool = True) -> list[str]:
    """What is said of one score in the partition."""
    scope = Scope(committed=ALL, came=lambda key, offset: GROWN.at_ms if GROWN.came(key, 2, offset) else None)
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
