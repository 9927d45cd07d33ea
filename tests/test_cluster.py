"""Questions about topics: asked once, and a hidden topic is not taken for a missing one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from core.errors import OutageError
from stream_app.clients.admin import Cluster


class FakeAdmin:
    """Answers for each topic what the test says; counts the questions."""

    def __init__(self, answers: dict[str, int | None]) -> None:
        self.asked = 0
        self._answers = answers

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, Future[Any]]:
        self.asked += 1
        return {name: self._answer(self._answers[name]) for name in self._answers}

    def _answer(self, code: int | None) -> Future[Any]:
        future: Future[Any] = Future()
        if code is None:
            future.set_result(SimpleNamespace(partitions=[0, 1]))
        else:
            future.set_exception(KafkaException(KafkaError(code)))
        return future

    def poll(self, _timeout: float) -> None:
        pass


def cluster(**answers: int | None) -> Cluster:
    found = Cluster.__new__(Cluster)
    found._admin, found._heard = FakeAdmin(answers), []
    return found


GONE, HIDDEN = KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (Cluster.partitions, {"here": 2}),
        (Cluster.hidden, {"hidden"}),
        (Cluster.existing, {"here", "hidden"}),
    ],
)
def test_a_question_about_topics_is_asked_once(ask: Callable[..., Any], expected: Any) -> None:
    asked = cluster(here=None, gone=GONE, hidden=HIDDEN)

    assert ask(asked, ["here", "gone", "hidden"]) == expected
    assert asked._admin.asked == 1


def test_no_topics_are_no_question() -> None:
    asked = cluster()

    assert asked.existing([]) == set()
    assert asked._admin.asked == 0


def test_an_outage_is_no_missing_topic() -> None:
    with pytest.raises(OutageError, match="describe topic here"):
        cluster(here=KafkaError.REQUEST_TIMED_OUT).existing(["here"])
