"""A history whose sequences have labels: numbers or texts, in a dataset for each sequence or in a column.

Shapes: S sequences, N samples of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.opening import open_file
from core.errors import DataError
from core.tasks.declaration import Declaration
from core.tasks.keys import Text, accepted, fits
from core.training.tasks.history import AS_IT_IS, History, HistoryOptions, Recorded, is_hdf5, open_history

LABEL = "label"
"""The dataset or column of labels, where the task names no target."""
UNKNOWN = -1
MOST_CLASSES = 1000


@dataclass(frozen=True)
class SequenceLabels:
    """The class of each sequence, ``numbers`` (S,), `UNKNOWN` without one; ``classes`` are their names in order."""

    classes: tuple[str, ...]
    numbers: Int64s


@contextmanager
def open_labelled(
    path: Path,
    declaration: Declaration,
    options: HistoryOptions = AS_IT_IS,
    on_note: OnNote = unheard,
    on_progress: OnProgress = unheard,
) -> Iterator[tuple[History, SequenceLabels]]:
    """Open a history and the labels that the task learns; arguments and errors as `open_history` has them."""
    name = label_name(declaration)
    if is_hdf5(path):
        with open_history(path, declaration, (), options, on_note, on_progress) as history:
            yield history, _ordered(path, name, _of_dataset(path, name, [len(each) for each in history.sequences]))
        return
    texts: dict[str, dict[str, int]] = {name: {}}
    with open_history(path, declaration, (name,), options, on_note, on_progress, texts) as history:
        yield history, _ordered(path, name, _of_column(path, name, history.sequences, list(texts[name])))


def label_name(declaration: Declaration) -> str:
    """The name of the labels; raises DataError where the task names several."""
    targets = declaration.training.targets or (LABEL,)
    if len(targets) > 1:
        raise DataError(
            declaration.path, f"[train] targets names {len(targets)}: a classifier learns the labels of one column"
        )
    return targets[0]


def _of_dataset(path: Path, name: str, lengths: Sequence[int]) -> list[str]:
    """The label of each sequence as a text, "" where it is unknown: of one for each sequence, or for each sample."""
    with open_file(path) as file:
        if name not in file:
            raise DataError(path, f"has no dataset {name!r} of labels, one for each sequence", name)
        values = np.asarray(file[name][:]).reshape(-1)
    if len(values) == len(lengths):
        return [_text(value) for value in values.tolist()]
    if len(values) != sum(lengths):
        raise DataError(
            path, f"has {len(values):,} labels, the file has {len(lengths):,} sequences: one for each is needed", name
        )
    ends = np.cumsum(lengths)[:-1]
    parts = np.split(values, ends)
    return [_one(path, name, number, [_text(value) for value in part.tolist()]) for number, part in enumerate(parts)]


def _of_column(path: Path, name: str, sequences: Sequence[Recorded], texts: Sequence[str]) -> list[str]:
    found = []
    for number, sequence in enumerate(sequences):
        values = sequence.extra[name]
        if np.isnan(values).all():
            found.append("")
            continue
        known = np.unique(_known(values))
        found.append(_one(path, name, number, [texts[int(value)] for value in known]))
    return found


def _known(values: Float32s) -> Float32s:
    known: Float32s = values[~np.isnan(values)]
    return known


def _one(path: Path, name: str, number: int, texts: Sequence[str]) -> str:
    """The one label of a sequence's samples; raises DataError where they have several."""
    distinct = list(dict.fromkeys(text for text in texts if text))
    if len(distinct) > 1:
        raise DataError(
            path,
            f"sequence {number} has the labels {distinct[0]!r} and {distinct[1]!r}: a label counts for a whole "
            "sequence; give each part with one label a sequence of its own (column sequence)",
            name,
        )
    return distinct[0] if distinct else ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float):
        if np.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return ""  # as a castings file has it of casts that nobody looked at
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _ordered(path: Path, name: str, texts: Sequence[str]) -> SequenceLabels:
    classes = tuple(sorted({text for text in texts if text}, key=_order))
    if not 2 <= len(classes) <= MOST_CLASSES:
        shown = ", ".join(f"{text} ({count})" for text, count in Counter(texts).most_common(3))
        raise DataError(
            path,
            f"has {len(classes):,} labels ({shown}): a classifier learns from 2 to {MOST_CLASSES:,} classes",
            name,
        )
    if unfit := next((text for text in classes if not fits(text, Text)), None):
        raise DataError(path, f"has the label {unfit[:40]!r}: it must be {accepted(Text)}", name)
    places = {text: place for place, text in enumerate(classes)}
    return SequenceLabels(classes, np.array([places.get(text, UNKNOWN) for text in texts], np.int64))


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
