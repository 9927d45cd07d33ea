"""A window task that needs no Python, on the real broker: live outputs through crashes, equal to plain Python's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.engines.results import WindowRules
from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.feeds import Feed
from tests.motion import NONE, assert_same, model_of, window_outputs, write_motion
from tests.worker import WorkerProcess

WINDOW = WindowRules(window_length=30, window_min=10, hop=5)
STREAMS, STEPS, STORED_AT, CRASH_AT = 5, 57, 17, 33
SHORT = 4  # steps of the sequence after


def samples_of(stream: int) -> list[dict[str, Any]]:
    """Steps of one sequence, now and then without load, and of a second one that is too short."""
    random = np.random.default_rng(stream)
    found: list[dict[str, Any]] = []
    for place in range(STEPS + SHORT):
        again = place >= STEPS
        step = place - STEPS if again else place
        sample = {
            "sequence": "b" if again else "a",
            "step": step,
            "timestamp_ms": 1_700_000_000_000 + place,
            "acceleration": random.normal(scale=1.5, size=3).round(3).tolist(),
            "rotation": random.normal(size=2).round(3).tolist(),
        }
        if step == 0 or random.random() < 0.7:
            sample["load"] = round(float(random.uniform(-100, 100)), 2)
        found.append(sample)
    found[-1]["end"] = True
    return found


def expected_of(path: Path, name: str, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs of a stream, from all of its samples."""
    found, kept, load, held = [], [], 0.0, samples[0]

    def score(final: bool) -> None:
        window, enough = kept[-WINDOW.window_length :], len(kept) >= WINDOW.window_min
        steps = [int(step) for step, _ in window]
        output = {"stream": name, "sequence": held["sequence"], "step": held["step"], "start": steps[0]}
        output |= {"length": len(window), "timestamp_ms": held["timestamp_ms"]}
        output |= window_outputs(path, [numbers for _, numbers in window], steps) if enough else NONE
        output |= {"final": final, "model": model_of(path).fingerprint}
        found.append(output if enough else output | {"reason": "too_short"})

    for sample in samples:
        if sample["sequence"] != held["sequence"]:
            score(final=True)
            kept = []
        load, held = sample.get("load", load), sample
        kept.append((sample["step"], [*sample["acceleration"], *sample["rotation"], load]))
        if sample.get("end"):
            score(final=True)
        elif len(kept) >= WINDOW.window_min and (len(kept) - WINDOW.window_min) % WINDOW.hop == 0:
            score(final=False)
    return found


@pytest.mark.kafka
def test_windows_of_a_declared_task_are_scored_live_through_a_crash(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    path = write_motion(tmp_path, WINDOW)
    settings = make_settings(tasks=str(path))
    streams = [Feed(settings, f"wrist-{i}", "motion-samples", "motion-outputs", i % 4) for i in range(STREAMS)]
    sent = [samples_of(stream) for stream in range(STREAMS)]
    expected = [expected_of(path, stream.name, samples) for stream, samples in zip(streams, sent, strict=True)]
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        for stream, samples in zip(streams, sent, strict=True):
            stream.send(*samples[:STORED_AT])
        drained(settings)
        for stream, samples in zip(streams, sent, strict=True):
            stream.send(*samples[STORED_AT:CRASH_AT])
        streams[0].outputs(5)  # their commit may be still to come
        worker.sigkill()
        worker.start()
        for stream, samples in zip(streams, sent, strict=True):
            stream.send(*samples[CRASH_AT:])
        drained(settings)
        assert worker.metric("caststream_records_total", task="motion", outcome="dead_letter") == 0
        assert worker.metric("caststream_held_fields_total", task="motion", field="load") > 0
        assert worker.metric("caststream_abnormal_total", task="motion", field="acceleration") > 0
        assert worker.metric("caststream_scores_total", task="motion", final="true") > 0
        assert worker.sigterm() == 0
    assert assert_consistent(settings).outputs == sum(map(len, expected))

    for stream, outputs in zip(streams, expected, strict=True):
        found = [json.loads(each.value) for each in stream.outputs(len(outputs))]
        assert len(found) == len(outputs)
        for one, other in zip(found, outputs, strict=True):
            assert_same(one, other)
