"""Models that were not made for caststream, on the real broker: live through a crash, every output as offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from core.arrays import Float32s
from stream_app.settings import Settings
from tests.broker import consume_until, wait_until
from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.strangers import Example, Outputs, made, numbers_of
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

PATIENCE_S = 120.0
WINDOWS = [(49, False), (74, False), (99, True)]
"""Step, and whether it is the final one, of the outputs of a sequence of 100 samples: `first` 50, `hop` 25."""


def play(example: Example, make_settings: MakeSettings, folder: Path) -> Outputs:
    """Send all recordings to a worker that is killed in the middle; what it published, each output once."""
    # Commits are rare: at the crash there are outputs whose states are not committed, and states that are.
    settings = make_settings(tasks=str(example.task), commit_interval=2.0)
    third = example.steps // 3
    with WorkerProcess(settings, folder) as worker:
        worker.start()
        example.send(settings, range(third))
        drained(settings, PATIENCE_S)
        before = worker.metric("caststream_records_total")
        example.send(settings, range(third, 2 * third))
        wait_until(lambda: worker.metric("caststream_records_total") > before, PATIENCE_S, "records after the commit")
        worker.sigkill()
        worker.start()
        example.send(settings, range(2 * third, example.steps))
        drained(settings, PATIENCE_S)
        assert worker.metric("caststream_records_total", task=example.declaration.name, outcome="dead_letter") == 0
        assert worker.sigterm() == 0
    found = published(example, settings)
    assert_consistent(settings)
    assert_as_predicted(example, found)
    return found


def assert_as_predicted(example: Example, found: Outputs) -> None:
    """Every output is that of `caststream predict` in each bit; the time and the sequence's name are the sender's."""
    names = [*(output.name for output in example.declaration.outputs), "model"]
    offline: Outputs = {name: [] for name in found}
    for output in example.predicted():
        offline[output["stream"]].append(output)
    for name, outputs in found.items():
        pairs = zip(outputs, offline[name], strict=True)
        assert all(
            live["step"] == line["step"] and {at: live[at] for at in names} == {at: line[at] for at in names}
            for live, line in pairs
        )


def published(example: Example, settings: Settings) -> Outputs:
    """All outputs; one that was published twice, before and after the crash, is the same both times."""
    due = [(step, False) for step in range(example.steps)] if example.declaration.window is None else WINDOWS
    found: dict[str, dict[tuple[int, bool], dict[str, Any]]] = {name: {} for name in example.streams}

    def complete(records: list[Any]) -> bool:
        for output in (record.json for record in records):
            key = output["step"], output.get("final", False)
            assert found[output["stream"]].setdefault(key, output) == output
        return sum(map(len, found.values())) >= len(example.streams) * len(due)

    consume_until(settings, settings.topic(example.declaration.topics.output), complete, PATIENCE_S)
    assert all(sorted(outputs) == due for outputs in found.values())
    return {name: [outputs[key] for key in due] for name, outputs in found.items()}


def by_onnx_runtime(example: Example, rows: Float32s, output: str, state: str, **constants: Any) -> Float32s:
    """A model over all streams (streams, steps, numbers), by ONNX Runtime's own session: a step of all at a time."""
    session = onnxruntime.InferenceSession(example.declaration.model.file, providers=["CPUExecutionProvider"])
    shape = next(each.shape for each in session.get_inputs() if each.name == state)
    after = example.declaration.model.states[state]
    carried = np.zeros([size if isinstance(size, int) else len(rows) for size in shape], np.float32)
    found = []
    for step in range(rows.shape[1]):
        given = {example.declaration.model.input: rows[:, step], state: carried, **constants}
        numbers, carried = session.run([output, after], given)
        found.append(numbers.reshape(len(rows), -1))
    return np.stack(found, axis=1)


def test_a_gru_of_twelve_channels_forecasts_live_as_offline_and_alarms_where_a_bearing_breaks(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    example = made("pump", tmp_path)
    rows = np.stack([fields["vibration"] for fields in example.streams.values()])
    expected = by_onnx_runtime(example, rows[:, :, None], "y", "h0")

    found = play(example, make_settings, tmp_path)

    for wanted, seen, outputs in zip(expected, rows, found.values(), strict=True):
        np.testing.assert_array_equal(numbers_of(outputs, "forecast"), wanted)
        apart = np.sqrt(np.square(wanted[:-1].astype(np.float64) - seen[1:, :3]).mean(axis=1))
        np.testing.assert_allclose(numbers_of(outputs[1:], "score")[:, 0], apart, rtol=1e-6)
    alarms = {name for name, outputs in found.items() if any(each["alarm"] for each in outputs)}
    assert alarms == {"pump-18", "pump-19"}


def test_a_public_model_of_speech_hears_two_hundred_microphones_live_as_offline(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    example = made("speech", tmp_path)
    audio = np.stack([fields["audio"] for fields in example.streams.values()])
    before = np.concatenate([np.zeros_like(audio[:, :1, -64:]), audio[:, :-1, -64:]], axis=1)
    rows = np.concatenate([before, audio], axis=2)
    expected = by_onnx_runtime(example, rows, "output", "state", sr=np.array(16_000))

    found = play(example, make_settings, tmp_path)

    assert len(found) == 200
    for wanted, outputs in zip(expected, found.values(), strict=True):
        np.testing.assert_array_equal(numbers_of(outputs, "speech"), wanted)
    speaking = np.mean([each["speaking"] for outputs in found.values() for each in outputs])
    assert 0.2 < speaking < 0.9


def test_a_classifier_of_windows_tells_four_activities_apart_live_as_offline(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    example = made("motions", tmp_path)
    session = onnxruntime.InferenceSession(example.declaration.model.file, providers=["CPUExecutionProvider"])

    found = play(example, make_settings, tmp_path)

    right = 0
    for name, outputs in found.items():
        fields = example.streams[name]
        rows = np.concatenate([fields["acceleration"], fields["rotation"]], axis=1)
        for (step, _), output in zip(WINDOWS, outputs, strict=True):
            [logits] = session.run(["logits"], {"x": rows[None, : step + 1]})
            powers = np.exp(logits[0].astype(np.float64))
            np.testing.assert_allclose([*output["probability"].values()], powers / powers.sum(), rtol=0, atol=1e-6)
            assert output["activity"] == [*output["probability"]][int(logits.argmax())]
        right += outputs[-1]["activity"] == name.partition("-")[0]
    assert right >= 36  # of the 40 test cases
