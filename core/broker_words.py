"""Words about a Kafka broker that does not answer: the same in every command."""

from __future__ import annotations

WAIT_TOLD_S = 4
"""Seconds without an answer, after which the user is told."""
REMEDY = "; start one with: caststream broker, or name yours with --broker"


def waiting_for(broker: str) -> str:
    """The line about a broker that has not answered yet."""
    return f"waiting for the Kafka broker at {broker}"
