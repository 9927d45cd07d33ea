"""Recordings through the models at once, without a worker: what `caststream predict` does.

The command line calls it, and tests compare the worker with it. Begin with `predict`.
"""
