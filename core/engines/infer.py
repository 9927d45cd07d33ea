"""Batched forward passes: many streams' samples, or many casts' windows, in one call; numpy in, numpy out.

The live engines and the offline reference share these functions, with input statistics and calibration applied here.
A model is a net, the plain arrays that one is made from, or a torch model, which runs as a net too unless it is on a
GPU. So this module loads no torch.

Against `nn.LSTM` 10,000 steps of the shipped signal model differ by at most 1.6e-5, in 96 of 100 signals by 1e-5
(`benchmarks/equality.py`). That needs oneDNN's sigmoid, as the compiled step has it: `nn.LSTM` with and without oneDNN
differ by up to 3.5e-4 over these steps.
Shapes: N samples, B rows of the batch, T steps, F features, H hidden units, L layers, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.defect_net import DefectNet
from core.engines.ragged import BatchPlan as BatchPlan
from core.engines.signal_net import SignalNet
from core.models.weights_file import ModelWeights, weights_of

if TYPE_CHECKING:
    from core.models.defect_lstm import SteelDefectLSTM
    from core.models.signal_lstm import SignalExtractionLSTM

    SignalModel = SignalNet | ModelWeights | SignalExtractionLSTM
    DefectModel = DefectNet | ModelWeights | SteelDefectLSTM

PEAK_TOLERANCE = 1e-6  # of attention, relative: what float32 leaves open between two ways to sum


def prepare(model: SignalModel | DefectModel) -> None:
    """Set torch up, for a torch model."""
    if not isinstance(model, SignalNet | DefectNet | ModelWeights):
        from core.engines import infer_torch

        infer_torch.prepare(model)


def signal_net(model: SignalModel) -> SignalNet:
    """The model as a net, with its parameters and input statistics as they are now."""
    if isinstance(model, SignalNet):
        return model
    found = weights_of(model)
    return SignalNet.of(found.weights, found.input_statistics)


def defect_net(model: DefectModel) -> DefectNet:
    """The model as a net, with its parameters, calibration and input statistics as they are now."""
    if isinstance(model, DefectNet):
        return model
    found = weights_of(model)
    return DefectNet.of(found.config, found.weights, found.calibration, found.input_statistics)


def scores_on_gpu(model: DefectModel) -> bool:
    """True if torch scores the model's windows, on a GPU."""
    if isinstance(model, DefectNet | ModelWeights):
        return False
    from core.engines.infer_torch import on_gpu

    return on_gpu(model)


def state_size(model: SignalModel) -> int:
    """Numbers in one stream's hidden state: h of all layers, then c of all layers."""
    if isinstance(model, ModelWeights):
        return 2 * int(model.config["num_layers"]) * int(model.config["hidden_size"])
    return 2 * model.num_layers * model.hidden_size


def advance(
    model: SignalModel, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
) -> tuple[Float32s, Float32s]:
    """Step B rows through their samples: by the worker's own kernel, or by torch where the model is on a GPU.

    Args:
        model: in eval mode.
        samples: (N, F), of all rows, in any order.
        rows: (N,), the row of each sample.
        times: (N,), its place in that row, from 0 without holes.
        lengths: (B,), samples of each row, >= 1; their sum is N.
        states: (B, 2*L*H), each row's state before, as ``state_size`` has it; not changed.

    Returns:
        The predictions (N,), in the order of ``samples``, and the states after (B, 2*L*H).
    """
    if not isinstance(model, SignalNet | ModelWeights):
        from core.engines import infer_torch

        if infer_torch.on_gpu(model):
            return infer_torch.advance(model, samples, rows, times, lengths, states)
    return signal_net(model).advance(samples, rows, times, lengths, states)


def advance_sequences(
    model: SignalModel, sequences: Sequence[Float32s], states: Float32s | None = None
) -> tuple[list[Float32s], Float32s]:
    """``advance`` for whole sequences.

    Args:
        model: in eval mode.
        sequences: B of them, each (T, F), T >= 1 and of any length.
        states: (B, 2*L*H) before; None is zeros.

    Returns:
        The predictions, (T,) each, and the states after (B, 2*L*H).
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    times = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    samples = np.concatenate(sequences).astype(np.float32, copy=False)
    if states is None:
        states = np.zeros((len(lengths), state_size(model)), np.float32)
    predictions, after = advance(model, samples, rows, times, lengths, states)
    return np.split(predictions, ends[:-1]), after


def score_windows(model: DefectModel, windows: Sequence[Float32s]) -> tuple[list[float], list[int]]:
    """Score W windows.

    Args:
        model: in eval mode.
        windows: each (T, F), T >= 1 and of any length.

    Returns:
        The calibrated probability of each, and the index in it of the sample with the most attention.
    """
    probabilities, attention = attended(model, windows)
    return probabilities, [peak_of(weights) for weights in attention]


def attention_of(model: DefectModel, window: Float32s) -> Float32s:
    """The attention over one window (T, F), (T,), as it is behind the published peak."""
    return attended(model, [window])[1][0]


def attended(model: DefectModel, windows: Sequence[Float32s]) -> tuple[list[float], list[Float32s]]:
    """Score W windows, (T, F) each, T >= 1 and of any length.

    Returns:
        The calibrated probabilities, and the attention over each, (T,).
    """
    if not isinstance(model, DefectNet | ModelWeights) and scores_on_gpu(model):
        from core.engines import infer_torch

        logits, attention = infer_torch.attended(model, windows)
        return calibrated(logits, model.calibration), attention
    net = defect_net(model)
    logits, attention = net.attended(windows)
    return calibrated(logits, net.calibration), attention


def peak_of(attention: Float32s) -> int:
    """The place of the most attention in a window.

    Where attention is flat (a sensor that stands still), the last bits would decide an exact maximum: so it is the
    first of those that float32 cannot tell apart. Another machine or library may sum in another order, and find
    another step of a tie: `caststream verify` takes either.
    """
    return int(np.argmax(attention >= attention.max() * (1 - PEAK_TOLERANCE)))


def calibrated(logits: Float32s, calibration: Mapping[str, float] | None) -> list[float]:
    """Logits to probabilities: sigmoid(a * logit + b), a = 1 and b = 0 where the model has no calibration.

    Logits may be not finite: whoever publishes them sees to it.
    """
    scale, shift = (calibration["a"], calibration["b"]) if calibration else (1.0, 0.0)
    return [0.5 * (1.0 + math.tanh(0.5 * (scale * logit + shift))) for logit in logits.tolist()]
