"""The start of training: three ways to set the weights of a signal model.

``constructor`` leaves the model as it was made. ``chrono`` spreads the memories of its units over time scales (Tallec
and Ollivier 2018, "Can recurrent neural networks warp time?"). ``kalman`` writes the Kalman filter of the file's own
frequencies into some of the units, so that training starts from the best linear estimate instead of from nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from core.arrays import Float64s
from core.data.signals import AMPLITUDES
from core.errors import StartupError
from core.models.signal_lstm import SignalExtractionLSTM
from core.training.kalman import Mixture, gains

CHRONO_MAX_STEPS = 500
INPUT, FORGET, CELL, OUTPUT = range(4)  # torch's order of the gates in a row block of 4H


def chrono_init(lstm: nn.LSTM) -> None:
    """Set the gate biases for memories of 1 to CHRONO_MAX_STEPS steps.

    With zero biases a unit forgets half of its cell at each step; the slowest sine here takes 1,000 steps. Measured:
    MSE 0.27 after 9 minutes with zero biases, 0.047 after 8 with these.
    """
    hidden = lstm.hidden_size
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            bias = getattr(lstm, f"bias_ih_l{layer}")
            forget = torch.log(torch.empty(hidden).uniform_(1.0, CHRONO_MAX_STEPS - 1.0))
            bias.zero_()
            getattr(lstm, f"bias_hh_l{layer}").zero_()
            bias[hidden : 2 * hidden] = forget
            bias[:hidden] = -forget


# --- kalman

# All scales are for amplitudes up to those of generated signals, and are made smaller for larger ones.
# Cells hold the filter's state times STATE_SCALE: tanh(x) = x - x^3/3 then bends a turn by less than 1e-5 of itself.
# At 0.04 the cubic term slowed the fastest sine by 0.2 %, a phase error of 0.14 rad over a memory of two seconds.
STATE_SCALE = 0.005
INNOVATION_SCALE = 0.1
OUTPUT_SCALE = 0.05
STATE_FORGET = 6.0  # the turn per step is small, so most of it can be left to the forget gate
SELECT = 10.0  # the gate of a component that is not asked for: sigmoid(-10) = 5e-5
OPEN = 4.0  # the bias of a gate that stays open: sigmoid(4) = 0.982
SHUT = -20.0
CLOCK_STEPS = (2, 8, 32, 128, 512, 2048, 8192)
CLOCK_RANGE = 6.0  # a clock's cell ends here: tanh(6) = 0.99999, and no cell grows with the length of a sequence
# Innovations are weighted by 1 / (1 + t / scale), each flat up to its scale and falling with 1/t as the gains do: a sum
# of these follows the gains. (Weights of 1 / (scale + t), better conditioned, train worse: 2.1e-4 against 1.4e-4.)
GAIN_SCALES = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
# The filter assumes this much wandering, so that its gains level off: a memory of a few seconds, whatever the length.
DRIFT = 3e-7
FITTED_STEPS = 10_000
RIDGE = 3e-6


def kalman_init(model: SignalExtractionLSTM, mixture: Mixture) -> dict[str, Tensor]:
    """Write the Kalman filter of ``mixture`` into the first units of a signal model, and read the others not at all.

    An LSTM whose gates stand still and whose cells stay small is a linear system, c' = f c + i (W x + U o c), so U can
    hold any matrix. Units of layer 0, from the first: the filter's state (2 per frequency), already turned to the next
    step; clocks, that count the steps since the sequence began; the innovation, weighted by input gates that the
    clocks close as the gain falls; the condition vector, handed on. Layer 1 adds the correction and picks by the
    condition. The units that are left keep their weights, and the output starts without them.

    Returns:
        For some parameters a mask of their shape, 0 where training must leave the filter as it is. The states turn by
        known angles and are corrected by 1e-7 per step in the end: an update of 1e-5 there, from any unit, is worth
        more than all that was learnt (measured: MSE 4e-4 to 9e-2 in a minute at a learning rate of 3e-5).

    Raises:
        StartupError: the model is too small, or does not read one condition per frequency.
    """
    writer = _Writer(model, mixture)
    writer.write()
    return writer.masks()


def _ridge(design: Float64s, wanted: Float64s) -> Float64s:
    """Least squares that keeps the weights small: large ones of opposite sign would not survive float32."""
    square = design.T @ design
    return np.asarray(np.linalg.solve(square + RIDGE * np.trace(square) * np.eye(len(square)), design.T @ wanted))


class _Writer:
    def __init__(self, model: SignalExtractionLSTM, mixture: Mixture) -> None:
        frequencies, hidden = len(mixture.frequencies_hz), model.hidden_size
        self.mixture, self.model, self.frequencies, self.hidden = mixture, model, frequencies, hidden
        used = 2 * frequencies + len(CLOCK_STEPS) + len(GAIN_SCALES) + 1 + frequencies
        if model.num_layers != 2 or hidden < used or model.input_size != 1 + frequencies:
            raise StartupError(
                f"initialisation kalman for {frequencies} frequencies needs 2 layers, at least {used} hidden units and "
                f"{1 + frequencies} inputs; the model has {model.num_layers}, {hidden} and {model.input_size}"
            )
        ends = np.cumsum([0, 2 * frequencies, len(CLOCK_STEPS), len(GAIN_SCALES) + 1, frequencies])
        self.states, self.clocks, self.innovations, self.conditions = (
            list(range(first, end)) for first, end in itertools.pairwise(ends.tolist())
        )
        unit = mixture.amplitudes[1] / AMPLITUDES[1]
        self.state_scale, self.innovation_scale = STATE_SCALE / unit, INNOVATION_SCALE / unit
        self.output_scale, self.drift = OUTPUT_SCALE / unit, DRIFT * unit**2
        self.gate = float(1.0 / (1.0 + np.exp(-OPEN)))  # what an open gate lets through

    def write(self) -> None:
        with torch.no_grad():
            self._clear()
            reading = self._write_clocks()
            correction = self._write_innovations(reading)
            self._write_states(correction)
            self._write_conditions()
            self._write_readout(correction)

    def _clear(self) -> None:
        """No unit that is written reads another; the rest stays as it is."""
        lstm = self.model.lstm
        for layer, units in ((0, self.conditions[-1] + 1), (1, self.frequencies)):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = getattr(lstm, f"{part}_l{layer}")
                for gate in range(4):
                    value[gate * self.hidden : gate * self.hidden + units] = 0.0
        self.model.fc.weight.zero_()
        self.model.fc.bias.zero_()

    def masks(self) -> dict[str, Tensor]:
        """Layer 0: states, clocks and conditions stay, but for what the states take from the innovations."""
        kept = [*self.states, *self.clocks, *self.conditions]
        found = {}
        for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            mask = torch.ones_like(getattr(self.model.lstm, part))
            for gate in range(4):
                mask[[gate * self.hidden + unit for unit in kept]] = 0.0
            found[f"lstm.{part}"] = mask
        rows = [CELL * self.hidden + unit for unit in self.states]
        found["lstm.weight_hh_l0"][rows, self.innovations[0] : self.innovations[-1] + 1] = 1.0
        return found

    def _set(
        self,
        layer: int,
        unit: int,
        gate: int,
        bias: float = 0.0,
        reads: Mapping[int, float] | None = None,
        recurs: Mapping[int, float] | None = None,
    ) -> None:
        """Set bias, input weights and recurrent weights of one gate of one unit."""
        lstm, row = self.model.lstm, gate * self.hidden + unit
        getattr(lstm, f"bias_ih_l{layer}")[row] = bias
        for name, weights in (("weight_ih", reads), ("weight_hh", recurs)):
            for column, value in (weights or {}).items():
                getattr(lstm, f"{name}_l{layer}")[row, column] = value

    def _write_clocks(self) -> Float64s:
        """Clocks rise from 0 to 1, each on a time scale of its own.

        Returns:
            What the gates read of them: h at each step before, (T, clocks).
        """
        steps = np.arange(FITTED_STEPS)
        columns = []
        for unit, scale in zip(self.clocks, CLOCK_STEPS, strict=True):
            forget = 1.0 - 1.0 / (CLOCK_RANGE * scale)
            self._set(0, unit, INPUT, bias=OPEN)
            self._set(0, unit, FORGET, bias=math.log(forget / (1.0 - forget)))
            self._set(0, unit, CELL, bias=math.atanh(1.0 / scale / self.gate))
            self._set(0, unit, OUTPUT, bias=OPEN)
            columns.append(self.gate * np.tanh(CLOCK_RANGE * (1.0 - forget**steps)))
        return np.stack(columns, axis=1)

    def _write_innovations(self, reading: Float64s) -> Float64s:
        """Units that see the sample less its prediction, each through an input gate that closes on its own scale.

        Returns:
            (S, units): what a unit's h adds to the filter's state, before the turn to the next step.
        """
        steps = np.arange(FITTED_STEPS)
        weights = 1.0 / (1.0 + steps)  # as many points per decade
        design = np.column_stack([reading, np.ones(FITTED_STEPS)])
        profiles = []
        for unit, scale in zip(self.innovations, [*GAIN_SCALES, None], strict=True):
            self._set(0, unit, FORGET, bias=SHUT)
            self._set(0, unit, OUTPUT, bias=OPEN)
            if scale is None:
                self._set(0, unit, INPUT, bias=OPEN)
                profiles.append(np.full(FITTED_STEPS, self.gate))
                continue
            wanted = -np.log((1.0 + steps) / scale)  # sigmoid of it: 1 / (1 + (1 + t) / scale)
            fitted = np.linalg.lstsq(design * np.sqrt(weights)[:, None], wanted * np.sqrt(weights), rcond=None)[0]
            self._set(0, unit, INPUT, bias=fitted[-1], recurs=dict(zip(self.clocks, fitted[:-1], strict=True)))
            profiles.append(1.0 / (1.0 + np.exp(-(design @ fitted))))
        seen = np.stack(profiles, axis=1)  # (T, units)
        wanted_gains = gains(self.mixture, FITTED_STEPS, self.drift)  # (T, S)
        near = 1.0 / np.abs(wanted_gains).max(axis=1) / np.sqrt(1.0 + steps)  # relative error, per decade
        fitted = _ridge(seen * near[:, None], wanted_gains * near[:, None])  # (units, S)
        correction = fitted.T / (self.innovation_scale * self.gate)  # (S, units)
        predicts = self.mixture.observed @ self.mixture.rotation  # (S,): the next sample of a state
        for unit in self.innovations:
            recurs = self._of_states(-self.innovation_scale * predicts)
            recurs |= dict(zip(self.innovations, -self.innovation_scale * predicts @ correction, strict=True))
            self._set(0, unit, CELL, reads={0: self.innovation_scale}, recurs=recurs)
        return correction

    def _of_states(self, row: Float64s) -> dict[int, float]:
        """Weights on the states' units for a ``row`` (S,) on the filter's state."""
        return dict(zip(self.states, row / (self.state_scale * self.gate), strict=True))

    def _write_states(self, correction: Float64s) -> None:
        """c' = f c + i (U h): U takes the turn less the f that the cell keeps by itself, and the correction."""
        rotation = self.mixture.rotation
        kept = 1.0 / (1.0 + math.exp(-STATE_FORGET))
        own = self.state_scale * (rotation - kept * np.eye(len(rotation))) / self.gate  # (S, S)
        added = self.state_scale * (rotation @ correction) / self.gate  # (S, units)
        for row, unit in enumerate(self.states):
            self._set(0, unit, INPUT, bias=OPEN)
            self._set(0, unit, FORGET, bias=STATE_FORGET)
            self._set(0, unit, OUTPUT, bias=OPEN)
            recurs = self._of_states(own[row]) | dict(zip(self.innovations, added[row], strict=True))
            self._set(0, unit, CELL, recurs=recurs)

    def _write_conditions(self) -> None:
        for column, unit in enumerate(self.conditions, start=1):
            self._set(0, unit, INPUT, bias=OPEN)
            self._set(0, unit, FORGET, bias=SHUT)
            self._set(0, unit, OUTPUT, bias=OPEN)
            self._set(0, unit, CELL, reads={column: 1.0})

    def _write_readout(self, correction: Float64s) -> None:
        """Write one unit of layer 1 per frequency: the corrected component, let in if the condition asks for it."""
        condition = self.gate * math.tanh(self.gate * math.tanh(1.0))  # what a condition of 1 arrives as
        for k in range(self.frequencies):
            component = np.eye(len(self.states))[2 * k]
            reads = self._of_states(self.output_scale * component)
            reads |= dict(zip(self.innovations, self.output_scale * component @ correction, strict=True))
            self._set(1, k, CELL, reads=reads)
            self._set(1, k, INPUT, bias=-SELECT, reads={self.conditions[k]: 2.0 * SELECT / condition})
            self._set(1, k, FORGET, bias=SHUT)
            self._set(1, k, OUTPUT, bias=OPEN)
            self.model.fc.weight[0, k] = 1.0 / (self.output_scale * self.gate)
