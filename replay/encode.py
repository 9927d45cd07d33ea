"""Samples of a file -> records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from core.arrays import Int64s
from replay.blocks import Block, Piece
from replay.form import RecordForm
from replay.native.encode import encode_records
from replay.sink import Pair

_text = msgspec.json.encode


class BlockEncoder:
    """The records of one block.

    Args:
        form: of the records.
        block: the samples.
        keys: the stream's id of each piece.
        sequences: the name of each piece's sequence.
    """

    def __init__(self, form: RecordForm, block: Block, keys: Sequence[bytes], sequences: Sequence[str]) -> None:
        pieces = block.pieces
        values = np.stack([piece.values for piece in pieces])  # (R, T) of signals, else (R, T, numbers)
        self._form = form
        self._values = values[..., None] if values.ndim == 2 else values
        self._keys = list(keys)
        self._shared = [_shared_text(piece, name) for piece, name in zip(pieces, sequences, strict=True)]
        self._steps = np.array([piece.step for piece in pieces], np.int64)
        own_times = [piece.times_ms for piece in pieces if piece.times_ms is not None]
        self._own_times = np.stack(own_times) if own_times else None
        ends = [piece.step + block.steps - 1 if piece.ends else -1 for piece in pieces]
        self._last_steps = np.array(ends, np.int64) if form.has_end else None

    def records(self, start: int, times_ms: Sequence[int], skips: Int64s) -> list[Pair]:
        """Encode records of all pieces from step ``start`` of the block on, one step for each time, step by step.

        Args:
            start: the first step, counted within the block.
            times_ms: the steps' event times, where the samples have none of their own.
            skips: how many of these steps are left out, for each piece.
        """
        end = start + len(times_ms)
        shape = len(self._keys), len(times_ms)
        played = np.broadcast_to(np.array(times_ms, np.int64), shape)
        return encode_records(
            self._keys,
            self._form.names,
            self._form.lengths,
            self._shared,
            self._values[:, start:end],
            self._steps + start,
            skips,
            played if self._own_times is None else self._own_times[:, start:end],
            self._last_steps,
        )


def _shared_text(piece: Piece, sequence: str) -> bytes:
    """Return the text that all records of a piece share between their values and their step."""
    condition = b"" if piece.condition is None else b',"condition_vector":' + _text(piece.condition)
    return condition + b',"sequence":' + _text(sequence) + b',"step":'
