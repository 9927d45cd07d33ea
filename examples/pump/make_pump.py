"""Make up twelve channels of vibration, train a GRU that forecasts three of them, and export it. Half a minute.

    python examples/pump/make_pump.py
    caststream task check examples/pump/pump.toml --data examples/pump/pump.h5

Written beside this file: pump.onnx, pump.example.npz (what torch makes of 200 steps, for the check) and pump.h5
(recordings of 20 pumps; of the last two a bearing breaks).
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
CHANNELS, FORECAST, HIDDEN, LAYERS = 12, 3, 64, 2
PUMPS, STEPS, BROKEN = 20, 300, 2
SAMPLES_PER_SECOND = 50.0


def recording(pump: int, steps: int, breaks: bool = False) -> np.ndarray:
    """Vibration (steps, CHANNELS): the shaft and its harmonics on each channel; after a break also a bearing."""
    random = np.random.default_rng(pump)
    seconds = np.arange(steps)[:, None] / SAMPLES_PER_SECOND
    shaft = 2 * np.pi * (random.uniform(2.0, 3.0) * seconds + random.uniform(size=CHANNELS) / 8)
    vibration = 6 * np.sin(shaft) + 2 * np.sin(2 * shaft) + random.normal(scale=0.1, size=(steps, CHANNELS))
    if breaks:
        vibration[steps // 2 :] += random.normal(scale=4.0, size=(steps - steps // 2, CHANNELS))
    return vibration.round(4).astype(np.float32)


class Forecaster(torch.nn.Module):
    """The next values of the first channels: of whole recordings in training, of one step as it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(CHANNELS, HIDDEN, LAYERS, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, FORECAST)

    def forward(self, x: torch.Tensor, h0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, hn = self.rnn(x / 6, h0)  # scaling belongs into the graph: nothing else does it
        return x[..., :FORECAST] + self.head(y), hn


def trained() -> Forecaster:
    torch.manual_seed(1)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x = torch.from_numpy(np.stack([recording(1000 + pump, 200) for pump in range(32)]))
    zeros = torch.zeros(LAYERS, len(x), HIDDEN)
    for _ in range(60):
        forecast, _ = model(x[:, :-1], zeros)
        error = (forecast - x[:, 1:, :FORECAST]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    print(f"trained: the forecast is off by {error.item() ** 0.5:.2f} mm/s")
    return model.eval()


def export(model: Forecaster, path: Path) -> None:
    """As `caststream task export-help torch` says: one step, a batch of two, the state as input and as output."""
    example = (torch.randn(2, 1, CHANNELS), torch.randn(LAYERS, 2, HIDDEN))
    names = {"input_names": ["x", "h0"], "output_names": ["y", "hn"]}
    batch = torch.export.Dim("batch")
    sizes = {"x": {0: batch}, "h0": {1: batch}}
    torch.onnx.export(
        model,
        example,
        path,
        dynamo=True,
        dynamic_shapes=sizes,
        external_data=False,
        verbose=False,
        **names,
    )


def write_example(model: Forecaster, path: Path) -> None:
    """Inputs and outputs of 200 steps, from torch."""
    x = torch.from_numpy(recording(7, 200))
    with torch.no_grad():
        y, _ = model(x[None], torch.zeros(LAYERS, 1, HIDDEN))
    np.savez(path, x=x.numpy(), y=y[0].numpy())


def write_recordings(path: Path) -> None:
    """One sequence after the other; every pump is a stream of its own."""
    with h5py.File(path, "w") as file:
        file["vibration"] = np.concatenate([recording(pump, STEPS, pump >= PUMPS - BROKEN) for pump in range(PUMPS)])
        file["sequence_start"] = np.arange(PUMPS) * STEPS
        file["sequence_length"] = np.full(PUMPS, STEPS)
        file["stream_name"] = [f"pump-{pump}" for pump in range(PUMPS)]
        file.attrs["sampling_rate"] = SAMPLES_PER_SECOND


if __name__ == "__main__":
    made = trained()
    export(made, HERE / "pump.onnx")
    write_example(made, HERE / "pump.example.npz")
    write_recordings(HERE / "pump.h5")
    print(f"wrote pump.onnx, pump.example.npz and pump.h5 into {HERE}")
