"""The engine for recurrent models that come as ONNX files: their states in numbered rows, stepped by ONNX Runtime.

`session` reads a file safely, `binding` finds what each of its inputs and outputs is, `plan` finds in which batches a
row's result keeps its bits, `bank` is the `StateBank`. Begin with `bank`. Called by `core.tasks.check` and the worker.
ONNX Runtime comes with the extra ``onnx``; nothing here imports it before a model is opened.
"""
