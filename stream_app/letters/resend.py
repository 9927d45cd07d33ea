"""Send dead letters back to where they came from, after the cause was removed: ``caststream dead-letters resend``.

A dead letter's record goes to its own topic and partition, marked with its old offset. With another key it goes to the
partition of that key, marked with its old place. All records of a run are one transaction under one id: a run that dies
in the middle leaves nothing, and of two runs at once the later one ends the earlier.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core.errors import RunError
from stream_app.clients.topic_reader import TopicReader, key_of, place_of
from stream_app.headers import ERROR, headers_of
from stream_app.letters.dead_letters import ResendPlan, ResendVerdict
from stream_app.letters.source_scan import FIRST_OFFSET, FROM_OFFSET, LETTER, MOVED_FROM, RESENT, position_of
from stream_app.routes import Partition
from stream_app.settings import Settings

MAX_RECORD_BYTES = 16 * 2**20
# librdkafka would write to stderr by itself; what matters comes as errors.
_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
_TIMEOUT_S = 30.0
_ABORT_TIMEOUT_S = 5.0


class Resender:
    """Sends what a plan has decided, in one transaction.

    Whoever opens one later ends this one: its transaction fails, and so a record is never sent by two.

    Raises:
        RunError: the broker does not answer, or does not let us.
    """

    def __init__(self, settings: Settings) -> None:
        self._broker = settings.broker
        config: dict[str, Any] = {
            **settings.client_config(),
            "transactional.id": f"{settings.app_id}-resend",
            "message.max.bytes": MAX_RECORD_BYTES + 2**16,
            "linger.ms": 1,
            "log_level": 0,
        }
        try:
            self._producer = Producer(config, logger=_silent)
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            raise self._failed(error) from error

    def send(self, verdicts: Iterable[ResendVerdict]) -> dict[tuple[Partition, bytes], int]:
        """Send their records, in order; all of them, or none.

        Returns:
            The offset of the last one of each source partition and key.

        Raises:
            RunError: nothing was sent; or the broker gave no answer at the end, and may have taken it.
        """
        last: dict[tuple[Partition, bytes], int] = {}
        problems: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                problems.append(error)
            else:
                last[place_of(message), key_of(message) or b""] = int(message.offset() or 0)

        try:
            self._producer.begin_transaction()
            for verdict in verdicts:
                self._produce(verdict, delivered)
            self._commit()
        except BaseException as error:
            with contextlib.suppress(KafkaException):  # an open transaction would hold up the worker until it times out
                self._producer.abort_transaction(_ABORT_TIMEOUT_S)
            if not isinstance(error, KafkaException):
                raise
            raise self._failed(problems[0] if problems else error) from error
        return last

    def _commit(self) -> None:
        try:
            self._producer.commit_transaction(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:
                raise
            raise RunError(
                f"the Kafka broker at {self._broker} does not say whether the dead letters were resent: run it again, "
                "which finds those that were"
            ) from error

    def _produce(self, verdict: ResendVerdict, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        letter, (topic, partition) = verdict.letter, verdict.to
        timestamp_ms = max(letter.timestamp_ms or 0, 0)  # 0 is now; a topic of append times takes the broker's anyway
        while True:
            try:
                self._producer.produce(
                    topic,
                    verdict.value,
                    verdict.key,
                    partition,
                    on_delivery=delivered,
                    timestamp=timestamp_ms,
                    headers=[*resent_headers(verdict)],
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _failed(self, error: KafkaException | KafkaError) -> RunError:
        said = error.args[0] if isinstance(error, KafkaException) else error
        if said.code() == KafkaError._FENCED:
            return RunError("nothing was resent: another run has begun meanwhile")
        return RunError(f"nothing was resent: the Kafka broker at {self._broker} does not take it: {said.str()}")


def resent_headers(verdict: ResendVerdict) -> list[tuple[str, bytes]]:
    """Return the headers of a resent record: its own ones, and the marks."""
    letter = verdict.letter
    own = [(name, value) for name, value in verdict.headers if not name.startswith((ERROR, RESENT))]
    mark = (LETTER, b"%d/%d" % (letter.partition, letter.offset))
    if verdict.is_moved:
        return [*own, (MOVED_FROM, b"%d/%d" % (letter.source_partition or 0, letter.source_offset or 0)), mark]
    return [
        *own,
        (FROM_OFFSET, b"%d" % (letter.source_offset or 0)),
        (FIRST_OFFSET, b"%d" % position_of(letter)),
        mark,
    ]


def overtaken(settings: Settings, plan: ResendPlan, last: Mapping[tuple[Partition, bytes], int]) -> list[ResendVerdict]:
    """Return the sent dead letters whose streams moved past them between the check of their partition and the sending.

    Args:
        last: what `Resender.send` has returned.
    """
    sent = {(verdict.to, verdict.key or b""): verdict for verdict in plan.to_send}
    found: dict[tuple[Partition, bytes], ResendVerdict] = {}
    with TopicReader(settings.client_config()) as reader:
        for message in reader.read_from({at: plan.ends[at] for at, _ in sent}):
            place = place_of(message), key_of(message) or b""
            is_mark = any(name in (FROM_OFFSET, MOVED_FROM) for name, _ in headers_of(message))
            if place in sent and not is_mark and int(message.offset() or 0) < last[place]:
                found[place] = sent[place]
    return list(found.values())
