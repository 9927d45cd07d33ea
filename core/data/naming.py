"""Names that a replay gives to the rows of a file, so that the offline reference can give the same."""

from __future__ import annotations


def signal_stream(row: int, streams: int) -> str:
    """The stream of signal sample ``row`` when a file is spread over ``streams`` streams: ``signal-0003``."""
    return f"signal-{row % streams:04d}"


def cast_stream(row: int, streams: int) -> str:
    """The stream of cast ``row`` when a file is spread over ``streams`` strands: ``strand-03``."""
    return f"strand-{row % streams:02d}"


def sequence_name(run: str, row: int, loop_pass: int | None = None) -> str:
    """The sequence that row ``row`` of the file becomes in run ``run``: ``{run}-{row}``.

    A replay that starts the file again names each pass, counted from 0 (``{run}-{pass}-{row}``): the name of a sequence
    that has ended must not come back, its records would be late.
    """
    return f"{run}-{row}" if loop_pass is None else f"{run}-{loop_pass}-{row}"
