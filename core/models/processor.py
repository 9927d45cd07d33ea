"""StatefulProcessor: whole samples offline, with the hidden state kept where the caller wants it kept.

Shapes: B streams in the batch, T steps, H hidden units, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.arrays import Float32s
from core.models.evaluation import evaluating
from core.models.signal_lstm import HiddenState, SignalExtractionLSTM

_CONDITIONS = 4  # C1..C4


class StatefulProcessor:
    """Runs a SignalExtractionLSTM over samples and batches in eval mode, without gradients.

    ``current_state`` is None, then (h, c), each (L, B, H): after every call a new tuple of new tensors, so an
    older one may be kept.

    Raises:
        TypeError: ``model`` is not a SignalExtractionLSTM.
    """

    def __init__(self, model: SignalExtractionLSTM) -> None:
        if not isinstance(model, SignalExtractionLSTM):
            raise TypeError(f"model must be SignalExtractionLSTM, got {type(model).__name__}")
        self.model = model
        self.current_state: HiddenState | None = None

    def reset_state(self, batch_size: int = 1) -> None:
        """Zeros for ``batch_size`` streams."""
        self.current_state = self.model.init_hidden(batch_size)

    def get_state_info(self) -> dict[str, Any] | None:
        """Shapes, means, standard deviations and device of the state; None without one."""
        if self.current_state is None:
            return None
        info: dict[str, Any] = {"device": str(self.current_state[0].device)}
        for name, part in zip("hc", self.current_state, strict=True):
            info[f"{name}_shape"] = tuple(part.shape)
            info[f"{name}_mean"] = part.mean().item()
            info[f"{name}_std"] = part.std().item() if part.numel() > 1 else 0.0
        return info

    def process_sample(
        self, sample: Mapping[str, Any], reset_state: bool = True, return_tensor: bool = False
    ) -> Float32s | Tensor:
        """Predictions (T,), float32, for one sample.

        Args:
            sample: ``mixed_signal`` (T,), T may be 0, and ``condition_vector`` (4,): lists, arrays or tensors.
            reset_state: start from zeros; otherwise go on from ``current_state``.
            return_tensor: a tensor on the model's device instead of an array.

        Raises:
            KeyError: one of the two is missing.
            ValueError: a wrong shape, a value that is not finite (named by its index), or a kept state of
                another batch size.
        """
        signal = self._tensor(_take(sample, "mixed_signal"))
        condition = self._tensor(_take(sample, "condition_vector"))
        if signal.dim() != 1:
            raise ValueError(f"mixed_signal must be 1D, got shape {tuple(signal.shape)}")
        if condition.numel() != _CONDITIONS:
            raise ValueError(f"condition_vector must have 4 elements, got shape {tuple(condition.shape)}")
        _check_finite("mixed_signal", signal)
        _check_finite("condition_vector", condition)
        prediction = self._run(signal[None], condition.reshape(1, _CONDITIONS), reset_state)[0, :, 0].float()
        return prediction if return_tensor else prediction.cpu().numpy()

    def process_batch(self, batch: Mapping[str, Any], reset_state: bool = True) -> Tensor:
        """Predictions (B, T, 1) for B independent samples.

        Args:
            batch: ``mixed_signals`` (B, T) and ``condition_vectors`` (B, 4), or a DataLoader's batch, which has
                the singular names.
            reset_state: start from zeros; otherwise go on from ``current_state``.

        Raises:
            KeyError, ValueError: as ``process_sample``.
        """
        signals = self._tensor(_take(batch, "mixed_signals", "mixed_signal"))
        conditions = self._tensor(_take(batch, "condition_vectors", "condition_vector"))
        if signals.dim() != 2:
            raise ValueError(f"mixed_signals must be 2D (batch, time), got shape {tuple(signals.shape)}")
        if conditions.shape != (signals.shape[0], _CONDITIONS):
            raise ValueError(
                f"condition_vectors must be ({signals.shape[0]}, 4) like mixed_signals, got {tuple(conditions.shape)}"
            )
        _check_finite("mixed_signals", signals)
        _check_finite("condition_vectors", conditions)
        return self._run(signals, conditions, reset_state).float()

    def _run(self, signals: Tensor, conditions: Tensor, reset_state: bool) -> Tensor:
        """(B, T) and (B, 4) -> (B, T, 1), in one call over all steps: the same as stepping, a hundred times faster."""
        rows, steps = signals.shape
        state = None if reset_state else self.current_state
        if state is not None and state[0].shape[1] != rows:
            raise ValueError(
                f"the kept state has batch size {state[0].shape[1]}, the input {rows}: reset_state=True sets it to zero"
            )
        x = torch.cat([signals[:, :, None], conditions[:, None].expand(rows, steps, _CONDITIONS)], dim=2)
        with evaluating(self.model):
            prediction, self.current_state = self.model.forward(x, state)
        return prediction

    # Nothing here calls it: existing code of users does.
    def _create_input_vector(self, mixed_signal: Any, condition_vector: Any, time_index: int) -> Tensor:
        """[S(t), C1..C4] at one step: (1, 1, 5), float32."""
        sample = self._tensor(mixed_signal[time_index]).reshape(1)
        condition = self._tensor(condition_vector).reshape(_CONDITIONS)
        return torch.cat([sample, condition]).float().view(1, 1, -1)

    def _tensor(self, values: Any) -> Tensor:
        """Lists, arrays and tensors of any numeric type, in the model's type and place."""
        if not isinstance(values, Tensor):  # a copy: arrays may be read-only, reversed or of any byte order
            values = torch.from_numpy(np.array(values, dtype=np.float64))
        tensor: Tensor = values.detach().to(self.model.fc.weight)
        return tensor

    def __repr__(self) -> str:
        shape = "not initialized" if self.current_state is None else str(tuple(self.current_state[0].shape))
        return f"StatefulProcessor(model={type(self.model).__name__}, state={shape})"


def _take(source: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if name in source:
            return source[name]
    raise KeyError(f"sample must contain '{names[0]}'" if len(names) == 1 else f"batch must contain '{names[0]}'")


def _check_finite(name: str, values: Tensor) -> None:
    """Raise ValueError for a NaN or infinity, which would stay in the hidden state for the rest of the sequence."""
    wrong = torch.nonzero(~torch.isfinite(values))
    if len(wrong):
        index = wrong[0].tolist()
        raise ValueError(f"{name}[{', '.join(map(str, index))}] is {values[tuple(index)].item()}, must be finite")
