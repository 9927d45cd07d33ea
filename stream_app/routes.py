"""The names on the broker: every topic, every table, and which belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stream_app.settings import Settings

SIGNAL_SAMPLES = "signal-samples"
CASTING_SAMPLES = "casting-samples"
SIGNAL_PREDICTIONS = "signal-predictions"
CASTING_SCORES = "casting-scores"
DEAD_LETTERS = "dead-letters"
SIGNAL_STATES = "signal-states"
CASTING_WINDOWS = "casting-windows"

# source topic -> (output topic, table)
ROUTES = {
    SIGNAL_SAMPLES: (SIGNAL_PREDICTIONS, SIGNAL_STATES),
    CASTING_SAMPLES: (CASTING_SCORES, CASTING_WINDOWS),
}

Kind = Literal["signal", "casting"]


@dataclass(frozen=True)
class Route:
    """The names on the broker of one kind of stream: prefix and application id applied."""

    kind: Kind
    source: str
    output: str
    changelog: str
    dead_letters: str


def routes(settings: Settings) -> dict[Kind, Route]:
    """Both kinds."""
    both: dict[Kind, str] = {"signal": SIGNAL_SAMPLES, "casting": CASTING_SAMPLES}
    return {kind: _route(settings, kind, source) for kind, source in both.items()}


def _route(settings: Settings, kind: Kind, source: str) -> Route:
    output, table = ROUTES[source]
    return Route(
        kind,
        settings.topic(source),
        settings.topic(output),
        settings.changelog(table),
        settings.topic(DEAD_LETTERS),
    )
