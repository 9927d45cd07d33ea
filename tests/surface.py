"""The surface that others rely on: commands, settings, metrics, names on the broker, record fields, stored formats.

`python -m tests.surface` prints it. tests/surface.json is what was promised; tests/test_surface.py holds the two equal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic_core import PydanticUndefined

from core.engines.results import WindowRules
from core.engines.state import RESETS, StreamState, pack_state
from core.engines.table_keys import segment_key
from core.engines.windows import CastWindow
from core.errors import CaststreamError
from core.native.states import PLAIN_VERSION
from core.wire import records
from stream_app import exits, headers, routes
from stream_app.cli.main import app
from stream_app.cli.options import commands_of
from stream_app.flow import metrics
from stream_app.settings import PREFIX, Settings
from tests.window_blobs import pack_body, pack_segment

STORED = Path(__file__).with_name("surface.json")
Surface = dict[str, list[str]]

MODEL = "0123456789ab"
EXITS = ("EXIT_FAILED", "EXIT_REFUSED", "EXIT_INTERRUPTED")  # those that users see


def surface() -> Surface:
    """Section -> its entries, sorted."""
    sections = {
        "commands": _commands(typer.main.get_command(app), "caststream"),
        "settings": _settings(),
        "metrics": _metrics(),
        "topics and tables": _wire_names(),
        "headers": (str(value) for name, value in vars(headers).items() if name.isupper() and isinstance(value, str)),
        "record fields": _record_fields(),
        "reasons": _reasons(),
        "errors": _errors(CaststreamError),
        "exit statuses": (f"{name} {getattr(exits, name)}" for name in EXITS),
        "stored states": _stored_states(),
    }
    return {name: sorted(entries) for name, entries in sections.items()}


def _commands(command: Any, path: str) -> Iterator[str]:
    for parameter in command.params:
        shape = "flag" if getattr(parameter, "is_flag", False) else "several" if parameter.nargs == -1 else "one"
        words = " ".join([shape, *["repeatable"] * parameter.multiple, *["required"] * parameter.required])
        yield f"{path} | {' '.join([*parameter.opts, *parameter.secondary_opts])} | {words} | {parameter.default!r}"
    inner = commands_of(command)
    if not inner:
        yield path
    for name, one in inner.items():
        yield from _commands(one, f"{path} {name}")


def _settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else repr(field.default)
        yield f"{PREFIX}{name.upper()} | {name} | {default}"


def _metrics() -> Iterator[str]:
    for one in vars(metrics.Metrics()).values():
        if isinstance(one, MetricWrapperBase) and not one._labelvalues:
            buckets = ",".join(map(str, one._kwargs.get("buckets", ())))
            yield f"{one._name} | {one._type} | {','.join(one._labelnames)} | {buckets}"


def _wire_names() -> Iterator[str]:
    yield f"dead letters | {routes.DEAD_LETTERS}"
    settings = Settings(app_id="APP", topic_prefix="PREFIX.")
    for source, (output, table) in routes.ROUTES.items():
        yield f"{source} | {output} | {table}"
        yield " | ".join((settings.topic(source), settings.topic(output), settings.changelog(table)))


def _record_fields() -> Iterator[str]:
    for struct in (records.SignalSample, records.CastingSample, records.Prediction, records.Score):
        for number, field in enumerate(msgspec.structs.fields(struct)):
            optional = "required" if field.required else f"default {field.default!r}"
            yield f"{struct.__name__} | {number:02} {field.encode_name} | {optional}"


def _reasons() -> Iterator[str]:
    yield from (f"dead letter | {reason}" for reason in records.REASONS)
    yield from (f"reset | {reason}" for reason in RESETS)
    yield from (f"outcome | {outcome}" for outcome in metrics.OUTCOMES)
    yield from (f"score without probability | {reason}" for reason in (records.TOO_SHORT, records.NOT_FINITE))


def _errors(error: type[Exception]) -> Iterator[str]:
    yield " > ".join(base.__name__ for base in reversed(error.__mro__[:-3]))
    for narrower in error.__subclasses__():
        if narrower.__module__ == "core.errors":
            yield from _errors(narrower)


def _state(**changes: object) -> StreamState:
    state = StreamState()
    state.offset, state.append_ms, state.step, state.timestamp_ms = 77, 1_700_000_000_123, 12, 1_700_000_000_000
    state.sequence, state.sample = "now é", (1.5, -2.0, 3.25, 0.0, 1e6)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def _stored_states() -> Iterator[str]:
    """Bytes of stored states, made here: a worker of before must read them, and one of now those of before."""
    yield f"plain version | {PLAIN_VERSION}"
    yield f"plain | {pack_state(_state(), MODEL, b'body').hex()}"
    yield f"previous, closed | {pack_state(_state(previous='before', closed=True), MODEL).hex()}"
    yield f"gap | {pack_state(_state(gap_first=3, gap_end=7), MODEL).hex()}"
    yield f"step back | {pack_state(_state(back_step=4, back_ms=1_700_000_000_200, back_offset=99), MODEL).hex()}"
    yield f"wide | {pack_state(_state(sample=(1.5, -2.0)), MODEL, b'body').hex()}"
    yield f"wide, step back | {pack_state(_state(sample=(1e7,) * 5, back_step=4, back_offset=99), MODEL).hex()}"
    window = CastWindow(WindowRules(segment=2))
    for step in range(3):
        window.open(100 + step)
        window.add(step, (float(step), 2.0, 3.0, 4.0, 5.0))
    head, *segments = pack_body(window), *map(pack_segment, window.segments)
    yield f"window | {head.hex()}"
    for segment, packed in zip(window.segments, segments, strict=True):
        yield f"segment | {segment_key(b'stream', segment.number).hex()} | {packed.hex()}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(surface(), indent=1, ensure_ascii=False) + "\n")
