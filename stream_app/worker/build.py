"""Builds a worker's application: for each task of the settings a table, an engine and a pipeline."""

from __future__ import annotations

from stream_app.flow.idleness import PastPositions
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.tables import StateTable
from stream_app.kafka.assignor import LoudAssignor
from stream_app.routes import Route, routes
from stream_app.rules import idle_timeout, model_name
from stream_app.settings import Settings
from stream_app.worker.app import CaststreamApp
from stream_app.worker.engines import make_engine
from stream_app.worker.recovery import TableManager

CHUNK_RECORDS = 4000
# Messages are chunks here: a queue of eight holds 32,000 records at most.
CHUNKS_WAITING = 8


def build_app(settings: Settings) -> CaststreamApp:
    """The application with all tasks, models loaded; nothing is connected yet.

    Raises:
        StartupError: a task cannot be used, or its weights are missing or of another kind.
    """
    app = CaststreamApp(
        settings,
        broker=f"caststream://{settings.broker.split(',')[0]}",
        store="memory://",
        TableManager=TableManager,
        PartitionAssignor=LoudAssignor,
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
    for route in routes(settings).values():
        _add(app, route)
    app.metrics.ready.set_function(lambda: float(app.serves))
    return app


def _add(app: CaststreamApp, route: Route) -> None:
    """Add the table, the engine and the pipeline of a task."""
    settings, task = app.settings, route.declaration
    table = _table(app, route)
    made = make_engine(settings, task, table.states)
    pipeline = Pipeline(
        route,
        table.name,
        made.engine,
        table.states,
        app.writer,
        app.metrics,
        settings.app_id,
        PastPositions(idle_timeout(settings, task)),
        [("content-type", b"application/msgpack")] if settings.output_format == "msgpack" else [],
        made.state_bytes,
    )
    pipeline.shown.show_model(model_name(task), made.fingerprint)
    app.pipelines.append(pipeline)


def _table(app: CaststreamApp, route: Route) -> StateTable:
    partitions = app.settings.partitions
    topic = app.topic(route.changelog, key_type=bytes, value_type=bytes, partitions=partitions, internal=False)
    name = route.declaration.topics.table
    table = StateTable(app, name=name, changelog_topic=topic, partitions=partitions)
    app.tables.add(table)
    return table
