"""Keeps the records of a broker's answer to a fetch, and does what its errors ask for, partition by partition."""

from __future__ import annotations

import logging
import time
from typing import Any

from aiokafka.consumer.fetcher import FetchResult, OffsetResetStrategy
from aiokafka.errors import (
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.structs import TopicPartition

from stream_app.kafka.fetching import FetchedPartition, RawBatches
from stream_app.logs import SELDOM
from stream_app.native.fetches import Fetch

log = logging.getLogger(__name__)

FIRST_WITH_ABORTED = 4  # version of the answer that says which transactions were aborted
FIRST_WITH_REPLICA = 11


def keep_answer(fetcher: Any, assignment: Any, request: Fetch, response: Any) -> bool:
    """Keep the records of an answer with an aiokafka fetcher until they are taken; True if a partition was refused.

    Args:
        response: as it came, or aiokafka's of a broker that gets its requests.
    """
    if not isinstance(response, memoryview):
        return _keep_plain(fetcher, assignment, request, response)
    code, todo = request.take(response, int(1000 * time.time()))
    refused = _refused_whole(code)
    for place, offset, error, fetched, aborted in todo:
        if error:
            refused = True
            _refused(fetcher, place.at, place.state, offset, for_code(error))
        else:
            _keep(fetcher, assignment, place.at, place.state, fetched, aborted)
    return refused


def _refused_whole(code: int) -> bool:
    if code:
        log.warning("records cannot be fetched: %s", for_code(code).__name__, extra=SELDOM)
    return bool(code)


def _keep_plain(fetcher: Any, assignment: Any, request: Fetch, response: Any) -> bool:
    offsets = {(topic, number): offset for topic, of_topic in request.topics for number, offset, _ in of_topic}
    now_ms = int(1000 * time.time())
    refused = _refused_whole(getattr(response, "error_code", NoError.errno))  # old answers have none
    for topic, of_topic in response.topics:
        for number, code, highwater, *rest in of_topic:
            at = TopicPartition(topic, number)
            state, offset = assignment.state_value(at), offsets[at]
            if not state.has_valid_position or state.position != offset:
                continue  # it was sought elsewhere meanwhile
            if code:
                refused = True
                _refused(fetcher, at, state, offset, for_code(code))
                continue
            state.highwater, state.timestamp = highwater, now_ms
            state.lso = rest[0] if response.API_VERSION >= FIRST_WITH_ABORTED else None
            if rest[-1]:
                _keep(fetcher, assignment, at, state, rest[-1], _aborted(response.API_VERSION, rest))
    return refused


def _aborted(version: int, rest: list[Any]) -> Any:
    if version < FIRST_WITH_ABORTED:
        return None
    return rest[-3] if version >= FIRST_WITH_REPLICA else rest[-2]


def _keep(fetcher: Any, assignment: Any, at: TopicPartition, state: Any, fetched: bytes, aborted: Any) -> None:
    raw = RawBatches(fetched)
    if raw.has_next():
        partition = FetchedPartition(
            at, raw, aborted, state.position, None, None, fetcher._check_crcs, fetcher._isolation_level
        )
        fetcher._records[at] = FetchResult(
            at, partition_records=partition, assignment=assignment, backoff=fetcher._prefetch_backoff
        )
    else:
        text = f"{at.topic}[{at.partition}] offset {state.position}: a batch is larger than a fetch takes"
        fetcher._set_error(at, RecordTooLargeError(text))
        state.consumed_to(state.position + 1)


def _refused(fetcher: Any, at: TopicPartition, state: Any, offset: int, error: type[Exception]) -> None:
    if error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
        fetcher._client.force_metadata_update()
    elif error is OffsetOutOfRangeError and fetcher._default_reset_strategy != OffsetResetStrategy.NONE:
        log.info("%s[%d]: offset %d is not in the log, which is read from its end or beginning", *at, offset)
        state.await_reset(fetcher._default_reset_strategy)
    elif error in (OffsetOutOfRangeError, TopicAuthorizationFailedError):
        fetcher._set_error(at, error({at: offset}) if error is OffsetOutOfRangeError else error(at.topic))
    else:
        log.warning("%s[%d] cannot be fetched: %s", *at, error.__name__, extra=SELDOM)
