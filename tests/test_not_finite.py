"""A model that is finite and overflows: its outputs are null on the wire, counted, told once, and read by all."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
import torch

from core.engines.results import StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.wire.records import Prediction, Score, decode_prediction, decode_score, published
from stream_app.cli.output_lines import prediction_line, score_line
from tests.strategies import FakeRecord, MemoryTable, casting_value, defect_model, signal_model, signal_value


def overflowing(model: Any, layer: str) -> Any:
    """The same with an output layer whose sum has no float32."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        head = model.get_submodule(layer)
        head.weight.fill_(3e38)
        head.bias.fill_(3e38)
    return model


def fields(result: Any, output_format: str) -> list[dict[str, Any]]:
    """The outputs of a result, read as any consumer does."""
    read = json.loads if output_format == "json" else msgspec.msgpack.decode
    return [read(value) for rows in result.outputs.values() for _, value, _, _ in rows]


def run(engine: Any, values: list[bytes], first: int = 0) -> Any:
    return engine.run([FakeRecord(0, first + i, 1_000 + i, b"s", value) for i, value in enumerate(values)])


@pytest.mark.parametrize("output_format", ["json", "msgpack"])
def test_predictions_are_null_counted_and_told_once(output_format: str) -> None:
    model = signal_model()
    model = overflowing(model, "fc")
    with torch.no_grad():
        model.fc.weight.fill_(0.0)  # 0 * h + a bias that is finite: sound, until the weights are large
    sound = SignalStepper(model, StreamRules(), MemoryTable().recovered(), output_format)
    values = [signal_value((1000.0, 1.0, 0.0, 0.0, 0.0), step=step) for step in range(3)]
    assert run(sound, values).counts.not_finite == 0
    with torch.no_grad():
        model.lstm.bias_ih_l1.fill_(50.0)  # h is near 1 in all units
        model.fc.weight.fill_(3e38)
    broken = SignalStepper(model, StreamRules(), MemoryTable().recovered(), output_format)

    result, again = run(broken, values), run(broken, [signal_value((0.0, 1.0, 0.0, 0.0, 0.0), step=3)], first=3)

    found = [output["prediction"] for output in fields(result, output_format)]
    assert found == [None] * 3
    assert (result.counts.not_finite, again.counts.not_finite) == (3, 1)
    assert result.notes[0].startswith("the prediction of stream 's' at step 0 is not finite and is published as null")
    assert (len(result.notes), again.notes) == (1, [])


@pytest.mark.parametrize("output_format", ["json", "msgpack"])
def test_scores_are_null_with_a_reason(output_format: str) -> None:
    model = copy.deepcopy(defect_model())
    model.calibration = {"a": 0.0, "b": 0.0}  # 0 times an infinite logit is no number
    with torch.no_grad():
        for layer in (model.classifier[0], model.classifier[3]):
            layer.weight.fill_(3e38)
            layer.bias.fill_(3e38)
    rules = WindowRules(window_length=4, window_min=2, hop=2)
    scorer = CastScorer(model, StreamRules(), rules, MemoryTable().recovered(), output_format)

    result = run(scorer, [casting_value((1.2, 1520.0, 150.0, 200.0, 25.0), step=step) for step in range(4)])

    scores = fields(result, output_format)
    assert [(s["probability"], s["attention_peak"], s["reason"]) for s in scores] == [(None, None, "not_finite")] * 2
    assert result.counts.not_finite == 2
    assert result.counts.probabilities == []  # a histogram's sum would be NaN for ever
    assert [note.split(" of ")[0] for note in result.notes] == ["the probability"]


def test_every_reader_takes_null() -> None:
    prediction = Prediction("s", "q", 3, 1_700_000_000_017, None, "0123456789ab")
    score = Score(
        "s", "q", 3, 0, 4, 1_700_000_000_017, *published(float("nan"), 0)[:2], True, "0123456789ab", "not_finite"
    )

    packed = [("content-type", b"application/msgpack")]
    for output, decode in ((prediction, decode_prediction), (score, decode_score)):
        assert decode(msgspec.json.encode(output)) == decode(msgspec.msgpack.encode(output), packed) == output
        assert json.loads(msgspec.json.encode(output))["stream"] == "s"
    assert prediction_line(prediction).endswith("step 3  no prediction: not_finite")
    assert score_line(score).endswith("no probability: not_finite  final")
