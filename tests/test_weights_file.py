"""A model as plain arrays: the same as PyTorch's, from either form of file, and without PyTorch from safetensors."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core import ModelFactory, SignalExtractionLSTM, SteelDefectLSTM
from core.errors import StartupError
from core.models.checkpoint import read_checkpoint, write_checkpoint
from core.models.defect_config import ACTIVATIONS, READOUTS
from core.models.factory import load_model
from core.models.fingerprint import AnyModel, fingerprint
from core.models.safetensors import read_with_metadata, write_safetensors
from core.models.shapes import weight_shapes
from core.models.shipped import ModelKind, checkpoint_path
from core.models.weights_file import ModelWeights, read_weights, weights_of
from core.tasks.reading import shipped
from stream_app.settings import load_settings
from stream_app.worker.engines import make_engine
from tests.own_tasks import write_task
from tests.strategies import MemoryTable, relaxed

ROOT = Path(__file__).resolve().parent.parent
KINDS: tuple[ModelKind, ...] = ("signal", "defect")
FORMS = (".safetensors", ".pt")
SHIPPED = {"signal": "599257fda5be", "defect": "2845f72c6c38"}
"""Running deployments have states under these names: another one would set them all to zero."""

configs = st.fixed_dictionaries(
    {
        "architecture": st.fixed_dictionaries(
            {
                "input_size": st.integers(1, 6),
                "hidden_size": st.integers(1, 5),
                "num_layers": st.integers(1, 3),
                "bidirectional": st.booleans(),
                "readout": st.sampled_from(READOUTS),
            }
        ),
        "classifier": st.fixed_dictionaries(
            {"hidden_dims": st.lists(st.integers(1, 4), max_size=2), "activation": st.sampled_from(ACTIVATIONS)}
        ),
        "normalization": st.fixed_dictionaries(
            {name: st.booleans() for name in ("batch_norm", "layer_norm", "input_norm")}
        ),
    }
)


def assert_same(found: ModelWeights, model: AnyModel) -> None:
    """The arrays, what stands beside them, and the name."""
    state = model.state_dict()
    assert list(found.weights) == list(state)
    for name, array in found.weights.items():
        np.testing.assert_array_equal(array, state[name].float().numpy())
        assert (array.dtype, array.shape) == (np.float32, tuple(state[name].shape))
    assert (found.calibration, found.input_statistics) == (model.calibration, model.input_statistics)
    assert found.training_ranges == model.training_ranges
    assert found.fingerprint == fingerprint(model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_that_ship_keep_their_names(kind: ModelKind) -> None:
    path = checkpoint_path(kind)

    assert read_weights(path, kind).fingerprint == fingerprint(load_model(path, kind)) == SHIPPED[kind]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_what_stands_beside_them_are_those_of_the_model(tmp_path: Path, kind: ModelKind, form: str) -> None:
    path = tmp_path / f"m{form}"
    write_checkpoint(path, read_checkpoint(checkpoint_path(kind)))

    found = read_weights(path, kind)

    assert_same(found, load_model(path, kind))
    assert weights_of(load_model(path, kind)).config == found.config
    assert weights_of(found) is found


@relaxed
@given(config=configs)
def test_a_defect_model_of_any_configuration_has_these_weights(config: dict[str, Any]) -> None:
    model = SteelDefectLSTM(config)

    found = weights_of(model)

    assert weight_shapes("defect", found.config) == {
        name: tuple(each.shape) for name, each in model.state_dict().items()
    }
    assert_same(found, model)
    assert SteelDefectLSTM(found.config).settings == model.settings


@relaxed
@given(features=st.integers(1, 6), hidden=st.integers(1, 5), layers=st.integers(1, 3))
def test_a_signal_model_of_any_size_has_these_weights(features: int, hidden: int, layers: int) -> None:
    model = SignalExtractionLSTM(features, hidden, layers)

    assert_same(weights_of(model), model)
    assert weights_of(model).input_size == features


@pytest.mark.parametrize("form", FORMS)
def test_a_file_loads_into_both_alike(tmp_path: Path, form: str) -> None:
    model = SteelDefectLSTM({"architecture": {"hidden_size": 3, "readout": "ends"}}).eval()
    model.calibration = {"a": 1.5, "b": -0.1}
    model.input_statistics = {"mean": [0.1] * 5, "std": [1.0, 2.0, 3.0, 4.0, 1e-7]}
    model.training_ranges = {"low": [0.0] * 5, "high": [1.0] * 5, "one_hot": False}

    ModelFactory.save_checkpoint(model, tmp_path / f"m{form}", loss=float("nan"), history=[{"epoch": 1}])

    assert_same(read_weights(tmp_path / f"m{form}", "defect"), model)
    loaded = ModelFactory.create_from_checkpoint(tmp_path / f"m{form}")
    assert_same(weights_of(loaded), model)
    assert loaded.readout == "ends"  # type: ignore[union-attr]
    assert read_checkpoint(tmp_path / f"m{form}")["history"] == [{"epoch": 1}]


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
def test_older_names_and_other_numbers_are_read(tmp_path: Path, norm: str) -> None:
    norms = {"batch_norm": False, "layer_norm": False} | {norm: True}
    model = SteelDefectLSTM({"architecture": {"hidden_size": 3}, "normalization": norms})
    old = {
        name.replace(f"lstm_{norm}", "lstm_norm"): each.double()
        for name, each in model.state_dict().items()
        if not name.endswith("num_batches_tracked")  # files of older PyTorch have none
    }
    write_checkpoint(tmp_path / "m.safetensors", {"model_state_dict": old, "config": model.config})

    assert_same(read_weights(tmp_path / "m.safetensors", "defect"), model)
    assert fingerprint(load_model(tmp_path / "m.safetensors", "defect")) == fingerprint(model)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fc.bias": None}, "it lacks 'fc.bias'"),
        ({"fc.extra": torch.zeros(1)}, "it has 'fc.extra' too"),
        ({"fc.bias": torch.zeros(2)}, r"size mismatch: tensor 'fc\.bias' is \(2,\), by its configuration it is \(1,\)"),
        ({"fc.bias": torch.ones(1)}, "the file says 599257fda5be"),
        ({"fc.bias": torch.tensor([np.nan])}, r"tensor 'fc\.bias' at \[0\] is nan: must be finite in float32"),
    ],
)
def test_weights_that_are_not_the_models_are_refused_in_one_line(tmp_path: Path, changes: Any, told: str) -> None:
    content = read_checkpoint(checkpoint_path("signal"))
    weights = content["model_state_dict"] | changes
    content["model_state_dict"] = {name: each for name, each in weights.items() if each is not None}
    write_checkpoint(tmp_path / "m.safetensors", content)

    with pytest.raises(StartupError, match=rf"^Failed to load checkpoint: .*m\.safetensors: .*{told}") as error:
        read_weights(tmp_path / "m.safetensors", "signal")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_weights, load_model])
@pytest.mark.parametrize("form", FORMS)
def test_a_number_that_no_float_holds_is_refused_in_one_line(tmp_path: Path, form: str, read: Any) -> None:
    content = {**read_checkpoint(checkpoint_path("signal")), "calibration": {"a": 10**400, "b": 0.0}}
    write_checkpoint(tmp_path / f"m{form}", content)

    with pytest.raises(StartupError, match=r"^Failed to load checkpoint: .*too large to convert to float$"):
        read(tmp_path / f"m{form}", "signal")


def test_other_kinds_and_other_records_are_refused_as_by_load_model(tmp_path: Path) -> None:
    ModelFactory.save_checkpoint(SignalExtractionLSTM(3, 2, 1), tmp_path / "three.safetensors")
    paths = tmp_path / "none.safetensors", checkpoint_path("defect"), tmp_path / "three.safetensors"

    for path in paths:
        with pytest.raises(StartupError) as by_torch:
            load_model(path, "signal")
        with pytest.raises(StartupError) as error:
            read_weights(path, "signal")
        assert str(error.value) == str(by_torch.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"optimizer": {"step": torch.zeros(1)}},
            r"checkpoint\['optimizer'\]\['step'\] is a Tensor: take it out, or name",
        ),
        ({"history": {1: "a"}}, r"checkpoint\['history'\] has the key 1: take it out, or name the file \.pt"),
        ({"raw": b"x"}, r"checkpoint\['raw'\] is a bytes: take"),
    ],
)
def test_what_safetensors_cannot_hold_is_named_and_nothing_is_written(tmp_path: Path, more: Any, told: str) -> None:
    content = {"model_state_dict": SignalExtractionLSTM(hidden_size=2).state_dict(), **more}

    with pytest.raises(TypeError, match=told):
        write_checkpoint(tmp_path / "m.safetensors", content)
    assert list(tmp_path.iterdir()) == []


# The form of the file.


@relaxed
@given(
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=5),
    dtypes=st.lists(st.sampled_from(["<f4", "<f8", "<f2", "<i8", "i1", "?"]), min_size=5, max_size=5),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3),
)
def test_what_is_written_is_read_again(shapes: list[list[int]], dtypes: list[str], metadata: dict[str, str]) -> None:
    random = np.random.default_rng(1)
    tensors = {
        f"t{number}": random.normal(size=shape).astype(dtype)
        for number, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=False))
    }

    found, texts = read_with_metadata(raw := write_safetensors(tensors, metadata))

    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert texts == metadata
    assert raw == write_safetensors(dict(reversed(tensors.items())), metadata)


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """As its specification says: length, header padded to eight bytes, tensors without holes in between."""
    raw = write_safetensors({"a": np.array([1, 2], "<i8"), "b": np.array([[0.5]], "<f4")}, {"format": "pt"})
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])

    assert size % 8 == 0
    assert header == {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [1, 1], "data_offsets": [16, 20]},
    }
    assert raw[8 + size :] == np.array([1, 2], "<i8").tobytes() + np.array([0.5], "<f4").tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_a_worker_says_that_a_file_of_pytorch_costs_memory(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path / f"m{form}", read_checkpoint(checkpoint_path("signal")))
    settings = load_settings(signal_checkpoint=tmp_path / f"m{form}")

    with caplog.at_level(logging.INFO, "stream_app.worker.engines"):
        made = make_engine(settings, shipped("signal"), MemoryTable().recovered())

    assert made.fingerprint == SHIPPED["signal"]
    assert ("takes 500 MB of memory: `caststream task convert" in caplog.text) == (form == ".pt")


@pytest.mark.parametrize("form", FORMS)
def test_a_worker_says_so_of_weights_of_ones_own_too(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path / f"press{form}", read_checkpoint(checkpoint_path("signal")))
    settings = load_settings(tasks=str(write_task(tmp_path, "press", file=f"press{form}")), data_dir=tmp_path)

    with caplog.at_level(logging.INFO, "stream_app.worker.engines"):
        make_engine(settings, *settings.declarations(), MemoryTable().recovered())

    assert ("takes 500 MB of memory: `caststream task convert" in caplog.text) == (form == ".pt")
    assert ("sets all states to zero" in caplog.text) == (form == ".pt")


# Without PyTorch.

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from core.errors import StartupError
from core.models.weights_file import read_weights
try:
    print(read_weights(sys.argv[1], sys.argv[2]).fingerprint)
except StartupError as error:
    print(error)
"""


def without_torch(path: Path, kind: str) -> str:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(path), kind]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_safetensors_need_no_pytorch(kind: ModelKind) -> None:
    assert without_torch(checkpoint_path(kind), kind) == SHIPPED[kind]


def test_a_file_of_pytorch_without_it_says_what_to_install_or_how_to_convert(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m.pt", read_checkpoint(checkpoint_path("signal")))
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><html></html>")

    told = without_torch(tmp_path / "m.pt", "signal")

    assert "m.pt: it is a file of PyTorch, which is not installed here: pip install 'caststream[train]', or con" in told
    assert "\n" not in told
    assert "it is a web page (HTML)" in without_torch(tmp_path / "page.pt", "signal")
