"""The two recurrent models, their checkpoint files, their training ranges and their fingerprint.

Anybody above may load a model; importing this package loads no torch. Begin with `signal_lstm` and `defect_lstm`, then
`factory`, which loads and saves them.
"""
