"""The agents: each takes its topic's chunks and hands them to the pipeline, one synchronous call per chunk.

A small chunk that finds its agent waiting is applied without it (`stream_app.kafka.inlet`).

`stream_app.flow.commits` commits the offsets: agents acknowledge nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from stream_app.flow.pipeline import Pipeline
from stream_app.kafka.chunks import pieces
from stream_app.worker.app import CaststreamApp

# Samples of windows are taken one by one, some 15 µs each: the other tasks get a turn after so many.
WINDOW_RECORDS = 200
NAMES = {"signal": "step_signals", "casting": "score_castings"}
"""The agents that are older than declarations, by their tasks."""


def add_agents(app: CaststreamApp) -> None:
    """Attach the agent of each task."""
    for pipeline in app.pipelines:
        (_add_scorer if pipeline.topics.kind == "window" else _add_stepper)(app, pipeline)


def _add_stepper(app: CaststreamApp, pipeline: Pipeline) -> None:
    inlet = app.open_inlet(pipeline)

    @app.agent(app.topic(pipeline.topics.source, internal=False), name=_name("step", pipeline))
    async def step(chunks: Any) -> None:
        """source -> output. One step of the model per sample; its state in the task's table."""
        async for chunk in inlet.chunks(chunks):
            await app.turn(pipeline, chunk)
            app.apply(pipeline, chunk)


def _add_scorer(app: CaststreamApp, pipeline: Pipeline) -> None:
    inlet = app.open_inlet(pipeline)

    @app.agent(app.topic(pipeline.topics.source, internal=False), name=_name("score", pipeline))
    async def score(chunks: Any) -> None:
        """source -> output. Windows scored when due; their samples in the task's table."""
        async for chunk in inlet.chunks(chunks):
            for piece in pieces(chunk, WINDOW_RECORDS):
                await pipeline.scores.room()
                await app.turn(pipeline, piece)
                app.apply(pipeline, piece)
                await asyncio.sleep(0)


def _name(verb: str, pipeline: Pipeline) -> str:
    task = pipeline.topics.task
    return NAMES.get(task, f"{verb}.{task}")
