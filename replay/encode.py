"""Samples of a file -> records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from core.arrays import Int64s
from core.wire.records import SENSORS
from replay.hdf5 import Block, Piece
from replay.native.encode import encode_records
from replay.sink import Pair

_text = msgspec.json.encode
_SIGNAL = [b'{"signal":']
_CASTING = [(b',"%s":' if column else b'{"%s":') % name.encode() for column, name in enumerate(SENSORS)]


class BlockEncoder:
    """The records of one block.

    Args:
        block: the samples.
        keys: the stream's id of each piece.
        sequences: the name of each piece's sequence.
    """

    def __init__(self, block: Block, keys: Sequence[bytes], sequences: Sequence[str]) -> None:
        pieces = block.pieces
        signal = pieces[0].condition is not None
        values = np.stack([piece.values for piece in pieces])  # (R, T) of signals, (R, T, 5) of casts
        self._values = values[..., None] if signal else values
        self._fields = _SIGNAL if signal else _CASTING
        self._keys = list(keys)
        self._shared = [_shared_text(piece, name) for piece, name in zip(pieces, sequences, strict=True)]
        self._steps = np.array([piece.step for piece in pieces], np.int64)
        ends = [piece.step + block.steps - 1 if piece.ends else -1 for piece in pieces]
        self._last_steps = None if signal else np.array(ends, np.int64)

    def records(self, start: int, times_ms: Sequence[int], skips: Int64s) -> list[Pair]:
        """Encode records of all pieces from step ``start`` of the block on, one step for each time, step by step.

        Args:
            start: the first step, counted within the block.
            times_ms: the steps' event times.
            skips: how many of these steps are left out, for each piece.
        """
        return encode_records(
            self._keys,
            self._fields,
            self._shared,
            self._values[:, start : start + len(times_ms)],
            self._steps + start,
            skips,
            np.array(times_ms, np.int64),
            self._last_steps,
        )


def _shared_text(piece: Piece, sequence: str) -> bytes:
    """Return the text that all records of a piece share between their values and their step."""
    condition = b"" if piece.condition is None else b',"condition_vector":' + _text(piece.condition)
    return condition + b',"sequence":' + _text(sequence) + b',"step":'
