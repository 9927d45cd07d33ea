"""Streams whose records were deleted before they were read must say so: the next output has the `gap`."""

from __future__ import annotations

from collections import defaultdict

from core.wire.records import Prediction, decode_prediction
from stream_app.routes import SIGNAL_PREDICTIONS
from stream_app.settings import Settings
from tests.broker import Received, consume_all


def gap_problems(settings: Settings, partition: int, begin: int, end: int) -> list[str]:
    """What is wrong with the outputs on both sides of ``[begin, end)``, the records that are gone."""
    problems, tried = [], 0
    for stream, outputs in _by_stream(settings, partition).items():
        before = [output for offset, output in outputs if offset < begin]
        after = [output for offset, output in outputs if offset >= end]
        if not (before and after) or before[-1].sequence != after[0].sequence or after[0].step <= before[-1].step:
            continue
        expected = after[0].step - before[-1].step - 1
        tried += expected > 0
        if after[0].gap != expected:
            problems.append(f"{stream} step {after[0].step}: gap is {after[0].gap}, and {expected} steps are missing")
    return problems if tried else ["no stream has a gap where its records were deleted: nothing was tried"]


def _by_stream(settings: Settings, partition: int) -> dict[str, list[tuple[int, Prediction]]]:
    found = defaultdict(list)
    for record in consume_all(settings, settings.topic(SIGNAL_PREDICTIONS)):
        if record.partition == partition:
            prediction = decode_prediction(record.value, record.headers)
            found[prediction.stream].append((_source_offset(record), prediction))
    return found


def _source_offset(record: Received) -> int:
    return int(record.header("source-offset") or -1)
