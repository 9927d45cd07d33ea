"""The fault suite's own model of its third task agrees with the engine, and finds what is wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.engines.declared.stepper import StepModel
from core.engines.results import StreamRules
from core.engines.steps import StepEngine
from core.native.records import Record
from core.tasks.reading import read_declaration
from tests.faults.pumps import problems_of_stream
from tests.faults.streams import Habits, PumpStream
from tests.pump import write_scored_pump
from tests.strategies import MemoryTable

RECORDS = 400


def played(folder: Path, policy: Any) -> tuple[bytes, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """The model, and each output of one stream of the suite's with its sample."""
    task = read_declaration(write_scored_pump(folder))
    model = task.model.file.read_bytes()
    opened = StepModel(task, model, "any")
    engine = StepEngine(opened.task, opened.states(), StreamRules(policy), MemoryTable().recovered())
    stream = iter(PumpStream(1, 1, "seed", Habits(restart=0.02, gap=0.03)))
    drawn = random.Random(1)
    sent = [each for each in (next(stream) for _ in range(RECORDS)) if each.topic]
    records = [Record(0, at, 1_000 + at, each.key, each.value, list(each.headers)) for at, each in enumerate(sent)]
    found, rest = [], records
    while rest:
        size = drawn.randint(1, 30)
        found += [row for rows in engine.run(rest[:size]).outputs.values() for row in rows]
        rest = rest[size:]
    samples = {each.offset: _read(each.value or b"", bool(each.headers)) for each in records}
    return model, [(samples[offset], msgspec.json.decode(value)) for _, value, offset, _ in found]


def _read(value: bytes, packed: bool) -> Any:
    try:
        return (msgspec.msgpack if packed else msgspec.json).decode(value)
    except msgspec.DecodeError:
        return None


@pytest.mark.parametrize("policy", ["step", "hold", "reset"])
def test_the_suite_s_own_model_agrees_with_the_engine_and_finds_another_output(tmp_path: Path, policy: str) -> None:
    model, outputs = played(tmp_path, policy)
    holds = policy == "hold"
    assert len(outputs) > RECORDS / 2
    assert any(output.get("gap") for _, output in outputs)

    assert problems_of_stream(model, holds, outputs) == []

    middle = len(outputs) // 2
    right = outputs[middle][1]
    others = {name: not right[name] for name in ("alarm", "unlikely")} | dict.fromkeys(
        ("score", "ratio", "expected"), 77.0
    )
    for place, change in ((middle, {name: value}) for name, value in (others | {"leading": "load"}).items()):
        altered = [(each, output | change if at == place else output) for at, (each, output) in enumerate(outputs)]
        assert problems_of_stream(model, holds, altered)
    assert problems_of_stream(model, holds, outputs[:middle] + outputs[middle + 1 :]), "one is missing"
