"""The LSTM's step on a CUDA device, for the rows of a batch: replayed from a graph where it is one step, else launched.

Shapes: N samples, B rows, T steps, F features, H hidden units, L layers, S = 2*L*H: a state is h of all layers, then c.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from core.device import Device
from core.engines.infer import state_size
from core.models.signal_lstm import SignalExtractionLSTM

SMALLEST, LARGEST = 8, 4096  # rows of the graphs' batches, a graph for each power of two between; a chunk has 4,000


def rung(rows: int) -> int:
    """Return the power of two to which this many rows are padded."""
    return max(SMALLEST, 1 << (rows - 1).bit_length())


class LstmStep:
    """Steps of a signal model whose parameters are on ``device``.

    The graphs read and write four buffers that never move. States of streams are no part of a graph: they are copied
    to and from the buffers around it. So more streams, and other ones, never need another capture.
    """

    def __init__(self, model: SignalExtractionLSTM, device: Device) -> None:
        self._device = device
        self._model = model
        self._lstm, self._fc = model.lstm, model.fc
        self._lstm.flatten_parameters()  # cuDNN copies the weights of each call where they are not one block
        size = state_size(model)
        self._x = device.zeros(LARGEST, model.input_size)
        self._before, self._after = device.zeros(LARGEST, size), device.zeros(LARGEST, size)
        self._predictions = device.zeros(LARGEST)
        self._statistics = _on_device(model, device)
        self._graphs: dict[int, Callable[[], None]] = {}

    def capture(self) -> None:
        """Capture the graphs; until then every step is launched kernel by kernel."""
        rows = SMALLEST
        while rows <= LARGEST:
            self._graphs[rows] = self._device.capture(functools.partial(self._body, rows))
            rows *= 2

    def states(self, rows: int) -> Tensor:
        """The buffer for the states of the next ``run``, (B, S)."""
        return self._before[:rows] if rows <= LARGEST else self._before.new_empty(rows, self._before.shape[1])

    def run(self, x: Tensor, running: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Step B rows.

        Args:
            x: (N, F), contiguous, as records have it: all rows' first samples, then all second ones; longest row first.
            running: (T,) on the host, int64: rows that have a sample at each time.
            states: (B, S), what ``states`` gave, filled in.

        Returns:
            The predictions (N,) in the order of ``x``, and the states after, both contiguous and valid until the next
            call.
        """
        rows = len(states)
        graph = self._graphs.get(rung(rows)) if len(running) == 1 else None
        if graph is None:
            return self._forward(x, running, states)
        # Rows from B up to the rung hold what an earlier chunk left there. They are stepped, too, and nobody looks at
        # the result: a row does not depend on its neighbours.
        self._x[:rows].copy_(x)
        graph()
        return self._predictions[:rows], self._after[:rows]

    def _body(self, rows: int) -> None:
        """Run the part that is captured: all that lives longer than a replay is in the four buffers."""
        predictions, after = self._forward(self._x[:rows], None, self._before[:rows])
        self._predictions[:rows].copy_(predictions)
        self._after[:rows].copy_(after)

    def _forward(self, x: Tensor, running: Tensor | None, states: Tensor) -> tuple[Tensor, Tensor]:
        """(N, F) and (B, S) to (N,) and (B, S), launched kernel by kernel; without ``running``, one step of each row.

        cuDNN takes rows of different lengths in one call, when they are packed: by time, longest first.
        """
        if self._statistics is not None:
            mean, std = self._statistics
            x = (x - mean) / std
        split = states.view(len(states), 2, self._model.num_layers, -1)  # (B, 2, L, H)
        h, c = split.permute(1, 2, 0, 3).contiguous()  # (L, B, H) each
        if running is None:
            output, after = self._lstm(x[:, None], (h, c))
        else:
            packed, after = self._lstm(PackedSequence(x, running), (h, c))
            output = packed.data
        predictions = self._fc(output).reshape(-1)  # (N, H), or (B, 1, H), -> (N,)
        return predictions, torch.stack(after).permute(2, 0, 1, 3).reshape(len(states), -1)


def _on_device(model: SignalExtractionLSTM, device: Device) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation beside the weights, once: a copy of them per chunk would wait for the device."""
    if model.input_statistics is None:
        return None
    mean, std = device.zeros(model.input_size), device.zeros(model.input_size)
    mean.copy_(torch.tensor(model.input_statistics["mean"]))
    std.copy_(torch.tensor(model.input_statistics["std"]))
    return mean, std
