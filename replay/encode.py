"""Samples of a file -> values of records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.records import CastingSample, SignalSample
from replay.hdf5 import Piece

_encode = msgspec.json.Encoder().encode


def encode_piece(piece: Piece, start: int, end: int, sequence: str, times_ms: Sequence[int]) -> list[bytes]:
    """The JSON values of samples ``start`` to ``end`` of the piece.

    Args:
        piece: samples of one sequence.
        start: the first sample, counted within the piece.
        end: the sample after the last.
        sequence: the sequence's name.
        times_ms: the samples' event times.
    """
    values, first = short_floats(piece.values[start:end]), piece.step + start
    if piece.condition is not None:
        return [
            _encode(SignalSample(value, piece.condition, sequence, step, time_ms))
            for step, (value, time_ms) in enumerate(zip(values, times_ms, strict=True), first)
        ]
    last = piece.step + len(piece.values) - 1 if piece.ends else -1
    return [
        _encode(CastingSample(*sensors, sequence, step, time_ms, step == last))  # type: ignore[misc, call-arg]
        for step, (sensors, time_ms) in enumerate(zip(values, times_ms, strict=True), first)
    ]


def short_floats(values: NDArray[np.float32]) -> list[float]:
    """``values`` as Python floats that have few digits and still give the same float32.

    0.1 as a float32 is 0.10000000149011612 in JSON; eight decimals bring most samples back exactly, at half the bytes.
    """
    exact = values.astype(np.float64)
    rounded = np.round(exact, 8)
    floats: list[float] = np.where(rounded.astype(np.float32) == values, rounded, exact).tolist()
    return floats
