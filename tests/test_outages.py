"""Outages and refusals told apart: only what will be the same at the next try is a refusal."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from core.errors import OutageError, RunError, StartupError
from stream_app.clients import admin
from stream_app.clients.admin import Cluster
from stream_app.clients.outages import run_failure
from stream_app.exits import EXIT_FAILED, EXIT_REFUSED, status_of
from stream_app.failures import explain

OUTAGES = (
    "_TIMED_OUT",
    "_TRANSPORT",
    "_RESOLVE",
    "_ALL_BROKERS_DOWN",
    "_WAIT_COORD",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
    "NOT_CONTROLLER",
    "COORDINATOR_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "NOT_COORDINATOR",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "BROKER_NOT_AVAILABLE",
    "NOT_ENOUGH_REPLICAS",
    "KAFKA_STORAGE_ERROR",
    "THROTTLING_QUOTA_EXCEEDED",
)
REFUSALS = (
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "_AUTHENTICATION",
    "SASL_AUTHENTICATION_FAILED",
    "INVALID_CONFIG",
    "POLICY_VIOLATION",
    "INVALID_REPLICATION_FACTOR",
    "UNSUPPORTED_VERSION",
    "TOPIC_EXCEPTION",
)
NAME = "signal-samples"


class FailingAdmin:
    """Answers every question with the same error."""

    def __init__(self, code: int) -> None:
        self._error = KafkaException(KafkaError(code))

    def poll(self, timeout: float) -> int:
        return 0

    def list_topics(self, timeout: float) -> Any:
        raise self._error

    def __getattr__(self, question: str) -> Callable[..., dict[Any, Future[Any]]]:
        def ask(about: Any, **_: Any) -> dict[Any, Future[Any]]:
            answer: Future[Any] = Future()
            answer.set_exception(self._error)
            if question in ("describe_configs", "list_offsets", "describe_consumer_groups", "delete_consumer_groups"):
                return dict.fromkeys(about, answer)
            return {NAME: answer}

        return ask


QUESTIONS: dict[str, Callable[[Cluster], Any]] = {
    "partitions": lambda cluster: cluster.partitions([NAME]),
    "create": lambda cluster: cluster.create({NAME: 1}, 1, {NAME: {}}),
    "delete": lambda cluster: cluster.delete([NAME]),
    "describe": lambda cluster: cluster.describe([NAME]),
    "configs": lambda cluster: cluster.configs([NAME]),
    "offsets": lambda cluster: cluster.offsets({NAME: 1}),
    "group_members": lambda cluster: cluster.group_members("plant"),
    "allowed_on_topics": lambda cluster: cluster.allowed_on_topics([NAME]),
    "allowed_on_group": lambda cluster: cluster.allowed_on_group("plant"),
    "delete_group": lambda cluster: cluster.delete_group("plant"),
}
# What a missing permission means there is the answer to the question.
ANSWERS = {
    ("partitions", "TOPIC_AUTHORIZATION_FAILED"),
    ("allowed_on_topics", "TOPIC_AUTHORIZATION_FAILED"),
    ("allowed_on_group", "GROUP_AUTHORIZATION_FAILED"),
}


def asked(monkeypatch: pytest.MonkeyPatch, question: str, code: str) -> StartupError | None:
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT_S", 0.01)
    cluster = Cluster.__new__(Cluster)
    cluster._heard, cluster._admin = [], FailingAdmin(getattr(KafkaError, code))  # type: ignore[assignment]
    try:
        QUESTIONS[question](cluster)
    except StartupError as error:
        return error
    return None


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("code", OUTAGES)
def test_an_outage_is_told_as_one_whatever_was_asked(monkeypatch: pytest.MonkeyPatch, question: str, code: str) -> None:
    error = asked(monkeypatch, question, code)

    assert type(error) is OutageError
    assert status_of(error) == EXIT_FAILED  # the supervisor tries again, at a first start too
    assert explain(error)[1] == EXIT_FAILED


@pytest.mark.parametrize("question", ["configs", "allowed_on_topics"])
def test_a_topic_that_goes_between_two_questions_is_an_outage(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """A source that is deleted and created again while a worker starts: the next start says what is missing."""
    error = asked(monkeypatch, question, "UNKNOWN_TOPIC_OR_PART")

    assert type(error) is OutageError
    assert str(error) == f"topic {NAME} was there and has just been deleted"


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_told_as_one_whatever_was_asked(monkeypatch: pytest.MonkeyPatch, question: str, code: str) -> None:
    error = asked(monkeypatch, question, code)

    if (question, code) in ANSWERS:
        assert error is None
    else:
        assert type(error) is StartupError
        assert explain(error)[1] == EXIT_REFUSED
        assert status_of(error) == EXIT_REFUSED


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("TOPIC_AUTHORIZATION_FAILED", StartupError),
        ("_AUTHENTICATION", StartupError),
        ("_TRANSPORT", RunError),
        ("KAFKA_STORAGE_ERROR", RunError),
        ("_BAD_MSG", RunError),
    ],
)
def test_a_command_that_may_not_read_is_refused_and_any_other_failure_ends_it(code: str, kind: type[Exception]) -> None:
    assert type(run_failure("cannot read x", KafkaError(getattr(KafkaError, code)))) is kind
