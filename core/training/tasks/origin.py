"""The origin of a model: the history that it was made of, kept with its weights.

Who judges a model on the samples that it has learnt from finds it too good. With the origin `evaluate` can tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.models.packed import unpack
from core.training.tasks.history import Recorded
from core.training.tasks.pieces import Split


class Provenance(msgspec.Struct, frozen=True):
    """The history of a model.

    Attributes:
        digest: of all its samples, see `digest_of`.
        held_out: ``[sequence, start, end)`` of the pieces that nothing was learnt from.
        first_ms, last_ms: the times since 1970 between which its samples lie; None where they have no times.
    """

    digest: str
    held_out: list[tuple[int, int, int]]
    first_ms: int | None = None
    last_ms: int | None = None

    def cuts(self, lengths: Sequence[int]) -> list[int]:
        """The samples at the begin of each sequence that were learnt from: all where it has no held-out piece."""
        found = list(lengths)
        for sequence, start, _ in self.held_out:
            found[sequence] = start
        return found


def origin_of(sequences: Sequence[Recorded], parts: Split) -> dict[str, Any]:
    """The origin as plain data, to be kept with the weights."""
    pieces = [(piece.sequence, piece.start, piece.end) for piece in parts.held_out]
    return msgspec.to_builtins(Provenance(digest_of(sequences), pieces, *times_of(sequences)))  # type: ignore[no-any-return]


def times_of(sequences: Sequence[Recorded]) -> tuple[int | None, int | None]:
    """The first and the last time of sequences, in ms since 1970; None without times."""
    held = [each.times_ms for each in sequences if each.times_ms is not None and len(each)]
    if not held:
        return None, None
    return min(int(times.min()) for times in held), max(int(times.max()) for times in held)


def digest_of(sequences: Sequence[Recorded]) -> str:
    """A digest of the lengths and values of sequences: equal only where a model reads the same from two files."""
    found = hashlib.sha256()
    for each in sequences:
        found.update(f"{len(each)},".encode())
        found.update(each.values.tobytes())
    return found.hexdigest()


def read_origin(weights: Path) -> Provenance | None:
    """The origin of a model; None where its file has none, as models that were not made by ``caststream train``."""
    try:
        content: Mapping[str, Any] = unpack(weights.read_bytes())
        return msgspec.convert(content["data"]["origin"], Provenance)
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError):
        return None
