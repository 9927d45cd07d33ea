"""Data on disk: recordings in HDF5, how each value is checked, the generators, and the torch datasets.

Every reader of files opens them here: predict, replay, train and evaluate. Begin with `opening` and `recording`;
`values` has the checks.
"""
