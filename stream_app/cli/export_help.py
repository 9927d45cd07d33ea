"""The lines that export a recurrent model to ONNX so that its state is carried rightly, for each framework."""

from __future__ import annotations

TORCH = """\
# PyTorch -> pump.onnx. One step: the sample and the state before it go in, the output and the state after it come out.
import torch

class Step(torch.nn.Module):
    def __init__(self, rnn, head):  # your own: an LSTM or GRU with batch_first=True, and what makes the output
        super().__init__()
        self.rnn, self.head = rnn, head

    def forward(self, x, h0, c0):  # of a GRU: (x, h0), and self.rnn(x, h0)
        y, (hn, cn) = self.rnn(x, (h0, c0))
        return self.head(y[:, -1]), hn, cn

def export(rnn, head, path="pump.onnx"):
    layers, hidden = rnn.num_layers, rnn.hidden_size
    x = torch.randn(2, 1, rnn.input_size)  # a batch of 2: of 1 it would be frozen
    h0, c0 = torch.randn(layers, 2, hidden), torch.randn(layers, 2, hidden)  # two tensors: one for both stays tied
    names = {"input_names": ["x", "h0", "c0"], "output_names": ["y", "hn", "cn"]}
    batch = torch.export.Dim("batch")
    sizes = {"x": {0: batch}, "h0": {1: batch}, "c0": {1: batch}}
    torch.onnx.export(
        Step(rnn, head).eval(), (x, h0, c0), path, dynamo=True, dynamic_shapes=sizes, external_data=False, **names
    )

# In the task file:
# [model]
# file = "pump.onnx"
# input = "x"
# states = { h0 = "hn", c0 = "cn" }
# [outputs]
# forecast = { tensor = "y" }
#
# An LSTM or a GRU whose head is one torch.nn.Linear needs none of this: the compiled kernel runs its weights, faster.
# safetensors.torch.save_file(module.state_dict(), "pump.safetensors"), where module has no other layers; then
# file = "pump.safetensors", without states. A pump.pt by torch.save does, too, but a worker needs PyTorch to read it.
#
# A model that looks at windows (kind = "window") has no state: forward(self, x) takes x [batch, samples, F]. Then
# sizes = {"x": {0: batch, 1: torch.export.Dim("samples")}}
# Without the second axis in it, set first and length in [window] to the samples of the window that you export with.
"""
KERAS = """\
# Keras -> pump.onnx. One step: the sample and the state before it go in, the output and the state after it come out.
# `stateful=True` is lost in the conversion: the state must be an input and an output.
import keras
import numpy as np

def export(lstm, head, features, path="pump.onnx"):  # your own trained layers: keras.layers.LSTM and, say, Dense
    x = keras.Input((1, features), name="x")
    h0, c0 = keras.Input((lstm.units,), name="h0"), keras.Input((lstm.units,), name="c0")  # of a GRU: h0 alone
    step = keras.layers.LSTM(lstm.units, return_state=True)
    y, hn, cn = step(x, initial_state=[h0, c0])
    step.set_weights(lstm.get_weights())
    model = keras.Model([x, h0, c0], [head(y), hn, cn])
    state = np.zeros((2, lstm.units), np.float32)
    model([np.zeros((2, 1, features), np.float32), state, state + 1])  # Keras exports what was called: a batch of 2
    model.export(path, format="onnx")

# Keras names the outputs itself; they stand in the order y, hn, cn. `caststream task new pump --from pump.onnx` writes
# them into a task file. In it:
# [model]
# file = "pump.onnx"
# input = "x"
# states = { h0 = "output_1", c0 = "output_2" }
# [outputs]
# forecast = { tensor = "output_0" }
"""
EXPORTS = {"torch": TORCH, "keras": KERAS}
