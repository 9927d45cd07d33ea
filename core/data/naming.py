"""Names that a replay gives to the rows of a file, so that the offline reference can give the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import StartupError
from core.wire.records import MAX_SEQUENCE_BYTES

# The number of a row or of a pass in a name.
_NUMBER_BYTES = 11


def stream_name(task: str, row: int, streams: int) -> str:
    """The stream of ``row`` when a file of ``task`` is spread over ``streams``: ``signal-0003``, ``pump-0003``, and of
    castings ``strand-03``.
    """
    return f"strand-{row % streams:02d}" if task == "casting" else f"{task}-{row % streams:04d}"


def sequence_name(run: str, row: int, loop_pass: int | None = None) -> str:
    """The sequence that row ``row`` of the file becomes in run ``run``: ``{run}-{row}``.

    A replay that starts the file again names each pass, counted from 0 (``{run}-{pass}-{row}``): the name of a sequence
    that has ended must not come back, its records would be late.
    """
    return f"{run}-{row}" if loop_pass is None else f"{run}-{loop_pass}-{row}"


@dataclass(frozen=True)
class SequenceNames:
    """The names of a file's rows.

    ``own`` are the names in the file, if it has any; then ``prefix``, the run, may be empty, and nothing is put before
    a name but the number of a pass. Rows without names of their own are numbered.

    Raises:
        StartupError: a name would be longer than a record's may be.
    """

    prefix: str
    own: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.own is None:
            if len(self.prefix.encode()) > MAX_SEQUENCE_BYTES - 2 * _NUMBER_BYTES:
                raise StartupError(
                    f"run is {self.prefix[:40]!r}...: at most {MAX_SEQUENCE_BYTES - 2 * _NUMBER_BYTES} bytes"
                )
            return
        before = len(self.prefix.encode()) + _NUMBER_BYTES + 1 if self.prefix else _NUMBER_BYTES
        for name in self.own:
            if before + len(name.encode()) > MAX_SEQUENCE_BYTES:
                more = f" after run {self.prefix!r}" if self.prefix else ""
                raise StartupError(f"the sequence {name[:40]!r}...{more} is too long: a name has at most 255 bytes")

    def name(self, row: int, loop_pass: int | None = None) -> str:
        """The sequence that ``row`` is, in a pass of a replay that starts the file again."""
        if self.own is None:
            return sequence_name(self.prefix, row, loop_pass)
        parts = (self.prefix, "" if loop_pass is None else str(loop_pass), self.own[row])
        return "-".join(part for part in parts if part)
