"""A task that needs no Python, on the real broker: a declaration and a model file, and live outputs through crashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.feeds import Feed
from tests.pump import rounded, slow_pump, write_gru_pump, write_pump, write_scored_native_pump
from tests.worker import WorkerProcess

STREAMS, STEPS, ROUNDS = 6, 40, 3


def samples_of(stream: int) -> list[dict[str, Any]]:
    """What a pump sends: now and then without load."""
    random = np.random.default_rng(stream)
    found: list[dict[str, Any]] = []
    for step in range(STEPS * ROUNDS):
        sample: dict[str, Any] = {"vibration": random.normal(scale=1.5, size=2).round(3).tolist(), "step": step}
        if step == 0 or random.random() < 0.7:
            sample["load"] = round(float(random.uniform(0, 100)), 2)
        found.append(sample | {"timestamp_ms": 1_700_000_000_000 + step})
    return found


@pytest.mark.kafka
@pytest.mark.parametrize(
    "write", [write_pump, write_gru_pump, write_scored_native_pump], ids=["onnx", "a GRU's weights", "a forecaster"]
)
def test_a_declaration_and_a_model_file_give_live_outputs_through_crashes(
    make_settings: MakeSettings, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    settings = make_settings(tasks=f"signal,{write(tmp_path)}")
    pumps = [Feed(settings, f"pump-{i}", "pump-samples", "pump-outputs", i % 4) for i in range(STREAMS)]
    sent = [samples_of(stream) for stream in range(STREAMS)]
    with WorkerProcess(settings, tmp_path) as worker:
        for part in range(ROUNDS):
            worker.start()
            for pump, samples in zip(pumps, sent, strict=True):
                pump.send(*samples[part * STEPS : (part + 1) * STEPS])
            pumps[0].outputs((part + 1) * STEPS)  # of some a commit is still to come
            if part < ROUNDS - 1:
                worker.sigkill()
        drained(settings)
        assert worker.metric("caststream_records_total", task="pump", outcome="dead_letter") == 0
        assert worker.metric("caststream_held_fields_total", task="pump", field="load") > 0
        assert worker.metric("caststream_abnormal_total", task="pump", field="vibration") > 0
        assert worker.sigterm() == 0
    report = assert_consistent(settings)
    assert (report.outputs, report.states) == (STREAMS * STEPS * ROUNDS, STREAMS)

    for pump, samples in zip(pumps, sent, strict=True):
        slow = slow_pump(tmp_path)
        expected = [(step, slow.step(pump.name, sample)) for step, sample in enumerate(samples)]
        found = [(step, json.loads(each.value)) for step, each in enumerate(pump.outputs(len(samples)))]
        assert rounded(found) == rounded(expected)
