"""The two recurrent models, their checkpoint files, their training ranges and their fingerprint.

Anybody above may load a model; importing this package loads no torch. Begin with `weights_file`, a model as plain
arrays, which is what runs. `signal_lstm` and `defect_lstm` are the models in PyTorch, which `factory` loads and saves.
"""
