"""Recordings and lines of text become records: what `caststream replay` and `caststream send` do.

Only the command line and the demo call it. Begin with `player` (a recording, at its pace) and `send` (lines, as they
come); `sink` is where both put records.
"""
