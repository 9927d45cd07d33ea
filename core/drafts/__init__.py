"""Task files to begin with, written from what a user has: a CSV, an HDF5 file, an ONNX model.

Called by the command line. Begin with `draft`, the text of such a file; beside it one module for each kind of source.
"""
