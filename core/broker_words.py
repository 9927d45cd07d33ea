"""What a person is told of a Kafka broker that does not answer, by every command in the same words."""

from __future__ import annotations

REMEDY = "; start one with: caststream broker, or name yours with --broker"


def waiting_for(broker: str) -> str:
    """The line about a broker that has not answered yet."""
    return f"waiting for the Kafka broker at {broker}"
