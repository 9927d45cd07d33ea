"""Tell outages from refusals, in one place: a refusal will be the same at the next try.

Timeouts, missing coordinators, leaders and controllers, connections and names that fail are outages. They end by
themselves, so a supervisor tries until they are over.
"""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from core.broker_words import REMEDY
from core.errors import OutageError, RunError, StartupError

# What a broker says of a topic or group in its first moments.
NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,  # listing offsets: the leader is so new that it does not know it yet
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)

# A topic that is still unknown after a while is missing, which somebody has to put right: no outage.
OUTAGES = (NOT_YET - {KafkaError.UNKNOWN_TOPIC_OR_PART}) | {
    # librdkafka's own
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._WAIT_COORD,
    KafkaError._WAIT_CACHE,
    KafkaError._NODE_UPDATE,
    KafkaError._UNKNOWN_BROKER,
    KafkaError._ISR_INSUFF,
    KafkaError._RETRY,
    KafkaError._IN_PROGRESS,
    KafkaError._PREV_IN_PROGRESS,
    KafkaError._INTR,
    KafkaError._DESTROY_BROKER,
    KafkaError._SSL,  # a broken handshake; a certificate that does not fit is found by `stream_app.clients.access`
    # the broker's
    KafkaError.UNKNOWN,  # "an unexpected server error": the broker has a fault of its own
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NOT_CONTROLLER,
    KafkaError.STALE_CTRL_EPOCH,
    KafkaError.STALE_BROKER_EPOCH,
    KafkaError.UNKNOWN_CONTROLLER_ID,
    KafkaError.LISTENER_NOT_FOUND,
    KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
    KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError.REASSIGNMENT_IN_PROGRESS,
    KafkaError.REBOOTSTRAP_REQUIRED,
    KafkaError.FETCH_SESSION_ID_NOT_FOUND,
    KafkaError.INVALID_FETCH_SESSION_EPOCH,
    KafkaError.INCONSISTENT_TOPIC_ID,
}


# Nobody answers at any of the addresses.
_NOBODY_THERE = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT}
)

# Whoever is not let in or may not do it has to be granted it first.
NOT_ALLOWED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def remedy(error: KafkaError) -> str:
    """Return the way on, where an error means that no broker can be reached; else ""."""
    return REMEDY if error.code() in _NOBODY_THERE else ""


def is_outage(error: KafkaError) -> bool:
    """True if the same question may be answered at another time."""
    return error.code() in OUTAGES


def failure(doing: str, error: KafkaError, heard: str = "") -> StartupError:
    """The error to raise where something cannot be done: an outage or a refusal.

    Args:
        doing: such as "create topic x".
        heard: what is known of the connections besides.
    """
    text = f"cannot {doing}: {words(error)}"
    return OutageError(text + heard) if is_outage(error) else StartupError(text)


def run_failure(text: str, error: KafkaError) -> StartupError | RunError:
    """Return the error to raise if a command could not go on: a refusal if a permission is missing."""
    return StartupError(text) if error.code() in NOT_ALLOWED else RunError(text)


def words(error: KafkaError) -> str:
    """The error's text, without librdkafka's timings; its name where there is no text."""
    text = re.sub(r" \(after .*\)$", "", " ".join(error.str().split()))
    return f"{text} {error.name()}".strip() if not text or text.endswith(":") else text
