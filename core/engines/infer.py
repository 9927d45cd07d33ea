"""Batched forward passes: many streams' samples, or many casts' windows, in one call; numpy in, numpy out.

The live engines and the offline reference share these functions, with input statistics and calibration applied here.
Against `nn.LSTM` 10,000 steps of the shipped signal model differ by at most 1e-5. That needs oneDNN's sigmoid, as the
compiled step has it: `nn.LSTM` with and without oneDNN differ by up to 3.5e-4 over these steps.
Shapes: N samples, B rows of the batch, T steps, F features, H hidden units, L layers, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from core.arrays import Float32s, Int64s
from core.engines.ragged import BatchPlan
from core.models.defect_lstm import SteelDefectLSTM
from core.models.signal_lstm import SignalExtractionLSTM
from core.native.lstm import LstmKernel

MAX_WINDOWS = 64  # per call: a batch of 64 x 500 steps holds 65 MB of layer output, and more rows are not faster
PEAK_TOLERANCE = 1e-6  # of attention, relative: what float32 leaves open between two batch shapes


def prepare(model: SignalExtractionLSTM | SteelDefectLSTM) -> None:
    """Set torch up: one thread, and float32 in full on a GPU.

    Processes are the unit of scale; threads that share a step this small wait for each other: on two busy cores the
    offline run over 400,000 samples took 49 s with two threads and 1.8 s with one.
    """
    torch.set_num_threads(1)
    if next(model.parameters()).is_cuda:
        # cuDNN's default is TF32: its 10-bit mantissa is worth 1e-3 in a prediction.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def state_size(model: SignalExtractionLSTM) -> int:
    """Numbers in one stream's hidden state: h of all layers, then c of all layers."""
    return 2 * model.num_layers * model.hidden_size


def make_kernel(model: SignalExtractionLSTM) -> LstmKernel:
    """The compiled step of a model, with its parameters as they are now. In float32, whatever their type."""
    parameters = {name: parameter.detach().float().cpu().numpy() for name, parameter in model.named_parameters()}
    layers = [
        (
            parameters[f"lstm.weight_ih_l{layer}"],
            parameters[f"lstm.weight_hh_l{layer}"],
            parameters[f"lstm.bias_ih_l{layer}"],
            parameters[f"lstm.bias_hh_l{layer}"],
        )
        for layer in range(model.num_layers)
    ]
    statistics = model.input_statistics or {"mean": None, "std": None}
    output = (parameters["fc.weight"], parameters["fc.bias"])
    return LstmKernel(model.input_size, model.hidden_size, layers, output, statistics["mean"], statistics["std"])


def advance(
    model: SignalExtractionLSTM, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
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
    if model.fc.weight.is_cuda:
        return _advance_by_torch(model, samples, rows, times, lengths, states)
    after = states.astype(np.float32, order="C")
    return make_kernel(model).advance(np.ascontiguousarray(samples), rows, times, lengths, after)[:, 0], after


def _advance_by_torch(
    model: SignalExtractionLSTM, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
) -> tuple[Float32s, Float32s]:
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


def advance_sequences(
    model: SignalExtractionLSTM, sequences: Sequence[Float32s], states: Float32s | None = None
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


def score_windows(model: SteelDefectLSTM, windows: Sequence[Float32s]) -> tuple[list[float], list[int]]:
    """Score W windows.

    Args:
        model: in eval mode.
        windows: each (T, F), T >= 1 and of any length.

    Returns:
        The calibrated probability of each, and the index in it of the sample with the most attention.
    """
    probabilities, peaks = [0.0] * len(windows), [0] * len(windows)
    by_length: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        by_length.setdefault(len(window), []).append(i)
    for alike in by_length.values():
        for start in range(0, len(alike), MAX_WINDOWS):
            chosen = alike[start : start + MAX_WINDOWS]
            found, attention = attended(model, [windows[i] for i in chosen])
            for i, probability, peak in zip(chosen, found, _peaks(attention), strict=True):
                probabilities[i], peaks[i] = probability, peak
    return probabilities, peaks


def attention_of(model: SteelDefectLSTM, window: Float32s) -> Float32s:
    """The attention over one window (T, F), (T,), as it is behind the published peak."""
    x = _standardised(torch.from_numpy(window)[None], model.input_statistics)  # (1, T, F)
    attention: Float32s = _numpy(model.get_attention_weights(x))[0]
    return attention


def attended(model: SteelDefectLSTM, windows: Sequence[Float32s]) -> tuple[list[float], Float32s]:
    """Score W windows of one length T: hop scores are, mostly, and a batch without padding in time needs no packing.

    Returns:
        The calibrated probabilities, and the attention (W, T).
    """
    x = _standardised(torch.from_numpy(np.stack(windows)), model.input_statistics)  # (W, T, F)
    device = next(model.parameters()).device
    if device.type == "cuda":
        x = x.pin_memory().to(device, non_blocking=True)
    with torch.inference_mode():
        # (W, 1) and (W, T), the attention of the pass just made: one copy back, which waits for the device.
        found = _numpy(torch.cat((model(x), model.get_attention_weights()), dim=1))
    return _calibrated(found[:, 0], model.calibration), found[:, 1:]


def _peaks(attention: Float32s) -> list[int]:
    """The place of the most attention in each window.

    Where attention is flat (a sensor that stands still), the last bits would decide an exact maximum: the first of
    those that float32 cannot tell apart is the same on one kind of machine. Another kind sums in another order, and may
    find another step of a tie: `caststream verify` takes either.
    """
    highest = attention.max(axis=1, keepdims=True)
    peaks: list[int] = np.argmax(attention >= highest * (1 - PEAK_TOLERANCE), axis=1).tolist()
    return peaks


def _calibrated(logits: Float32s, calibration: dict[str, float] | None) -> list[float]:
    """Logits to probabilities: sigmoid(a * logit + b), a = 1 and b = 0 where the model has no calibration."""
    scale, shift = (calibration["a"], calibration["b"]) if calibration else (1.0, 0.0)
    with np.errstate(invalid="ignore"):  # logits that are not finite: whoever publishes them sees to it
        found = 0.5 * (1.0 + np.tanh(0.5 * (scale * logits.astype(np.float64) + shift)))
    probabilities: list[float] = found.tolist()
    return probabilities


def _standardised(x: Tensor, statistics: dict[str, list[float]] | None) -> Tensor:
    """x (..., F) as the model was trained on it."""
    if statistics is None:
        return x
    return (x - x.new_tensor(statistics["mean"])) / x.new_tensor(statistics["std"])


def _numpy(tensor: Tensor) -> Float32s:
    array: Float32s = tensor.float().cpu().numpy()
    return array
