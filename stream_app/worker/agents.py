"""The agents: each takes its topic's chunks and hands them to the pipeline, one synchronous call per chunk."""

from __future__ import annotations

import asyncio
from typing import Any

from stream_app.kafka.chunks import pieces
from stream_app.routes import CASTING_SAMPLES, SIGNAL_SAMPLES
from stream_app.worker.app import CaststreamApp
from stream_app.worker.build import chunk_topic

# Casting samples are taken one by one, some 15 µs each: signals get a turn after so many.
CASTING_RECORDS = 200


def add_agents(app: CaststreamApp) -> None:
    """Attach both agents; they take `noack` events, as `stream_app.flow.commits` commits the offsets."""
    signals, castings = app.pipelines

    @app.agent(chunk_topic(app, SIGNAL_SAMPLES), name="step_signals")
    async def step_signals(chunks: Any) -> None:
        """signal-samples -> signal-predictions. One LSTM step per sample; hidden state in ``signal-states``."""
        async for chunk in chunks.noack().events():
            await app.turn(signals, chunk.value)
            app.apply(signals, chunk.value)

    @app.agent(chunk_topic(app, CASTING_SAMPLES), name="score_castings")
    async def score_castings(chunks: Any) -> None:
        """casting-samples -> casting-scores. Windows scored when due; their samples in ``casting-windows``."""
        async for chunk in chunks.noack().events():
            for piece in pieces(chunk.value, CASTING_RECORDS):
                await castings.scores.room()
                await app.turn(castings, piece)
                app.apply(castings, piece)
                await asyncio.sleep(0)
