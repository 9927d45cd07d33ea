"""Judging anomaly scores: a threshold for a wish, figures against the truth, simple detectors to compare with.

Training and the command line call it; it needs numpy alone. Begin with `threshold`, then `metrics`.
"""
