"""Data on disk: the generators, the HDF5 layout that they write, and the torch datasets that read it."""
