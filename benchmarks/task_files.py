"""Tasks of a user's own for `bench_tasks.py`: declarations, and models that are exported or copied."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from paced_sender import PUMP_CHANNELS
from torch import Tensor, nn

from core.errors import StartupError
from core.models.factory import load_model
from core.models.safetensors import write_safetensors
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM

HIDDEN, LAYERS, FORECAST = 64, 2, 3
PUMP = f"""
[fields]
vibration = {{ length = {PUMP_CHANNELS}, unit = "mm/s", range = [-200, 200] }}
[outputs]
forecast = {{ tensor = "y", names = ["de_h", "de_v", "nde_h"] }}
"""
SCORE = 'score = { of = "forecast", apply = "forecast_error" }\n'
SCORES = f"""
[topics]
source = "pump-samples"
[fields]
vibration = {{ length = {PUMP_CHANNELS}, unit = "mm/s", range = [-200, 200] }}
[outputs]
forecast = {{ apply = "forecast", changes = true, publish = false }}
expected = {{ of = "forecast", apply = "expected" }}
surprise = {{ of = "forecast", apply = "surprise" }}
score = {{ of = "forecast", apply = "likelihood_ratio", horizon = 30 }}
leading = {{ of = "score", apply = "leading" }}
alarm = {{ of = "score", apply = "above", threshold = 0.8, clear = 0.5 }}
"""
SIGNAL = """
[topics]
source = "signal-samples"
[fields]
signal = {}
condition_vector = { length = 4, columns = ["c1", "c2", "c3", "c4"] }
[outputs]
prediction = { tensor = "y" }
"""


class Forecaster(nn.Module):
    """One step of a GRU (B, 1, F), whose linear layer gives three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(PUMP_CHANNELS, HIDDEN, LAYERS, batch_first=True)
        self.head = nn.Linear(HIDDEN, FORECAST)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, hn = self.rnn(x / 6, h0)
        return self.head(y[:, -1]), hn


class OwnForecaster(nn.Module):
    """The weights of an LSTM that forecasts means and logarithms of variances of all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(PUMP_CHANNELS, HIDDEN, LAYERS)
        self.head = nn.Linear(HIDDEN, 2 * PUMP_CHANNELS)


class SignalStep(nn.Module):
    """One step of the signal model that ships, with what standardises its inputs."""

    def __init__(self, model: SignalExtractionLSTM) -> None:
        super().__init__()
        statistics = model.input_statistics or {"mean": [0.0] * model.input_size, "std": [1.0] * model.input_size}
        self.mean, self.std = (torch.tensor(statistics[name], dtype=torch.float32) for name in ("mean", "std"))
        self.lstm, self.fc = model.lstm, model.fc

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (hn, cn) = self.lstm((x - self.mean) / self.std, (h0, c0))
        return self.fc(y[:, -1]), hn, cn


def write_tasks(folder: Path) -> dict[str, tuple[str, str]]:
    """Write all tasks; by name, what runs there in words, and what the setting ``tasks`` names it by.

    Raises:
        StartupError: a model cannot be exported.
    """
    torch.manual_seed(1)
    _export(Forecaster(), ["h0"], PUMP_CHANNELS, folder / "pump.onnx")
    export_signal(folder / "signal_onnx.onnx")
    shutil.copy(checkpoint_path("signal"), folder / "signal_own.safetensors")
    weights = {name: tensor.numpy() for name, tensor in OwnForecaster().state_dict().items()}
    (folder / "pump_forecaster.safetensors").write_bytes(write_safetensors(weights, {}))
    scored = PUMP + SCORE + '[topics]\nsource = "pump-samples"\n'
    return {
        "pump": ("a pump's GRU by ONNX", _write(folder, "pump", "pump.onnx", PUMP)),
        "pump_scored": ("the same with a score", _write(folder, "pump_scored", "pump.onnx", scored)),
        "pump_forecaster": (
            "a pump's LSTM with the scores of its forecast",
            _write(folder, "pump_forecaster", "pump_forecaster.safetensors", SCORES),
        ),
        "signal": ("the signal task that ships", "signal"),
        "signal_own": ("its weights, declared", _write(folder, "signal_own", "signal_own.safetensors", SIGNAL)),
        "signal_onnx": ("its model by ONNX", _write(folder, "signal_onnx", "signal_onnx.onnx", SIGNAL)),
    }


def export_signal(path: Path) -> None:
    """Write one step of the signal model that ships as an ONNX file.

    Raises:
        StartupError: it cannot be exported.
    """
    model = cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal"))
    _export(SignalStep(model), ["h0", "c0"], model.input_size, path)


def _write(folder: Path, name: str, file: str, form: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\nkind = "step"\n[model]\nfile = "{file}"\n{form}')
    return str(path)


def _export(module: nn.Module, states: Sequence[str], features: int, path: Path) -> None:
    """As `caststream task export-help torch` says."""
    batch: Any = torch.export.Dim("batch")
    inputs = [torch.randn(2, 1, features), *(torch.randn(LAYERS, 2, HIDDEN) for _ in states)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                tuple(inputs),
                path,
                dynamo=True,
                dynamic_shapes={"x": {0: batch}} | {name: {1: batch} for name in states},
                input_names=["x", *states],
                output_names=["y", *(f"{name[0]}n" for name in states)],
                external_data=False,
                verbose=False,
            )
    except ImportError as error:
        raise StartupError(f"{path.name} cannot be exported: {error}; `make setup` installs what is needed") from error
