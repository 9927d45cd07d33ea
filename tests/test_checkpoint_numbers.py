"""A model whose numbers are no numbers is refused when it is loaded, with the place of the first one."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import StartupError
from core.models.checkpoint import CheckpointError, read_checkpoint
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import ModelFactory, load_model
from core.models.shipped import ModelKind, checkpoint_path
from core.training.config import SignalSettings
from core.training.snapshot import last_path, load_last

KINDS: tuple[ModelKind, ...] = ("signal", "defect")


def changed(kind: ModelKind, path: Path, **changes: Any) -> Path:
    """The shipped checkpoint with other content, and no fingerprint that would tell."""
    content = copy.deepcopy(read_checkpoint(checkpoint_path(kind))) | changes
    del content["fingerprint"]
    torch.save(content, path)
    return path


def names(kind: ModelKind) -> list[str]:
    return list(read_checkpoint(checkpoint_path(kind))["model_state_dict"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in names(kind)])
def test_every_tensor_is_looked_at(tmp_path: Path, kind: ModelKind, name: str, value: float) -> None:
    weights = dict(read_checkpoint(checkpoint_path(kind))["model_state_dict"])
    weights[name] = weights[name].clone()
    weights[name].view(-1)[-1] = value
    place = [size - 1 for size in weights[name].shape]
    path = changed(kind, tmp_path / "m.pt", model_state_dict=weights)

    with pytest.raises(StartupError) as error:
        load_model(path, kind)
    assert str(error.value) == (
        f"Failed to load checkpoint: {path}: tensor '{name}' at {place} is {value:g}: must be finite in float32"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"input_statistics": {"mean": [0.0] * 5, "std": [1.0, 0.0, 1.0, 1.0, 1.0]}},
            r"std' at \[1\] is 0: must be",
        ),
        ({"input_statistics": {"mean": [0.0] * 5, "std": [1.0] * 4 + [-2.0]}}, r"std' at \[4\] is -2: must be above 0"),
        ({"input_statistics": {"mean": [0.0] * 5, "std": [1.0] * 4 + [1e-60]}}, r"std' at \[4\] is 1e-60: must be abo"),
        ({"input_statistics": {"mean": [math.nan] + [0.0] * 4, "std": [1.0] * 5}}, r"mean' at \[0\] is nan: must be f"),
        ({"input_statistics": {"mean": [1e60] + [0.0] * 4, "std": [1.0] * 5}}, r"mean' at \[0\] is 1e\+60: must be fi"),
        ({"calibration": {"a": math.inf, "b": 0.0}}, "calibration 'a' is inf: must be finite"),
        ({"calibration": {"a": 1.0, "b": math.nan}}, "calibration 'b' is nan: must be finite"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_and_calibration_are_looked_at(tmp_path: Path, kind: ModelKind, changes: dict, told: str) -> None:
    path = changed(kind, tmp_path / "m.pt", **changes)

    with pytest.raises(StartupError, match=told):
        load_model(path, kind)


@pytest.mark.parametrize("value", [math.nan, -1.0, 0.0])
@pytest.mark.parametrize("norm", ["input_norm", "lstm_batch_norm", "lstm_norm"])
def test_running_variances_must_be_above_0(tmp_path: Path, norm: str, value: float) -> None:
    model = SteelDefectLSTM({"architecture": {"hidden_size": 4}})
    weights: dict[str, Tensor] = model.state_dict()
    if norm == "lstm_norm":  # the name in older files
        weights = {name.replace("lstm_batch_norm", norm): tensor for name, tensor in weights.items()}
    weights[f"{norm}.running_var"][2] = value
    torch.save({"model_state_dict": weights, "config": model.config}, tmp_path / "m.pt")

    with pytest.raises(CheckpointError, match=rf"'{norm}\.running_var' at \[2\] is .*: must be above 0"):
        ModelFactory.create_from_checkpoint(tmp_path / "m.pt")


def test_weights_that_are_too_large_for_float32_are_not_finite_in_it(tmp_path: Path) -> None:
    weights = {
        name: tensor.double() for name, tensor in read_checkpoint(checkpoint_path("signal"))["model_state_dict"].items()
    }
    load_model(changed("signal", tmp_path / "m.pt", model_state_dict=weights), "signal")
    weights["fc.bias"] = torch.tensor([1e39], dtype=torch.float64)

    with pytest.raises(StartupError, match=r"'fc\.bias' at \[0\] is 1e\+39: must be finite in float32"):
        load_model(changed("signal", tmp_path / "m.pt", model_state_dict=weights), "signal")


@pytest.mark.parametrize(
    "tensor",
    [torch.empty(1, device="meta"), torch.eye(1).to_sparse(), torch.ones(1, dtype=torch.complex64)],
    ids=["without numbers", "sparse", "complex"],
)
def test_tensors_of_other_kinds_are_refused(tmp_path: Path, tensor: Tensor) -> None:
    weights = dict(read_checkpoint(checkpoint_path("signal"))["model_state_dict"]) | {"fc.bias": tensor}
    path = changed("signal", tmp_path / "m.pt", model_state_dict=weights)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(StartupError, match=r"m\.pt.*(fc\.bias|plain data)"):
            load_model(path, "signal")


@pytest.mark.parametrize("part", ["resume", "optimizer_state_dict"])
def test_a_training_is_not_resumed_with_numbers_that_are_none(tmp_path: Path, part: str) -> None:
    out = tmp_path / "m.pt"
    content = read_checkpoint(checkpoint_path("signal"))
    state = {"state": {0: {"exp_avg": torch.tensor([[0.0, math.nan]])}}}
    torch.save(content | {"resume": {"settings": {}}} | {part: state}, last_path(out))

    with pytest.raises(
        StartupError, match=rf"nothing can be resumed: {part}\['state'\]\[0\]\['exp_avg'\] at \[0, 1\] is"
    ):
        load_last(out, SignalSettings(), {})
