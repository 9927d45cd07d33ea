"""Training and evaluation of the models that ship: settings, the loop, calibration, cards and plots.

Only the command line calls it, and it needs torch. Begin with `loop`, which both models share, then `signal` and
`defect`.
"""
