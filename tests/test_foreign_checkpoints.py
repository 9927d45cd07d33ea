"""Model files of other tools and other people's training code: taken where nothing has to be guessed, else named."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import StartupError
from core.models.checkpoint import CheckpointError, read_checkpoint
from core.models.factory import ModelFactory, load_model
from core.models.fingerprint import fingerprint
from core.models.names import bare
from core.models.shipped import ModelKind, checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM

KINDS: tuple[ModelKind, ...] = ("signal", "defect")
Weights = dict[str, Tensor]
SIGNAL: dict[str, Any] = read_checkpoint(checkpoint_path("signal"))
WEIGHTS: Weights = SIGNAL["model_state_dict"]


def safetensors(weights: Weights, cut: int = 0, **changes: Any) -> bytes:
    """The weights as a safetensors file, by the letter of the format."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in weights.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        header[name] |= changes
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + body
    return whole[: len(whole) - cut]


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def zipped(compression: int, **parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch gives it up, and people have the files
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def inside(wrapper: str) -> Callable[[Weights], Weights]:
    """As if only the LSTM had been wrapped."""
    return lambda weights: {name.replace("lstm.", f"lstm.{wrapper}.", 1): value for name, value in weights.items()}


WRAPPED: dict[str, Callable[[Weights], Weights]] = {
    "DataParallel": prefixed("module."),
    "compile": prefixed("_orig_mod."),
    "compile of DataParallel": prefixed("_orig_mod.module."),
    "DataParallel of compile": prefixed("module._orig_mod."),
    "Lightning": prefixed("model."),
    "Lightning and compile": prefixed("model._orig_mod."),
    "an attribute of any name": prefixed("net.inner."),
    "compiled LSTM": inside("_orig_mod"),
    "parallel LSTM": inside("module"),
    "averaged": lambda weights: {"n_averaged": torch.tensor(3)} | prefixed("module.")(weights),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrappers_names_are_taken_off(tmp_path: Path, kind: ModelKind, wrap: Callable[[Weights], Weights]) -> None:
    content = read_checkpoint(checkpoint_path(kind))
    del content["fingerprint"]
    torch.save(content | {"model_state_dict": wrap(content["model_state_dict"])}, tmp_path / "m.pt")

    assert fingerprint(load_model(tmp_path / "m.pt", kind)) == fingerprint(load_model(checkpoint_path(kind), kind))


def test_the_names_of_real_wrappers_are_those(tmp_path: Path) -> None:
    model = SignalExtractionLSTM(hidden_size=4)
    averaged = torch.optim.swa_utils.AveragedModel(model)

    for wrapper in (torch.nn.DataParallel(model), torch.compile(model), torch.compile(averaged)):
        torch.save({"model_state_dict": wrapper.state_dict()}, tmp_path / "m.pt")
        assert fingerprint(load_model(tmp_path / "m.pt", "signal")) == fingerprint(model)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_signal_models_weights_are_enough_wherever_they_stand(tmp_path: Path, key: str | None, prefix: str) -> None:
    weights = prefixed(prefix)(WEIGHTS)
    torch.save(weights if key is None else {key: weights, "epoch": 3}, tmp_path / "m.pt")

    assert fingerprint(load_model(tmp_path / "m.pt", "signal")) == SIGNAL["fingerprint"]


def test_a_signal_model_in_safetensors_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors(prefixed("module.")(WEIGHTS)))

    assert fingerprint(load_model(tmp_path / "m.safetensors", "signal")) == SIGNAL["fingerprint"]


def test_a_defect_model_needs_its_configuration(tmp_path: Path) -> None:
    """Its weights tell neither readout nor activation: scores by the wrong ones would look right."""
    content, path = read_checkpoint(checkpoint_path("defect")), tmp_path / "m.pt"
    weights = content["model_state_dict"]
    for raw in (saved(weights), saved({"state_dict": prefixed("model.")(weights)}), safetensors(weights)):
        path.write_bytes(raw)
        with pytest.raises(StartupError, match=r"alone \(a state_dict\), which tell neither its readout"):
            load_model(path, "defect")

    parameters = {"config": content["config"], "learning_rate": 0.1}
    torch.save({"state_dict": prefixed("model.")(weights), "hyper_parameters": parameters}, path)
    model = load_model(path, "defect")
    assert model.readout == "attention"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "weights",
    [
        {"model.lstm.weight_ih_l0": torch.zeros(1), "loss.weight": torch.ones(1)},
        {"a.lstm.weight_ih_l0": torch.zeros(1), "b.lstm.weight_ih_l0": torch.ones(1)},
        {"module.x": torch.zeros(1), "x": torch.ones(1)},
        {"module.x": torch.zeros(1)},
        WEIGHTS | prefixed("module.")(WEIGHTS),
    ],
)
def test_names_that_leave_a_doubt_stay_as_they_are(weights: Weights) -> None:
    assert bare(weights) == weights


