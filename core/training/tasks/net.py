"""The model: an LSTM or GRU with one linear layer behind it, as the compiled kernel runs it.

Shapes: B rows, T steps, F numbers of a sample, H hidden units, L layers, K numbers of the linear layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.models.checkpoint import write_checkpoint
from core.tasks.declaration import CellName
from core.training.own_model import OwnModel

NetState = tuple[Tensor, ...]
"""(L, B, H) each: h and c of an LSTM, h of a GRU."""


class RecurrentNet(OwnModel):
    """The names of its weights are those that `core.models.recurrent_weights` finds.

    Args:
        cell: its kind.
        features: F.
        hidden_size: H.
        num_layers: L.
        outputs: K.
    """

    def __init__(self, cell: CellName, features: int, hidden_size: int, num_layers: int, outputs: int) -> None:
        super().__init__()
        self.sizes: dict[str, Any] = {
            "cell": cell,
            "features": features,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "outputs": outputs,
        }
        kind = {"LSTM": nn.LSTM, "GRU": nn.GRU}[cell]
        self.recurrent = kind(features, hidden_size, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, outputs)

    def forward(self, samples: Tensor, state: NetState | None = None) -> tuple[Tensor, NetState]:
        """Numbers (B, T, K) for standardised samples (B, T, F), and the state behind the last; None is zeros."""
        before: Any = state if state is None or len(state) > 1 else state[0]
        hidden, after = self.recurrent(samples, before)
        return self.head(hidden), after if isinstance(after, tuple) else (after,)

    def save(self, path: Path, optimizer: torch.optim.Optimizer | None = None, **content: Any) -> None:
        """Write a checkpoint of the training, which no worker reads: its numbers are in the units of the training."""
        held = {"model_state_dict": self.state_dict(), "sizes": self.sizes, **content}
        write_checkpoint(path, held if optimizer is None else held | {"optimizer_state_dict": optimizer.state_dict()})


def without_graph(state: NetState, kept: Tensor) -> NetState:
    """A state cut from its graph, for rows that go on; zeros where ``kept`` (B,) is 0."""
    return tuple(each.detach() * kept[None, :, None] for each in state)


def small_head(net: RecurrentNet) -> None:
    """Let the linear layer begin near zero: the first forecast is then that of no change."""
    with torch.no_grad():
        net.head.weight.mul_(0.1)
        net.head.bias.zero_()
