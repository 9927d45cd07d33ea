"""The fingerprint names a model in every output: equal for equal models, another for any change that shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import ModelFactory, SignalExtractionLSTM, SteelDefectLSTM
from core.models.fingerprint import AnyModel, fingerprint


def signal() -> SignalExtractionLSTM:
    torch.manual_seed(1)
    return SignalExtractionLSTM(hidden_size=4, num_layers=1)


def defect(**architecture: Any) -> SteelDefectLSTM:
    torch.manual_seed(1)
    return SteelDefectLSTM({"architecture": {"hidden_size": 4, "num_layers": 1, **architecture}})


def test_it_is_the_hash_that_the_wire_contract_describes() -> None:
    model = signal()
    digest = hashlib.sha256(
        b'{"architecture":{"hidden_size":4,"input_size":5,"model":"SignalExtractionLSTM","num_layers":1},'
        b'"calibration":null,"input_statistics":null}'
    )
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(json.dumps([name, list(tensor.shape)], separators=(",", ":")).encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())

    assert digest.hexdigest()[:12] == fingerprint(model)


@pytest.mark.parametrize("make", [signal, defect])
def test_it_is_equal_after_saving_and_loading(make: Callable[[], AnyModel], tmp_path: Path) -> None:
    model = make()
    model.calibration = {"a": 1, "b": np.float32(0.1)}  # an int and a numpy scalar load as plain floats
    model.input_statistics = {"mean": np.arange(5), "std": [1, 2, 3, 4, np.float64(0.3)]}

    ModelFactory.save_checkpoint(model, tmp_path / "model.pt")

    found = fingerprint(ModelFactory.create_from_checkpoint(tmp_path / "model.pt"))
    assert fingerprint(model) == found
    assert re.fullmatch("[0-9a-f]{12}", found)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.classifier[0].weight.data[0, 0].add_(1e-3),
        lambda m: m.input_norm.running_mean[0].add_(1e-3),
        lambda m: setattr(m, "calibration", {"a": 1.0, "b": 0.0}),
        lambda m: setattr(m, "input_statistics", {"mean": [0.0] * 5, "std": [1.0] * 5}),
    ],
)
def test_what_moves_a_prediction_changes_it(change: Callable[[SteelDefectLSTM], Any]) -> None:
    changed = defect()
    change(changed)

    assert fingerprint(defect()) != fingerprint(changed)


def test_equal_weights_read_out_otherwise_have_another_one() -> None:
    prints = {fingerprint(defect(readout=readout)) for readout in ("last", "ends", "attention")}

    assert len(prints) == 3


def test_dropout_and_mode_do_not_change_it() -> None:
    assert fingerprint(defect()) == fingerprint(defect(dropout=0.5).eval())
