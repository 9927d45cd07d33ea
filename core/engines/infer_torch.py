"""The models by torch, for those on a GPU. Imported where a torch model is at hand.

Shapes: N samples, B rows of the batch, T steps, F features, H hidden units, L layers, W windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from core.arrays import Float32s, Int64s
from core.engines.ragged import BatchPlan
from core.models.defect_lstm import SteelDefectLSTM
from core.models.signal_lstm import SignalExtractionLSTM

MAX_WINDOWS = 64  # per call: a batch of 64 x 500 steps holds 65 MB of layer output, and more rows are not faster


def prepare(model: SignalExtractionLSTM | SteelDefectLSTM) -> None:
    """Set torch up: one thread, and float32 in full on a GPU.

    Processes are the unit of scale; threads that share a step this small wait for each other: on two busy cores the
    offline run over 400,000 samples took 49 s with two threads and 1.8 s with one.
    """
    torch.set_num_threads(1)
    if on_gpu(model):
        # cuDNN's default is TF32: its 10-bit mantissa is worth 1e-3 in a prediction.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def on_gpu(model: nn.Module) -> bool:
    """True if the model's parameters are on a CUDA device."""
    return next(model.parameters()).is_cuda


def advance(
    model: SignalExtractionLSTM, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
) -> tuple[Float32s, Float32s]:
    """Step B rows through their samples; see `core.engines.infer.advance`."""
    plan = BatchPlan.of(rows, times, lengths)
    ordered = np.empty_like(samples)
    ordered[plan.places] = samples
    predictions, after = _step_packed(model, ordered, plan.running, states[plan.order])
    return predictions[plan.places], after[plan.rank]


def _step_packed(
    model: SignalExtractionLSTM, samples: Float32s, running: Int64s, states: Float32s
) -> tuple[Float32s, Float32s]:
    """Time-major samples of rows, longest first: (N, F) and (B, 2*L*H) to (N,) and (B, 2*L*H)."""
    batch, weight = len(states), model.fc.weight
    x = _standardised(torch.from_numpy(samples).to(weight), model.input_statistics)  # (N, F)
    before = torch.from_numpy(states).view(batch, 2, model.num_layers, -1).permute(1, 2, 0, 3)  # (2, L, B, H)
    h, c = before.to(weight).contiguous()
    with torch.inference_mode():
        output, after = model.lstm(PackedSequence(x, torch.from_numpy(running)), (h, c))
        predictions = model.fc(output.data)[:, 0]
        after_all = torch.stack(after).permute(2, 0, 1, 3).reshape(batch, -1)  # (B, 2*L*H)
    return _numpy(predictions), _numpy(after_all)


def attended(model: SteelDefectLSTM, windows: Sequence[Float32s]) -> tuple[Float32s, list[Float32s]]:
    """Run W windows, (T, F) each, T >= 1 and of any length: the logits (W,), and the attention of each, (T,).

    Windows of one length run together: hop scores are, mostly, and a batch without padding in time needs no packing.
    """
    logits, attention = np.empty(len(windows), np.float32), [np.empty(0, np.float32)] * len(windows)
    by_length: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_length.setdefault(len(window), []).append(place)
    for alike in by_length.values():
        for start in range(0, len(alike), MAX_WINDOWS):
            chosen = alike[start : start + MAX_WINDOWS]
            logits[chosen], weights = _attend(model, np.stack([windows[place] for place in chosen]))
            for place, one in zip(chosen, weights, strict=True):
                attention[place] = one
    return logits, attention


def _attend(model: SteelDefectLSTM, windows: Float32s) -> tuple[Float32s, Float32s]:
    """Windows (W, T, F) to the logits (W,) and the attention (W, T)."""
    x = _standardised(torch.from_numpy(windows), model.input_statistics)
    device = next(model.parameters()).device
    if device.type == "cuda":
        x = x.pin_memory().to(device, non_blocking=True)
    with torch.inference_mode():
        # (W, 1) and (W, T), the attention of the pass just made: one copy back, which waits for the device.
        found = _numpy(torch.cat((model(x), model.get_attention_weights()), dim=1))
    return found[:, 0], found[:, 1:]


def _standardised(x: Tensor, statistics: Mapping[str, Any] | None) -> Tensor:
    """x (..., F) as the model was trained on it."""
    if statistics is None:
        return x
    return (x - x.new_tensor(statistics["mean"])) / x.new_tensor(statistics["std"])


def _numpy(tensor: Tensor) -> Float32s:
    array: Float32s = tensor.float().cpu().numpy()
    return array
