"""SignalExtractionLSTM: a stateful LSTM that picks one sinusoid out of a noisy mixture, one sample at a time.

Shapes: B streams in the batch, T steps, F features, H hidden units, L layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.models.signal_config import check_sizes

HiddenState = tuple[Tensor, Tensor]


def draw_lstm(lstm: nn.LSTM) -> None:
    """Draw all parameters of an LSTM again: Xavier input weights, orthogonal recurrent weights, biases 0."""
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)


class SignalExtractionLSTM(nn.Module):
    """LSTM(F -> H, L layers) and Linear(H -> 1): [S(t), C1..C4] in, the selected sinusoid's value now out.

    The hidden state carries the past, so T steps in one call and T calls of one step give the same predictions.

    Args:
        input_size: F, features per step, >= 1.
        hidden_size: H, >= 1.
        num_layers: L, >= 1.
        dropout: between layers, in [0, 1); no effect for L = 1.
        device: where the parameters are made.

    Raises:
        ValueError: a size below 1 or a dropout outside [0, 1).
    """

    calibration: dict[str, Any] | None
    input_statistics: dict[str, Any] | None
    training_ranges: dict[str, Any] | None

    def __init__(
        self,
        input_size: int = 5,
        hidden_size: int = 64,
        num_layers: int = 2,
        dropout: float = 0.1,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        check_sizes(input_size, hidden_size, num_layers, dropout)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.calibration = None  # not used by this model; both kinds of model carry the same attributes
        self.input_statistics = None  # {"mean": [F], "std": [F]}: applied by the caller, before the model
        self.training_ranges = None  # {"low": [F], "high": [F], "one_hot"}: see core.models.ranges
        self.lstm = nn.LSTM(
            input_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.fc = nn.Linear(hidden_size, 1)
        self.reset_parameters()
        self.to(device)

    @property
    def device(self) -> str:
        """The device of the parameters now, as a string."""
        return str(self.fc.weight.device)

    def reset_parameters(self) -> None:
        """Draw all parameters again: Xavier input weights, orthogonal recurrent weights, biases 0."""
        draw_lstm(self.lstm)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor, hidden_state: HiddenState | None = None) -> tuple[Tensor, HiddenState]:
        """Predict every step of x.

        Args:
            x: (B, T, F), any dtype; T may be 0.
            hidden_state: (h, c), each (L, B, H), never changed in place; None is zeros.

        Returns:
            The predictions (B, T, 1), and the state after the last step as new tensors.

        Raises:
            ValueError: x is not three-dimensional or has another F.
        """
        if x.dim() != 3:
            raise ValueError(f"Input must be 3-dimensional (batch, time, features), got shape {tuple(x.shape)}")
        if x.shape[2] != self.input_size:
            raise ValueError(f"Input feature size must be {self.input_size}, got {x.shape[2]}")
        weight = self.fc.weight
        x = x.to(weight)
        if hidden_state is None:
            hidden_state = self.init_hidden(x.shape[0])
        h, c = (part.to(weight) for part in hidden_state)
        if x.shape[0] == 0 or x.shape[1] == 0:  # nn.LSTM refuses T = 0
            return x.new_zeros(x.shape[0], x.shape[1], 1), (h.clone(), c.clone())
        output, (h, c) = self.lstm(x, (h, c))  # (B, T, H)
        return self.fc(output), (h, c)  # (B, T, 1)

    def init_hidden(self, batch_size: int) -> HiddenState:
        """Zeros (h, c), each (L, B, H), on the parameters' device and dtype."""
        shape = (self.num_layers, batch_size, self.hidden_size)
        return self.fc.weight.new_zeros(shape), self.fc.weight.new_zeros(shape)

    def count_parameters(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def get_model_info(self) -> dict[str, Any]:
        """Sizes and counts; ``total_parameters`` counts frozen layers too."""
        return {
            "model_type": type(self).__name__,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "total_parameters": sum(parameter.numel() for parameter in self.parameters()),
            "device": self.device,
        }

    def extra_repr(self) -> str:
        """The text before the layers in ``repr``."""
        return (
            f"input_size={self.input_size}, hidden_size={self.hidden_size}, "
            f"num_layers={self.num_layers}, dropout={self.dropout}"
        )
