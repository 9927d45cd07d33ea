"""Train a classifier of the data set BasicMotions, which the package aeon holds, and export it. Half a minute.

    python examples/motions/make_motions.py
    caststream task check examples/motions/motions.toml --data examples/motions/motions.h5

Written beside this file: motions.onnx, motions.example.npz (what torch makes of the test cases, for the check) and
motions.h5 (the 40 test cases, which had no part in training).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
CLASSES = ("Standing", "Running", "Walking", "Badminton")
CHANNELS, LENGTH, FIRST, HIDDEN = 6, 100, 50, 32
SAMPLES_PER_SECOND = 10.0


def read_cases(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Cases (N, LENGTH, CHANNELS) and the number of each one's class. The package itself is not imported."""
    found = find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("make_motions: the package aeon is missing: pip install --no-deps aeon")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "BasicMotions" / f"BasicMotions_{part}.ts"
    lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] not in "#@"]
    cases = [line.split(":") for line in lines]  # channel:channel: ... :class
    values = np.array([[channel.split(",") for channel in case[:-1]] for case in cases], np.float32)
    return np.ascontiguousarray(values.swapaxes(1, 2)), np.array([CLASSES.index(case[-1]) for case in cases])


class Classifier(torch.nn.Module):
    """A window (B, T, CHANNELS) -> logits (B, 4). A window is read forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(CHANNELS, HIDDEN, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(2 * HIDDEN, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, last = self.rnn(x / 4)  # scaling belongs into the graph: nothing else does it
        return self.head(torch.cat((last[0], last[1]), dim=1))


def trained(cases: np.ndarray, classes: np.ndarray) -> Classifier:
    """Trained on windows of all lengths that a score can look at."""
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x, y = torch.from_numpy(cases), torch.from_numpy(classes)
    for _ in range(150):
        length = int(random.integers(FIRST, LENGTH + 1))
        start = int(random.integers(LENGTH - length + 1))
        loss = torch.nn.functional.cross_entropy(model(x[:, start : start + length]), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def export(model: Classifier, path: Path) -> None:
    """Write the graph of a window task: batch and samples are dynamic, as the first windows of a sequence are short."""
    names = {"input_names": ["x"], "output_names": ["logits"]}
    sizes = {"x": {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples")}}
    example = (torch.randn(2, LENGTH, CHANNELS),)
    torch.onnx.export(
        model, example, path, dynamo=True, dynamic_shapes=sizes, external_data=False, verbose=False, **names
    )


def write_recordings(cases: np.ndarray, classes: np.ndarray, path: Path) -> None:
    """One sequence after the other; every case is a stream of its own here."""
    with h5py.File(path, "w") as file:
        file["acceleration"], file["rotation"] = np.split(cases.reshape(-1, CHANNELS), 2, axis=1)
        file["sequence_start"] = np.arange(len(cases)) * LENGTH
        file["sequence_length"] = np.full(len(cases), LENGTH)
        file["stream_name"] = [f"{CLASSES[one]}-{number}" for number, one in enumerate(classes)]
        file.attrs["sampling_rate"] = SAMPLES_PER_SECOND


if __name__ == "__main__":
    made = trained(*read_cases("TRAIN"))
    cases, classes = read_cases("TEST")
    with torch.no_grad():
        logits = made(torch.from_numpy(cases)).numpy()
    print(f"right: {(logits.argmax(axis=1) == classes).sum()} of {len(classes)} test cases")
    export(made, HERE / "motions.onnx")
    np.savez(HERE / "motions.example.npz", x=cases, logits=logits)
    write_recordings(cases, classes, HERE / "motions.h5")
    print(f"wrote motions.onnx, motions.example.npz and motions.h5 into {HERE}")
