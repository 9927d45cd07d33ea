"""Questions to a broker, asked again while it has only just come up."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from core.broker_words import WAIT_TOLD_S
from core.callbacks import unheard
from stream_app.clients.outages import NOT_YET, OUTAGES

PASSING = NOT_YET | OUTAGES
"""Errors that a client gets while a broker restarts, or a topic has just been made."""
_MADE = {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # not known to the library yet

T = TypeVar("T")


def patiently(
    ask: Callable[[], T],
    timeout_s: float,
    again: Collection[int] = PASSING | _MADE,
    on_wait: Callable[[], None] = unheard,
) -> T:
    """Ask until there is an answer, for ``timeout_s``; with short waits in ``ask``, Ctrl-C is heard in between.

    Args:
        again: after which errors of Kafka's library.
        on_wait: called once, when there was no answer for `WAIT_TOLD_S`.

    Raises:
        KafkaException: there was none, or another error.
    """
    begun_s = time.monotonic()
    end_s = begun_s + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in again or time.monotonic() >= end_s:
                raise
        if time.monotonic() - begun_s >= WAIT_TOLD_S:
            on_wait()
            on_wait = unheard
        time.sleep(0.1)
