"""The third task by a model of the suite's own: each pump's outputs, in their order, against plain Python.

It forecasts, too, so a stream's state holds a forecast, running averages and two alarms with hysteresis.

Every good sample has an output, so the outputs say which samples were taken: no rule of records is needed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from stream_app.routes import routes
from stream_app.settings import Settings
from tests.broker import Received, consume_all
from tests.pump import OnnxSteps, SlowPump

TOLERANCE = 1e-5
ALARMS = {"alarm": ("score", (1.0, 0.5)), "unlikely": ("ratio", (1.0, 0.25))}
"""What each is made of, and where it may change."""
NUMBERS = ("score", "expected", "surprise", "ratio")
FEWEST = 20


def pump_problems(settings: Settings) -> list[str]:
    """Return what is wrong with the outputs of the task `pump`."""
    route = routes(settings)["pump"]
    samples = {(each.partition, each.offset): _read(each) for each in consume_all(settings, route.source)}
    streams: dict[Any, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for each in consume_all(settings, route.output):
        at = each.partition, int(each.header("source-offset") or -1)
        streams[each.partition, each.key].append((samples[at] or {}, _read(each) or {}))
    model, holds = Path(route.declaration.model.file).read_bytes(), settings.gap_policy == "hold"
    problems = [problem for outputs in streams.values() for problem in problems_of_stream(model, holds, outputs)]
    tried = sum(output["score"] is not None for outputs in streams.values() for _, output in outputs)
    return problems if tried >= FEWEST else [f"{tried} scores of pumps: nothing was tried", *problems]


def _read(record: Received) -> dict[str, Any] | None:
    """A record's fields; None where it is no map, which no output can be of."""
    packed = record.header("content-type") == b"application/msgpack"
    try:
        found: Any = (msgspec.msgpack if packed else msgspec.json).decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def problems_of_stream(model: bytes, holds: bool, outputs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """Return what is wrong with the outputs of one stream, each with its sample; ``holds``: by policy `hold`."""
    problems: list[str] = []
    pump, before = SlowPump(model, scored=True), {}
    for place, (sample, output) in enumerate(outputs):
        if output["score"] is None:  # it began, or began again: there is no forecast
            pump.begin_again(OnnxSteps(model))
        elif not place:
            problems.append(f"{output['stream']}: its first output has a score, and there is no forecast before it")
        told = {"step": output["step"], "timestamp_ms": output["timestamp_ms"]}
        for _ in range(output.get("gap", 0) if holds and output["score"] is not None else 0):
            pump.step(output["stream"], before | told)
        expected = pump.step(output["stream"], sample | told)
        problems += _differences(output, expected)
        before = sample
    return problems


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    numbers = [(found[name], expected[name]) for name in NUMBERS]
    numbers += [(found["forecast"][name], value) for name, value in expected["forecast"].items()]
    wrong: list[tuple[Any, Any]] = [pair for pair in numbers if not _same(*pair)]
    words = [name for name, (of, limits) in ALARMS.items() if not _is_near(found[of], limits)]
    wrong += [(found[name], expected[name]) for name in (*words, "leading") if found[name] != expected[name]]
    return [f"{found['stream']} step {found['step']}: {got}, by the suite's own model {want}" for got, want in wrong]


def _is_near(score: float | None, limits: tuple[float, float]) -> bool:
    return score is not None and any(math.isclose(score, limit, abs_tol=TOLERANCE) for limit in limits)


def _same(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
