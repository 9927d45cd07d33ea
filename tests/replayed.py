"""A replay of a file through an engine: the outputs that a worker would publish."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.engines.base import Engine
from core.engines.results import StateStore, StreamRules
from core.native.records import Record
from core.tasks.declaration import Declaration
from replay.run import replay
from tests.clock import HandClock
from tests.sinks import MemorySink
from tests.strategies import MemoryTable

START_MS = 1_700_000_000_000


def outputs_of_a_replay(
    path: Path, task: Declaration, engine: Callable[[StreamRules, StateStore], Engine[Any]], **options: Any
) -> list[bytes]:
    """The values that the worker publishes for the records of a replay.

    Args:
        engine: makes the task's engine.
        options: of the replay.
    """
    sink = MemorySink()
    given: dict[str, Any] = {"client_config": {}, "topic_signal": "", "topic_casting": "", "topic": "t"}
    given |= {"data_dir": path.parent / "data", "speed": math.inf, "clock": HandClock()}
    replay(path, task=task, sink=sink, run="r", start_ms=START_MS, **given, **options)
    records = [Record(0, offset, START_MS, *pair) for offset, pair in enumerate(sink.records)]
    result = engine(StreamRules(), MemoryTable().recovered()).run(records)
    assert not result.dead_letters
    return [value for _, value, _, _ in result.outputs[0]]
