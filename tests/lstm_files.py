"""Files of LSTM weights, made of numbers alone, and the same LSTM in float64 and plain numpy."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def weights(features: int = 3, hidden: int = 8, layers: int = 2, outputs: int = 2, seed: int = 0) -> Arrays:
    """A state dict as nn.LSTM and nn.Linear name it."""
    random, found = np.random.default_rng(seed), {}
    for layer in range(layers):
        width = hidden if layer else features
        shapes = {"weight_ih": (width,), "weight_hh": (hidden,), "bias_ih": (), "bias_hh": ()}
        for name, more in shapes.items():
            found[f"lstm.{name}_l{layer}"] = draw(random, (4 * hidden, *more), hidden)
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


class SlowLstm:
    """One stream, step by step."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.layers = sum(name.startswith("lstm.weight_ih_l") for name in arrays)
        self.hidden = arrays["fc.weight"].shape[1]
        self.h, self.c = (np.zeros((self.layers, self.hidden)) for _ in range(2))

    def step(self, sample: NDArray[Any]) -> NDArray[np.float64]:
        x = sample.astype(np.float64)
        for layer in range(self.layers):
            w, r, b, d = (
                self._arrays[f"lstm.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            i, f, g, o = np.split(w @ x + b + r @ self.h[layer] + d, 4)
            self.c[layer] = sigmoid(f) * self.c[layer] + sigmoid(i) * np.tanh(g)
            self.h[layer] = x = sigmoid(o) * np.tanh(self.c[layer])
        found: NDArray[np.float64] = self._arrays["fc.weight"] @ x + self._arrays["fc.bias"]
        return found


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-x))
    return found
