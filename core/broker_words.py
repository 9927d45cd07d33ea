"""Words about a Kafka broker that does not answer: the same in every command."""

from __future__ import annotations

REMEDY = "; start one with: caststream broker, or name yours with --broker"


def waiting_for(broker: str) -> str:
    """The line about a broker that has not answered yet."""
    return f"waiting for the Kafka broker at {broker}"
