"""The samples of a file as the streams play them, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote
from core.data.naming import stream_name
from replay.form import RecordForm

Condition = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive samples of one sequence of one stream.

    ``row`` is the sequence's place in the file, ``step`` the first sample's step in it. ``values`` are float32,
    (steps,) of a signal, else (steps, numbers) in the order of the fields; ``condition`` are the four floats of a
    signal. ``ends``: the last sample is the last of the sequence. ``times_ms``: (steps,) where the file has times.
    """

    stream: int
    row: int
    step: int
    values: Float32s
    ends: bool
    condition: Condition | None = None
    times_ms: Int64s | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Positions ``first`` to ``first + steps`` of all streams that have samples there, one piece for each.

    ``begins`` says that a sequence begins at ``first``: it never does further on.
    """

    first: int
    steps: int
    pieces: list[Piece]
    begins: bool


class Source:
    """A file being replayed.

    Attributes:
        kind: the task's name.
        form: of the records.
        path: of the file.
        files: all that are read.
        names: of the sequences; None where the file does not say.
        period_ms: between two samples.
        streams: how many play side by side.
        totals: the samples of each stream in one pass.
    """

    kind: str
    form: RecordForm
    path: Path
    files: list[Path]
    names: Sequence[str] | None
    period_ms: float
    streams: int
    totals: list[int]

    def stream_name(self, stream: int) -> str:
        """The stream's name on the wire."""
        return stream_name(self.kind, stream, self.streams)

    def blocks(self, first: int) -> Iterator[Block]:
        """Make one pass over the file, from position ``first`` on."""
        raise NotImplementedError

    def tell(self, on_note: OnNote) -> None:
        """Hand over what is assumed of the file, or not applied."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        raise NotImplementedError
