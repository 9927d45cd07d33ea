"""SteelDefectLSTM: a recurrent classifier over windows of casting sensors, with attention over the window.

Shapes: B windows in the batch, T steps, F features, H hidden units, L layers, D directions (1 or 2), K logits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from core.models.defect_config import read_config
from core.models.evaluation import evaluating
from core.models.signal_lstm import draw_lstm

Lengths = Sequence[int] | NDArray[np.integer[Any]] | Tensor
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class SteelDefectLSTM(nn.Module):
    """Input norm, LSTM, readout over time, norms, head: (B, T, F) in, K logits per window out, by default one.

    Args:
        config: sections ``architecture``, ``classifier``, ``normalization``, ``regularization``, all optional;
            ``defect_config`` has keys, defaults and limits. ``architecture.readout`` says what stands for a
            window: ``last`` (the output at its last step, of which the backward half has seen one step only),
            ``ends`` (forward half at the end, backward half at step 0), ``attention`` (the mean over time
            weighted by the published attention).
        skip_init_weights: keep torch's own initialisation (a checkpoint is about to be loaded).

    Raises:
        ValueError: a configured value outside its limits.
    """

    calibration: dict[str, Any] | None
    input_statistics: dict[str, Any] | None
    training_ranges: dict[str, Any] | None

    def __init__(self, config: Mapping[str, Any] | None = None, skip_init_weights: bool = False) -> None:
        super().__init__()
        self.config = copy.deepcopy(dict(config or {}))
        self.settings = settings = read_config(self.config)
        self.input_size = settings.input_size
        self.hidden_size = settings.hidden_size
        self.num_layers = settings.num_layers
        self.bidirectional = settings.bidirectional
        self.dropout = settings.dropout
        self.readout = settings.readout
        self.classifier_hidden_dims = list(settings.hidden_dims)
        self.classifier_activation = settings.activation
        self.classifier_dropout = settings.classifier_dropout
        self.use_batch_norm = settings.batch_norm
        self.use_layer_norm = settings.layer_norm
        self.use_input_norm = settings.input_norm
        self.weight_decay = settings.weight_decay
        self.gradient_clip = settings.gradient_clip
        self.calibration = None  # {"a", "b"}: probability = sigmoid(a * logit + b), applied by the caller
        self.input_statistics = None  # {"mean": [F], "std": [F]}: applied by the caller, before the model
        self.training_ranges = None  # {"low": [F], "high": [F], "one_hot"}: see core.models.ranges
        self._last_attention: Tensor | None = None
        self._build()
        if not skip_init_weights:
            self.reset_parameters()

    def _build(self) -> None:
        features = self.hidden_size * (2 if self.bidirectional else 1)  # D*H
        if self.use_input_norm:
            self.input_norm = nn.BatchNorm1d(self.input_size)
        self.lstm = nn.LSTM(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            batch_first=True,
            dropout=self.dropout if self.num_layers > 1 else 0.0,
            bidirectional=self.bidirectional,
        )
        if self.use_batch_norm:
            self.lstm_batch_norm = nn.BatchNorm1d(features)
        if self.use_layer_norm:
            self.lstm_layer_norm = nn.LayerNorm(features)
        layers: list[nn.Module] = []
        for width in self.classifier_hidden_dims:
            # Dropout always stands, also at 0: the numbers in the state dict's names depend on it.
            activation = _ACTIVATIONS[self.classifier_activation]()
            layers += [nn.Linear(features, width), activation, nn.Dropout(self.classifier_dropout)]
            features = width
        self.classifier = nn.Sequential(*layers, nn.Linear(features, self.settings.outputs))

    def reset_parameters(self) -> None:
        """Draw all weights again; the forget gates start open (bias 1), so that early gradients reach far back."""
        draw_lstm(self.lstm)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_ih"):
                nn.init.ones_(parameter.data[self.hidden_size : 2 * self.hidden_size])
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, lengths: Lengths | None = None, sequence_lengths: Lengths | None = None) -> Tensor:
        """Logits (B, K).

        Args:
            x: (B, T, F), any dtype and memory layout.
            lengths: valid steps of each row, 1..T, in any order; None takes all T. What stands behind a length
                never changes a result, whatever it is.
            sequence_lengths: another name for ``lengths``.

        Raises:
            ValueError: x is not (B, T, F) with B, T >= 1 and the model's F; lengths not B integers in 1..T.
        """
        if lengths is not None and sequence_lengths is not None:
            raise ValueError("give lengths or sequence_lengths, not both: they are two names for the same")
        outputs = self._run(x, sequence_lengths if lengths is None else lengths)
        self._last_attention = outputs["attention"].detach()
        logits: Tensor = self.classifier(outputs["normalized_features"])
        return logits

    def _run(self, x: Tensor, lengths: Lengths | None) -> dict[str, Tensor]:
        """Run all layers up to the head; return each by its name in ``get_layer_outputs``, and the ``attention``."""
        x, counts = self._check(x, lengths)
        mask = None if counts is None else (torch.arange(x.shape[1]) < counts[:, None]).to(x.device)  # (B, T)
        x = self._normalize_input(x, mask)
        output, (h, c) = self._recur(x, counts)  # (B, T, D*H), (L*D, B, H)
        attention = _attention(output, mask)  # (B, T)
        features = self._read_out(output, counts, attention)  # (B, D*H)
        return {
            "input_normalized": x,
            "lstm_output": output,
            "lstm_hidden": h,
            "lstm_cell": c,
            "final_features": features,
            "normalized_features": self._normalize_features(features),
            "attention": attention,
        }

    def _check(self, x: Tensor, lengths: Lengths | None) -> tuple[Tensor, Tensor | None]:
        """x in the model's dtype and place, and the lengths as int64 on the CPU; None where every row is full."""
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"x must be (batch, time, {self.input_size}), got shape {tuple(x.shape)}")
        if x.shape[0] == 0 or x.shape[1] == 0:
            raise ValueError(f"x must hold at least one row and one step, got shape {tuple(x.shape)}")
        x = x.to(self._weight)
        if lengths is None:
            return x, None
        counts = torch.as_tensor(lengths).detach().cpu()
        if counts.dtype.is_floating_point or counts.dtype.is_complex or counts.dtype == torch.bool:
            raise ValueError(f"lengths must be integers, got {counts.dtype}")
        counts = counts.reshape(-1).to(torch.int64)
        if len(counts) != x.shape[0]:
            raise ValueError(f"lengths must hold one length for each of the {x.shape[0]} rows, got {len(counts)}")
        if counts.min() < 1 or counts.max() > x.shape[1]:
            wrong = int(torch.nonzero((counts < 1) | (counts > x.shape[1]))[0])
            raise ValueError(f"lengths[{wrong}] is {int(counts[wrong])}, must be from 1 to T = {x.shape[1]}")
        return x, None if bool((counts == x.shape[1]).all()) else counts

    def _normalize_input(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, F), padding replaced by zeros: it may hold NaN, and 0 * NaN would reach the gradients."""
        if not self.use_input_norm:
            return x if mask is None else x.masked_fill(~mask[:, :, None], 0.0)
        if mask is None:
            return _batch_norm(self.input_norm, x.reshape(-1, self.input_size)).view(x.shape)
        rows = _batch_norm(self.input_norm, x[mask])  # (sum of lengths, F): padding is in no statistic
        return torch.zeros_like(x).masked_scatter(mask[:, :, None], rows)

    def _recur(self, x: Tensor, counts: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if counts is None:
            output, state = self.lstm(x)
            return output, state
        packed = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        packed_output, state = self.lstm(packed)
        output, _ = pad_packed_sequence(packed_output, batch_first=True, total_length=x.shape[1])
        return output, state

    def _read_out(self, output: Tensor, counts: Tensor | None, attention: Tensor) -> Tensor:
        if self.readout == "attention":
            return (attention[:, :, None] * output).sum(dim=1)
        if counts is None:
            last = output[:, -1]
        else:
            rows = torch.arange(len(counts), device=output.device)
            last = output[rows, (counts - 1).to(output.device)]  # (B, D*H)
        if self.readout == "ends" and self.bidirectional:
            return torch.cat([last[:, : self.hidden_size], output[:, 0, self.hidden_size :]], dim=1)
        return last

    def _normalize_features(self, features: Tensor) -> Tensor:
        if self.use_batch_norm:
            features = _batch_norm(self.lstm_batch_norm, features)
        if self.use_layer_norm:
            features = self.lstm_layer_norm(features)
        return features

    @property
    def _weight(self) -> Tensor:
        """Return one parameter, for its device and dtype."""
        return next(self.lstm.parameters())

    def init_hidden(self, batch_size: int, device: str | torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Zeros (h, c), each (L*D, B, H), on the parameters' device unless another is named."""
        shape = (self.num_layers * (2 if self.bidirectional else 1), batch_size, self.hidden_size)
        return self._weight.new_zeros(shape, device=device), self._weight.new_zeros(shape, device=device)

    def get_attention_weights(self, x: Tensor | None = None, lengths: Lengths | None = None) -> Tensor:
        """Attention (B, T): the softmax over time of the L2 norm of the LSTM's output.

        Rows sum to 1 and are zero from each length on. x runs as at inference (running statistics, no dropout);
        without x, these are the weights of the last ``forward``.

        Raises:
            RuntimeError: no x, and nothing has run yet.
        """
        if x is not None:
            with evaluating(self):
                return self._run(x, lengths)["attention"]
        if self._last_attention is None:
            raise RuntimeError("no forward pass yet: give x")
        return self._last_attention

    def get_layer_outputs(
        self, x: Tensor, lengths: Lengths | str | None = None, layer_name: str | Lengths | None = None
    ) -> Any:
        """Return the outputs of each layer for x, run as at inference and without gradients.

        Args:
            x: (B, T, F).
            lengths: as in ``forward``; or the layer's name, with the lengths third.
            layer_name: the one layer to return.

        Returns:
            A dict of ``input_normalized`` (B, T, F), ``lstm_output`` (B, T, D*H), ``lstm_hidden`` and ``lstm_cell``
            (L*D, B, H), ``final_features`` and ``normalized_features`` (B, D*H); or the named one.

        Raises:
            ValueError: no layer has that name.
        """
        if isinstance(lengths, str):
            lengths, layer_name = layer_name, lengths
        assert not isinstance(lengths, str)
        with evaluating(self):
            outputs = self._run(x, lengths)
        del outputs["attention"]
        if layer_name is None:
            return outputs
        if layer_name not in outputs:
            raise ValueError(f"no layer '{layer_name}': there are {', '.join(outputs)}")
        return outputs[str(layer_name)]

    def freeze_layers(self, freeze_lstm: bool | Sequence[str] = True, freeze_classifier: bool = False) -> None:
        """Take layers out of training. What is not named stays as it is: `unfreeze_layers` brings layers back.

        Args:
            freeze_lstm: True freezes the LSTM, False leaves it as it is; or a list of names (layers or single
                parameters) to freeze.
            freeze_classifier: the same for the head.

        Raises:
            ValueError: a name that no layer or parameter has.
        """
        self._set_trainable(_chosen(freeze_lstm, freeze_classifier), False)

    def unfreeze_layers(self, lstm: bool | Sequence[str] = True, classifier: bool = True) -> None:
        """Bring layers back into training; False leaves a part as it is.

        Args:
            lstm: whether the LSTM; or a list of names (layers or single parameters), and then ``classifier`` says
                nothing.
            classifier: whether the head.

        Raises:
            ValueError: a name that no layer or parameter has.
        """
        self._set_trainable(_chosen(lstm, classifier and isinstance(lstm, bool)), True)

    def _set_trainable(self, layers: Sequence[str], trainable: bool) -> None:
        parameters = dict(self.named_parameters())
        for layer in layers:
            chosen = [name for name in parameters if name == layer or name.startswith(f"{layer}.")]
            if not chosen:
                raise ValueError(
                    f"no layer '{layer}': there are {', '.join(name for name, _ in self.named_children())}"
                )
            for name in chosen:
                parameters[name].requires_grad_(trainable)

    def get_model_info(self) -> dict[str, Any]:
        """Sizes, counts and configuration as plain data."""
        total = sum(parameter.numel() for parameter in self.parameters())
        trainable = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict().values())
        sections = self.settings.sections()
        classifier, regularization = sections["classifier"], sections["regularization"]
        return {
            "model_type": type(self).__name__,
            "total_parameters": total,
            "trainable_parameters": trainable,
            "model_size_mb": size_bytes / 2**20,
            "architecture": sections["architecture"] | {"classifier_dims": classifier["hidden_dims"]},
            "classifier": classifier,
            "regularization": {"dropout": self.dropout, "classifier_dropout": self.classifier_dropout} | regularization,
            "normalization": sections["normalization"],
            "parameters": {"total": total, "trainable": trainable, "frozen": total - trainable},
        }

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Model files of an older form name the norm after the LSTM ``lstm_norm``."""
        old = f"{prefix}lstm_norm."
        new = "lstm_batch_norm" if f"{old}running_mean" in state_dict else "lstm_layer_norm"
        for key in [key for key in state_dict if key.startswith(old)]:
            state_dict[f"{prefix}{new}.{key.removeprefix(old)}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _batch_norm(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """BatchNorm1d, also for a single row in training: one row has no variance, so the running statistics serve."""
    if norm.training and len(rows) == 1:
        return nn.functional.batch_norm(
            rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
        )
    normalized: Tensor = norm(rows)
    return normalized


def _chosen(lstm: bool | Sequence[str], classifier: bool) -> list[str]:
    """The names of layers that a call is about."""
    if isinstance(lstm, str):
        names = [lstm]
    elif isinstance(lstm, Sequence):
        names = list(lstm)
    else:
        names = ["lstm"] if lstm else []  # numpy's booleans too
    return [*names, "classifier"] if classifier else names


def _attention(output: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, D*H) -> (B, T): softmax over time of the L2 norm, zero where the mask is False."""
    norms = torch.linalg.vector_norm(output, dim=2)
    if mask is not None:
        norms = norms.masked_fill(~mask, float("-inf"))
    return torch.softmax(norms, dim=1)
