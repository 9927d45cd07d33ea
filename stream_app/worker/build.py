"""Builds a worker's application: models, rules, topics and tables from the settings."""

from __future__ import annotations

import time
from typing import Any

from core.engines.base import Engine
from core.engines.infer import state_size
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.models.fingerprint import fingerprint
from stream_app.flow.idleness import PastPositions
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.tables import StateTable
from stream_app.kafka.chunks import ChunkSchema
from stream_app.routes import CASTING_WINDOWS, SIGNAL_STATES, Route, routes
from stream_app.rules import load_models, stream_rules, window_rules
from stream_app.settings import Settings
from stream_app.sizes import state_bytes, window_bytes
from stream_app.worker.app import CaststreamApp
from stream_app.worker.recovery import TableManager

CHUNK_RECORDS = 4000
# Messages are chunks here: a queue of eight holds 32,000 records at most.
CHUNKS_WAITING = 8


def build_app(settings: Settings) -> CaststreamApp:
    """The application with both paths, models loaded; nothing is connected yet.

    Raises:
        StartupError: a checkpoint is missing or of another kind.
    """
    app = CaststreamApp(
        settings,
        broker=f"caststream://{settings.broker.split(',')[0]}",
        store="memory://",
        TableManager=TableManager,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_buffer_maxsize=CHUNKS_WAITING,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        broker_max_poll_records=CHUNK_RECORDS,
        broker_session_timeout=settings.session_timeout,
        # Commits are ours; Faust's own timer and its watchdogs, which go by acked messages, have nothing to do.
        broker_commit_interval=86_400.0,
        stream_processing_timeout=86_400.0,
        processing_guarantee="at_least_once",
    )
    rules, windows, models = stream_rules(settings), window_rules(settings), load_models(settings)
    for kind, model in models._asdict().items():
        app.metrics.model_info.labels(kind, fingerprint(model)).set(1)
    both = routes(settings)
    table = _table(app, SIGNAL_STATES)
    stepper = SignalStepper(models.signal, rules, table.states, settings.output_format, time.perf_counter)
    _add(app, both["signal"], table, stepper, state_bytes(state_size(models.signal)))
    table = _table(app, CASTING_WINDOWS)
    scorer = CastScorer(
        models.defect, rules, windows, table.states, settings.output_format, time.perf_counter, deferred=True
    )
    _add(app, both["casting"], table, scorer, window_bytes(settings.window_length))
    app.metrics.ready.set_function(lambda: float(app.serves))
    return app


def _table(app: CaststreamApp, name: str) -> StateTable:
    settings = app.settings
    topic = app.topic(
        settings.changelog(name),
        key_type=bytes,
        value_type=bytes,
        partitions=settings.partitions,
        internal=False,
    )
    table = StateTable(app, name=name, changelog_topic=topic, partitions=settings.partitions)
    app.tables.add(table)
    return table


def _add(app: CaststreamApp, route: Route, table: StateTable, engine: Engine[Any], state_bytes: int) -> None:
    settings = app.settings
    headers = [("content-type", b"application/msgpack")] if settings.output_format == "msgpack" else []
    past = PastPositions(settings.idle_timeout)
    app.metrics.expect(route.source)
    app.pipelines.append(
        Pipeline(
            route,
            table.name,
            engine,
            table.states,
            app.writer,
            app.metrics,
            settings.app_id,
            past,
            headers,
            state_bytes,
        )
    )


def chunk_topic(app: CaststreamApp, name: str) -> Any:
    """A source topic whose events are chunks."""
    return app.topic(app.settings.topic(name), schema=ChunkSchema(), internal=False)
