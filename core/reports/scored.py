"""The scores of a task over a file, by the code that `caststream predict` runs."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from core.arrays import Float64s, Int64s
from core.callbacks import OnProgress, unheard
from core.data.opening import open_file
from core.data.task_file import TaskFile
from core.errors import StartupError
from core.judging.events import Truth
from core.nearest import did_you_mean
from core.offline.steps import StepModelRun
from core.offline.task_predict import predict_task
from core.tasks.declaration import Declaration, Output
from core.training.tasks.history import History, Recorded
from core.training.tasks.origin import digest_of

ORACLE = "oracle_score"
"""A dataset with the scores of the true model, where somebody knows it."""


@dataclass(frozen=True)
class ScoredSequence:
    """One sequence: T samples with their scores.

    Attributes:
        values: (T, F), as the model reads them.
        times_ms: (T,) since 1970; None where the file has none.
        scores: (T,); NaN where there is none.
        expected: (T, n) of the numbers that `ScoredFile.expected_names` has; None where the task tells none.
        leading: (T,), places in `ScoredFile.labels`, -1 where there is none; None where the task tells none.
        truth: (T,) of 0 and 1; None where it is not known.
        oracle: (T,), the scores of the true model; None where it is not known.
    """

    name: str
    stream: str
    values: Float64s
    times_ms: Int64s | None
    scores: Float64s
    expected: Float64s | None
    leading: Int64s | None
    truth: Truth | None
    oracle: Float64s | None

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class ScoredFile:
    """All sequences of a file; ``columns`` are the names of the numbers of `ScoredSequence.values`.

    ``digest`` is that of `core.training.tasks.origin`.
    """

    source: str
    sequences: list[ScoredSequence]
    period_s: float
    columns: tuple[str, ...]
    expected_names: tuple[str, ...]
    labels: tuple[str, ...]
    fingerprint: str
    digest: str


def score_output(declaration: Declaration, wanted: str | None = None) -> Output:
    """The output that is a task's anomaly score: a likelihood ratio, else what an alarm is made of.

    Args:
        wanted: its name, where somebody says it.

    Raises:
        StartupError: there is none, or it is not in the records.
    """
    outputs = {output.name: output for output in declaration.outputs}
    if wanted is not None and wanted not in outputs:
        raise StartupError(
            f"{declaration.path}: has no output {wanted!r}{did_you_mean(wanted, outputs, 'its outputs')}"
        )
    ratios = [output.name for output in outputs.values() if output.apply == "likelihood_ratio"]
    alarmed = [output.of for output in outputs.values() if output.apply == "above" and output.of]
    name = wanted or next(iter((*ratios, *alarmed)), None)
    if declaration.window is not None or name is None:
        raise StartupError(
            f"{declaration.path}: has no anomaly score of each sample: a step task has one as an output with apply = "
            '"likelihood_ratio", or as the output that an alarm is made of; --score NAME says another'
        )
    if not outputs[name].publish:
        raise StartupError(f"{declaration.path}: output {name!r} is not published: remove publish = false there")
    return outputs[name]


def alarm_of(declaration: Declaration, score: Output) -> tuple[float, float] | None:
    """The threshold of the task's own alarm on a score, and where it clears; None without one."""
    for output in declaration.outputs:
        if output.apply == "above" and output.of == score.name and output.threshold is not None:
            return output.threshold, output.threshold if output.clear is None else output.clear
    return None


def score_file(
    history: History, model: StepModelRun, score: Output, truth: str, on_progress: OnProgress = unheard
) -> ScoredFile:
    """Run a task's model over a history.

    Args:
        truth: the column or dataset of the history that says which samples are anomalies.

    Raises:
        StartupError: the score is not a single number.
        DataError: the file cannot be used, or changes while it is read.
    """
    declaration = model.declaration
    with tempfile.TemporaryDirectory(prefix="caststream-") as folder:
        out = Path(folder) / "outputs.h5"
        done = predict_task(history.file, out, model, on_progress=on_progress)
        with h5py.File(out, "r") as file:
            outputs = _Outputs(declaration, file, score)
            starts = file["sequence_start"][:].tolist()
            oracle = _oracle(history.file, sum(map(len, history.sequences)))
            places = _starts(history.file, declaration)
            sequences = [
                outputs.sequence(recorded, start, truth, None if oracle is None else oracle[place:][: len(recorded)])
                for recorded, start, place in zip(history.sequences, starts, places, strict=True)
            ]
            period_s = history.period_ms / 1000
            columns = _columns(declaration, history.sequences)
            digest = digest_of(history.sequences)
            return ScoredFile(
                history.source, sequences, period_s, columns, outputs.names, outputs.labels, done.model, digest
            )


class _Outputs:
    """The outputs of a run, in its file."""

    def __init__(self, declaration: Declaration, file: h5py.File, score: Output) -> None:
        self._scores = file[score.name]
        if self._scores.ndim != 1:
            raise StartupError(f"{declaration.path}: output {score.name!r} is several numbers: a score is one")
        self._expected = self._dataset(declaration, file, "expected")
        self._leading = self._dataset(declaration, file, "leading")
        told = {} if self._expected is None else self._expected.attrs
        self.names: tuple[str, ...] = tuple(json.loads(told["names"])) if "names" in told else ()
        self.labels: tuple[str, ...] = () if self._leading is None else tuple(json.loads(self._leading.attrs["texts"]))

    @staticmethod
    def _dataset(declaration: Declaration, file: h5py.File, apply: str) -> Any:
        names = [output.name for output in declaration.outputs if output.apply == apply and output.publish]
        return file[names[0]] if names else None

    def sequence(self, recorded: Recorded, start: int, truth: str, oracle: Float64s | None) -> ScoredSequence:
        """Put one sequence together with its outputs."""
        part = slice(start, start + len(recorded))
        expected = None if self._expected is None else self._expected[part].astype(np.float64)
        known = recorded.extra.get(truth)
        return ScoredSequence(
            recorded.name,
            recorded.stream,
            recorded.values.astype(np.float64),
            recorded.times_ms,
            self._scores[part].astype(np.float64),
            None if expected is None else expected.reshape(len(recorded), -1),
            None if self._leading is None else self._leading[part].astype(np.int64),
            None if known is None else (np.nan_to_num(known) != 0).astype(np.int64),
            oracle,
        )


def _oracle(path: Path, samples: int) -> Float64s | None:
    with open_file(path) as file:
        if ORACLE not in file or file[ORACLE].shape != (samples,):
            return None
        return np.asarray(file[ORACLE][:], np.float64)


def _starts(path: Path, declaration: Declaration) -> list[int]:
    with TaskFile(path, declaration) as file:
        return [sequence.start for sequence in file.sequences]


def _columns(declaration: Declaration, sequences: list[Recorded]) -> tuple[str, ...]:
    """The names of the numbers that the model reads; those of a field with overlap are counted."""
    names: list[str] = []
    for field in declaration.fields:
        before = [f"{field.name} before {place + 1}" for place in range(field.overlap)]
        names += [*before, *field.columns]
    width = sequences[0].values.shape[1] if sequences else len(names)
    return tuple(names) if len(names) == width else tuple(f"number {place + 1}" for place in range(width))
