"""The engine of declared tasks: a model by the compiled kernel or ONNX Runtime, and what the task makes of its numbers.

The worker's `engines` calls it. Begin with `StepModel` in `stepper` and `WindowModel` in `window_model`: each gives its
engine the parts. `outputs` has the closed list of `apply`, and what it keeps.
"""
