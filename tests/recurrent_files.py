"""Files of the weights of an LSTM or a GRU, made of numbers alone, and the same network in float64 and plain numpy."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.models.recurrent_weights import find_recurrent
from core.native.lstm import INSTRUCTION_SETS, GruKernel, LstmKernel, StepKernel

Arrays = dict[str, NDArray[Any]]


GATES = {"lstm": 4, "gru": 3}


def weights(
    features: int = 3, hidden: int = 8, layers: int = 2, outputs: int = 2, seed: int = 0, cell: str = "lstm"
) -> Arrays:
    """A state dict as nn.LSTM or nn.GRU and nn.Linear name it."""
    random, found = np.random.default_rng(seed), {}
    for layer in range(layers):
        width = hidden if layer else features
        shapes = {"weight_ih": (width,), "weight_hh": (hidden,), "bias_ih": (), "bias_hh": ()}
        for name, more in shapes.items():
            found[f"{cell}.{name}_l{layer}"] = draw(random, (GATES[cell] * hidden, *more), hidden)
    return found | {"fc.weight": draw(random, (outputs, hidden), hidden), "fc.bias": draw(random, (outputs,), hidden)}


def draw(random: np.random.Generator, shape: tuple[int, ...], hidden: int) -> NDArray[Any]:
    """Numbers of the size that torch draws, and somewhat larger."""
    return random.uniform(-2, 2, shape).astype(np.float32) / np.float32(np.sqrt(hidden))


def safetensors(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays of float32 as a safetensors file, by the letter of the format."""
    header: dict[str, Any] = {}
    body = b""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def kernel_of(arrays: Arrays, instructions: str = INSTRUCTION_SETS[0]) -> StepKernel:
    """The compiled kernel of these weights."""
    found = find_recurrent("pump.safetensors", arrays)
    kind = LstmKernel if found.cell == "LSTM" else GruKernel
    return kind(found.features, found.hidden_size, found.layers, found.head, instructions=instructions)


class Slow:
    """One stream through an LSTM or a GRU, step by step."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.cell = next(cell for cell in GATES if f"{cell}.weight_ih_l0" in arrays)
        self.layers = sum(name.startswith(f"{self.cell}.weight_ih_l") for name in arrays)
        self.h, self.c = (np.zeros((self.layers, arrays["fc.weight"].shape[1])) for _ in range(2))

    @property
    def state(self) -> NDArray[np.float64]:
        """h of all layers, then of an LSTM c of all layers."""
        found = self.h.reshape(-1)
        return np.concatenate([found, self.c.reshape(-1)]) if self.cell == "lstm" else found

    def step(self, sample: NDArray[Any]) -> NDArray[np.float64]:
        x = sample.astype(np.float64)
        for layer in range(self.layers):
            w, r, b, d = (
                self._arrays[f"{self.cell}.{part}_l{layer}"]
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            step = self._lstm if self.cell == "lstm" else self._gru
            self.h[layer] = x = step(layer, w @ x + b, r @ self.h[layer] + d)
        found: NDArray[np.float64] = self._arrays["fc.weight"] @ x + self._arrays["fc.bias"]
        return found

    def _lstm(self, layer: int, inputs: NDArray[np.float64], recurrent: NDArray[np.float64]) -> NDArray[np.float64]:
        i, f, g, o = np.split(inputs + recurrent, 4)
        self.c[layer] = sigmoid(f) * self.c[layer] + sigmoid(i) * np.tanh(g)
        found: NDArray[np.float64] = sigmoid(o) * np.tanh(self.c[layer])
        return found

    def _gru(self, layer: int, inputs: NDArray[np.float64], recurrent: NDArray[np.float64]) -> NDArray[np.float64]:
        (r, z, n), (of_r, of_z, of_n) = np.split(inputs, 3), np.split(recurrent, 3)
        z = sigmoid(z + of_z)
        found: NDArray[np.float64] = (1 - z) * np.tanh(n + sigmoid(r + of_r) * of_n) + z * self.h[layer]
        return found


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-x))
    return found
