"""Data on disk: recordings in HDF5, how each value is checked, the generators, and the torch datasets.

Every reader of files opens them here: predict, replay, train and evaluate. Begin with `task_file`, a file of any task,
and `recording`, one of signals or castings; `values` has the checks.
"""
