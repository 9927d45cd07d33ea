"""Compiled parts of the replay."""
