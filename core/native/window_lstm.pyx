"""A window classifier: an LSTM of one or two directions, attention over time, and a head; float32, on the CPU.

A window's results are the same, bit for bit, whatever else is in its batch.
"""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport unique_ptr
from libcpp.vector cimport vector

import numpy as np


cdef extern from "window_lstm_batch.hpp" namespace "caststream" nogil:
    cdef enum class Readout:
        last, ends, attention

    cdef enum class Activation:
        relu, tanh, sigmoid

    cdef struct Linear:
        int inputs, outputs
        vector[float] weights, bias

    cdef struct Head:
        Readout readout
        vector[double] scale, shift, gain, offset
        double epsilon
        Activation activation
        vector[Linear] layers
        int outputs()

    cdef cppclass WindowModel:
        int features, hidden_size
        cbool bidirectional
        vector[float] mean, std, scale, shift
        Head head
        void add_direction(int, const float*, const float*, const float*, const float*) except +
        int output_size()

    cdef cppclass WindowSet:
        pass

    const WindowSet* window_set(const char*)

    void score_windows(
        const WindowModel&, const WindowSet&, const float*, const int64_t*, int64_t, float*, float*
    ) except +

INSTRUCTION_SETS = tuple(name for name in ("avx512", "avx2", "neon", "plain") if window_set(name.encode()) != NULL)
"""The sets of this machine, the fastest first."""


cdef class WindowKernel:
    """The layers of a window model, with weights packed for this machine. Safe for several threads at a time.

    Args:
        layers: L of them, each of one or two directions (forward, backward) of (weight_ih, weight_hh, bias_ih, bias_hh),
            as nn.LSTM has them.
        head: (weight, bias) of each linear layer; the last one gives the K logits.
        readout: what stands for a window: ``last`` (the output at its last step), ``ends`` (the forward half there, the
            backward half at the first step), ``attention`` (the mean over time, weighted by attention).
        activation: between the linear layers: ``relu``, ``tanh`` or ``sigmoid``.
        statistics: mean and std (F,), applied to every sample first.
        input_norm: scale and shift (F,), applied to every sample then.
        batch_norm: scale and shift (D*H,) of what is read out.
        layer_norm: gain and offset (D*H,) of what is read out and was scaled, and the epsilon of its variance.
        instructions: one of `INSTRUCTION_SETS`.
    """

    cdef WindowModel model
    cdef const WindowSet* instructions

    def __init__(
        self,
        layers,
        head,
        readout,
        activation,
        statistics=None,
        input_norm=None,
        batch_norm=None,
        layer_norm=None,
        instructions=INSTRUCTION_SETS[0],
    ):
        self.instructions = window_set(instructions.encode())
        if self.instructions == NULL:
            raise ValueError(f"instructions {instructions!r}: this machine has {', '.join(INSTRUCTION_SETS)}")
        self.model.features = np.shape(layers[0][0][0])[1]
        self.model.hidden_size = np.shape(layers[0][0][1])[1]
        self.model.bidirectional = len(layers[0]) == 2
        for index, directions in enumerate(layers):
            for direction in directions:
                self._add(self.model.output_size() if index else self.model.features, *direction)
        self._set_scales(statistics, input_norm)
        self._set_head(head, readout, activation, batch_norm, layer_norm)

    def _add(self, int inputs, weight_ih, weight_hh, bias_ih, bias_hh):
        cdef int hidden = self.model.hidden_size
        cdef const float[::1] by_input = _floats(weight_ih, (4 * hidden, inputs))
        cdef const float[::1] by_h = _floats(weight_hh, (4 * hidden, hidden))
        cdef const float[::1] bias = _floats(bias_ih, (4 * hidden,)), bias2 = _floats(bias_hh, (4 * hidden,))
        self.model.add_direction(inputs, &by_input[0], &by_h[0], &bias[0], &bias2[0])

    def _set_scales(self, statistics, input_norm):
        size = (self.model.features,)
        if statistics is not None:
            self.model.mean, self.model.std = [_floats(each, size) for each in statistics]
        if input_norm is not None:
            self.model.scale, self.model.shift = [_floats(each, size) for each in input_norm]

    def _set_head(self, head, str readout, str activation, batch_norm, layer_norm):
        cdef Head* model = &self.model.head
        cdef int size = self.model.output_size()
        cdef Linear layer
        if batch_norm is not None:
            model.scale, model.shift = [_doubles(each, (size,)) for each in batch_norm]
        if layer_norm is not None:
            model.gain, model.offset = [_doubles(each, (size,)) for each in layer_norm[:2]]
            model.epsilon = layer_norm[2]
        model.readout = {"last": Readout.last, "ends": Readout.ends, "attention": Readout.attention}[readout]
        model.activation = {"relu": Activation.relu, "tanh": Activation.tanh, "sigmoid": Activation.sigmoid}[activation]
        for index, (weight, bias) in enumerate(head):
            layer.inputs, layer.outputs = size, len(bias)
            layer.weights = _floats(weight, (layer.outputs, size))
            layer.bias = _floats(bias, (layer.outputs,))
            model.layers.push_back(layer)
            size = layer.outputs

    def score(self, const float[:, ::1] samples, lengths):
        """Score W windows.

        Args:
            samples: those of all windows, one window after the other, (N, F).
            lengths: (W,), samples of each window, >= 1; their sum is N.

        Returns:
            The logits (W, K), and the attention of all windows (N,): in each it adds up to 1.

        Raises:
            ValueError: sizes do not fit each other.
        """
        cdef const int64_t[::1] steps = np.ascontiguousarray(lengths, np.int64)
        cdef int64_t count = steps.shape[0]
        if np.sum(lengths) != samples.shape[0] or (count and np.min(lengths) < 1):
            raise ValueError(f"lengths: they must be 1 or more, and add up to the {samples.shape[0]} samples")
        if samples.shape[1] != self.model.features:
            raise ValueError(f"samples: {samples.shape[1]} numbers each, where {self.model.features} are needed")
        found = np.empty((count, self.model.head.outputs()), np.float32)
        weights = np.empty(samples.shape[0], np.float32)
        cdef float[:, ::1] logits = found
        cdef float[::1] attention = weights
        if count:
            with nogil:
                score_windows(
                    self.model, self.instructions[0], &samples[0, 0], &steps[0], count, &logits[0, 0], &attention[0]
                )
        return found, weights


cdef _floats(array, shape):
    """As a flat float32 array."""
    return _flat(array, shape, np.float32)


cdef _doubles(array, shape):
    """As a flat float64 array."""
    return _flat(array, shape, np.float64)


cdef _flat(array, shape, kind):
    if np.shape(array) != shape:
        raise ValueError(f"an array of shape {np.shape(array)}, where {shape} is needed")
    return np.ascontiguousarray(array, kind).reshape(-1)
