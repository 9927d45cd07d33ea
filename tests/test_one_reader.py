"""Whoever reads a task's samples takes the same ones: the worker, a sender, dead letters that are resent, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.audit.scope import Scope
from core.errors import RecordError
from core.native.records import Record
from core.tasks.declaration import Declaration
from replay.lines import LineParser
from stream_app.letters.dead_letters import sample_decoders
from stream_app.routes import route_of
from stream_app.settings import Settings, load_settings
from stream_app.verify.audits import audit_makers
from stream_app.worker.engines import make_engine
from tests.own_tasks import LIKE_CASTING, LIKE_SIGNAL, OTHER, write_task
from tests.strategies import MemoryTable

START_MS = 1_700_000_000_000
KEY = b"one"
FILES = {"press": LIKE_SIGNAL, "mill": LIKE_CASTING, "pump": OTHER}
"""Tasks of a user's own: a step model's weights, a window model's, and an ONNX model."""


@pytest.fixture(params=["signal", "casting", *FILES])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    name = request.param
    if name in FILES:
        if name == "pump":
            pytest.importorskip("onnxruntime")
            models = pytest.importorskip("tests.onnx_models")
            (tmp_path / "pump.onnx").write_bytes(models.gru())
        name = str(write_task(tmp_path, name, FILES[name], file="pump.onnx" if name == "pump" else None))
    return load_settings(tasks=name, data_dir=tmp_path)


def worker_takes(settings: Settings, task: Declaration, value: bytes) -> bool:
    engine = make_engine(settings, task, MemoryTable().recovered()).engine
    return not engine.run([Record(0, 0, START_MS, KEY, value)]).dead_letters


def sender_takes(settings: Settings, task: Declaration, value: bytes) -> bool:
    parser = LineParser(task, "one")
    try:
        return parser.parse(value) is not None
    except RecordError:
        return False


def resend_takes(settings: Settings, task: Declaration, value: bytes) -> bool:
    try:
        sample_decoders(settings)[route_of(settings, task).source](value, ())
    except RecordError:
        return False
    return True


def verify_takes(settings: Settings, task: Declaration, value: bytes) -> bool:
    audit = audit_makers(settings)[task.name](Scope(committed=9))
    audit.feed(0, START_MS, KEY, value, ())
    return audit.letter(0) is None


READERS: list[Callable[[Settings, Declaration, bytes], bool]] = [
    worker_takes,
    sender_takes,
    resend_takes,
    verify_takes,
]


def sample_of(task: Declaration) -> dict[str, Any]:
    return {field.name: 0.5 if field.length is None else [0.5] * field.length for field in task.fields}


def test_truth_values_are_numbers_of_every_task_but_the_two_that_ship_and_every_reader_knows(
    settings: Settings,
) -> None:
    [task] = settings.declarations()
    field = task.fields[0]
    value = json.dumps(sample_of(task) | {field.name: True if field.length is None else [True] * field.length}).encode()

    found = {takes.__name__: takes(settings, task, value) for takes in READERS}

    assert found == {takes.__name__: task.name in FILES for takes in READERS}


@pytest.mark.parametrize("end", [True, False, None, "true"])
def test_every_reader_takes_the_same_ends(settings: Settings, end: Any) -> None:
    [task] = settings.declarations()
    value = json.dumps(sample_of(task) | {"end": end}).encode()

    found = {takes.__name__: takes(settings, task, value) for takes in READERS}

    assert len({*found.values()}) == 1, found
    assert found["worker_takes"] or end == "true"