# Files that are no checkpoint.

OTHERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"it is empty \(0 bytes\)"),
    "zeros": (bytes(5000), "its 5,000 bytes are all zero"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 210565\n",
        "a Git LFS pointer.*`git lfs pull`",
    ),
    "page": (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body>", r"a web page \(HTML\)"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"a web page \(HTML\)"),
    "old format": (saved(SIGNAL, _use_new_zipfile_serialization=False), "the format of PyTorch before 1.6: save it"),
    "pickle": (pickle.dumps({"model_state_dict": {}}, protocol=4), "it is a pickle, and loading one can run code"),
    "whole model": (
        saved(SignalExtractionLSTM(hidden_size=2)),
        r"a whole pickled model \(core.models.signal_lstm.SignalExtractionLSTM\), and loading one runs code: save its",
    ),
    "objects": (saved({"model_state_dict": WEIGHTS, "best": np.float64(1.0)}), "it holds objects of numpy.*plain num"),
    "TorchScript": (scripted(), r"a TorchScript model, which holds code: .*torch\.jit\.load"),
    "cut short": (saved(SIGNAL)[:-3000], "it is cut short or damaged: .* bytes without the directory at the end"),
    "Keras .h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), r"an HDF5 file: weights of Keras"),
    "Keras .keras": (
        zipped(zipfile.ZIP_STORED, config_dot_json=b"{}", model_dot_weights_dot_h5=b""),
        r"a ZIP archive without a PyTorch model \(a .keras model\)",
    ),
    "npz": (zipped(zipfile.ZIP_STORED, w_dot_npy=b"\x93NUMPY"), r"without a PyTorch model \(a NumPy .npz\)"),
    "compressed": (zipped(zipfile.ZIP_DEFLATED, m__data_dot_pkl=b"x" * 99), "a compressed ZIP archive"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(50), "an ONNX model: save the PyTorch model that it was"),
    "SavedModel": (b"\x08\x01\x12\xd0\x0f" + bytes(50), "a TensorFlow SavedModel"),
    "TFLite": (b"\x1c\x00\x00\x00TFL3" + bytes(50), "a TensorFlow Lite model"),
    "gzip": (gzip.compress(saved(SIGNAL)), "compressed with gzip: unpack it first"),
    "tar": (bytes(1) + b"m.pt".ljust(256, b"\0") + b"ustar" + bytes(300), "a TAR archive"),
    "npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "a NumPy array"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "text": (b"epochs = 3\n", "it is a text"),
    "safetensors, cut": (safetensors(WEIGHTS, cut=4), "a safetensors file that is damaged or cut short"),
    "safetensors, header only": (safetensors(WEIGHTS)[:64], "a safetensors file that is cut short"),
    "safetensors, places": (safetensors(WEIGHTS, data_offsets=[0, 10**9]), "a safetensors file that is damaged"),
    "safetensors, below 0": (safetensors(WEIGHTS, data_offsets=[-8, 0]), "a safetensors file that is damaged"),
    "safetensors, shape": (safetensors(WEIGHTS, shape=[3]), "a safetensors file that is damaged"),
    "safetensors, other numbers": (safetensors(WEIGHTS, dtype="F8_E4M3"), "dtype 'F8_E4M3' is not read here"),
    "safetensors, not numbers": (safetensors(WEIGHTS, shape="x"), "a safetensors file that is damaged"),
}


@pytest.mark.parametrize(("content", "told"), OTHERS.values(), ids=OTHERS.keys())
def test_another_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # each would be another line on stderr
        with pytest.raises(StartupError, match=rf"m\.pt is not a PyTorch file of plain data: .*{told}") as error:
            load_model(path, "signal")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"optimizer": {}, "epoch": 3},
            "holds no 'model_state_dict' with a model's weights: it holds 'optimizer', 'ep",
        ),
        ({}, "it holds nothing"),
        ([1, 2], "it holds a list"),
        ({"model_state_dict": {"encoder.weight": torch.ones(1)}}, "nor a SteelDefectLSTM's: the first is 'encoder.wei"),
    ],
)
def test_a_file_of_torch_without_a_model_says_what_it_holds(tmp_path: Path, content: Any, told: str) -> None:
    torch.save(content, tmp_path / "m.pt")

    with pytest.raises(CheckpointError, match=told):
        ModelFactory.create_from_checkpoint(tmp_path / "m.pt")
