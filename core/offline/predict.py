"""The offline reference: the models over a whole file, without Kafka and without the stream engine.

What is due, and when, follows here from the lengths of the arrays alone; only the forward passes are shared with the
worker. `predict` is the command ``caststream predict``; `signal_parts` and `cast_scores` give the bare numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from core.arrays import Float32s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.layout import open_checked
from core.data.opening import ChangedError
from core.data.outputs import keep_inputs
from core.data.recording import Recording
from core.engines.infer import advance_sequences, prepare, score_windows
from core.engines.results import WindowRules
from core.errors import DataError, StartupError
from core.models.opening import RunModel, open_model
from core.models.ranges import CASTING_FIELDS, SIGNAL_FIELDS, Ranges
from core.models.shipped import checkpoint_path
from core.models.survey import Survey
from core.models.weights_file import weights_of
from core.offline.prediction_file import CastScore, FileRows, SignalPart, Writer, writer

if TYPE_CHECKING:
    from core.engines.infer import DefectModel, SignalModel

# Samples in one forward pass: 32 signals of 10,000 steps, whose layer output is 80 MB.
BATCH_SAMPLES = 320_000
BATCH_WINDOWS = 256
# Casts that follow on each other are read together, up to about 5 MB of float32, with what lies between them.
BATCH_CAST_SAMPLES, CAST_GAP = 1 << 18, 1 << 10


@dataclass(frozen=True)
class PredictSummary:
    """``outputs`` predictions or scores, of ``rows`` rows, by the model of that fingerprint."""

    kind: str
    rows: int
    outputs: int
    model: str


def predict(
    path: str | Path,
    out: Path | BinaryIO,
    *,
    signal_checkpoint: Path | None = None,
    defect_checkpoint: Path | None = None,
    device: str = "cpu",
    rules: WindowRules | None = None,
    run: str | None = None,
    streams: int | None = None,
    start_ms: int | None = None,
    on_check: OnProgress = unheard,
    on_progress: OnProgress = unheard,
    on_note: OnNote = unheard,
) -> PredictSummary:
    """Run the model of the file's kind over all its rows and write the outputs.

    Args:
        path: an HDF5 file of signals or castings; its datasets tell the kind.
        out: a file, HDF5 if it ends in .h5 or .hdf5, else JSON lines; or an open stream for JSON lines. A line has
            the fields of the record that the worker publishes for the same sample.
        signal_checkpoint: None is the one that comes with the package.
        defect_checkpoint: the same for castings.
        device: where the model runs.
        rules: length, first score and hop of the windows.
        run: the first part of the sequences' names, as ``replay --run``; for a pass of ``--loop`` add it: ``RUN-0``.
            None: the names in the file; where it has none, ``offline``.
        streams: as ``replay --streams``.
        start_ms: event time of the first samples; None: what ``run`` says if it is a start time, else 0.
        on_check: told the values of the file checked so far and their total.
        on_progress: told the rows done so far and their total.
        on_note: told in lines what of the file is assumed, or not applied, and which values are far outside what the
            model was trained on.

    Raises:
        DataError: the file cannot be used or changes while it is read; ``out`` is what is read, or cannot be written.
        StartupError: a checkpoint or an argument is wrong.
    """
    if streams is not None and streams < 1:
        raise StartupError(f"streams is {streams}: must be 1 or more")
    keep_inputs([out], [path, signal_checkpoint, defect_checkpoint])
    file, kind = open_checked(path, on_check)
    with file:
        keep_inputs([out], file.files)
        file.tell(on_note)
        model = _open(kind, signal_checkpoint, defect_checkpoint, device)
        prepare(model)
        rows, name = FileRows.of(file, kind, run, streams, start_ms), weights_of(model).fingerprint
        survey = survey_for(model)
        outputs = 0
        try:
            with writer(out, rows, name) as results:
                for count, done in _written(file, kind, model, rules or WindowRules(), results, survey):
                    outputs += count
                    on_progress(done, rows.count)
        except ChangedError as error:
            raise changed(error, path, out, outputs) from error
    for line in survey.lines():
        on_note(line)
    return PredictSummary(kind, rows.count, outputs, name)


def changed(error: ChangedError, path: str | Path, out: Path | BinaryIO, outputs: int) -> DataError:
    """The error about a file that changed while it was read, with what became of the outputs so far."""
    kept = f"{outputs:,} were written before" if not isinstance(out, Path) else "nothing was written"
    return DataError(path, f"{error.problem}; {kept}")


def _open(kind: str, signal_checkpoint: Path | None, defect_checkpoint: Path | None, device: str) -> RunModel:
    if kind == "signal":
        return open_model(signal_checkpoint or checkpoint_path("signal"), "signal", device)
    return open_model(defect_checkpoint or checkpoint_path("defect"), "defect", device)


def survey_for(model: RunModel) -> Survey:
    """Make the survey that finds values far outside what this model was trained on."""
    weights = weights_of(model)
    return Survey(Ranges.read(weights.training_ranges, SIGNAL_FIELDS if weights.kind == "signal" else CASTING_FIELDS))


def _written(
    file: Recording, kind: str, model: Any, rules: WindowRules, results: Writer, survey: Survey
) -> Iterator[tuple[int, int]]:
    """Write all results; after each, how many outputs these were, and how many rows are done."""
    if kind == "signal":
        for part in signal_parts(file, model, survey=survey):
            results.signal(part)
            yield len(part.predictions), part.row + 1
    else:
        for score in cast_scores(file, model, rules, survey):
            results.score(score)
            yield 1, score.row + score.final


def signal_parts(
    file: Recording, model: SignalModel, chosen: range | None = None, survey: Survey | None = None
) -> Iterator[SignalPart]:
    """The predictions of all rows of an open signals file, or of those ``chosen``; each row starts from zeros."""
    signals, conditions = file.values("mixed_signals"), file.values("condition_vectors")
    count, steps = signals.shape
    chosen = range(count) if chosen is None else chosen
    batch = max(1, BATCH_SAMPLES // steps)
    for first in range(chosen.start, chosen.stop, batch):
        rows = slice(first, min(first + batch, chosen.stop))
        states: Float32s | None = None
        # One block, except where a single row is longer than a batch.
        for start in range(0, steps, max(steps if batch > 1 else 0, BATCH_SAMPLES)):
            block = signals[rows, start : start + BATCH_SAMPLES].astype(np.float32)  # (B, T)
            sequences = _inputs(block, conditions[rows].astype(np.float32))
            if survey is not None:
                for row, samples in enumerate(sequences, first):
                    survey.add(samples, row, start)
            predictions, states = advance_sequences(model, list(sequences), states)
            yield from (SignalPart(first + row, start, values) for row, values in enumerate(predictions))


def signal_rows(file: Recording, model: SignalModel, rows: range) -> Float32s:
    """The predictions of some rows of an open signals file, (N, T)."""
    found = np.empty((len(rows), file["mixed_signals"].shape[1]), np.float32)
    for part in signal_parts(file, model, rows):
        found[part.row - rows.start, part.step : part.step + len(part.predictions)] = part.predictions
    return found


def _inputs(block: Float32s, conditions: Float32s) -> Float32s:
    """(B, T) samples and (B, 4) conditions to the model's input (B, T, 5)."""
    inputs = np.empty((*block.shape, 5), np.float32)
    inputs[..., 0] = block
    inputs[..., 1:] = conditions[:, None, :]
    return inputs


def cast_scores(
    file: Recording, model: DefectModel, rules: WindowRules, survey: Survey | None = None
) -> Iterator[CastScore]:
    """The scores of all casts of an open castings file: by cast, and in a cast by step."""
    due: list[CastScore] = []
    windows: list[Float32s] = []
    for row, samples in cast_samples(file):
        if survey is not None:
            survey.add(samples, row)
        for score in scores_due(row, len(samples), rules):
            due.append(score)
            windows.append(samples[score.start : score.end])  # (T, 5)
        if len(windows) >= BATCH_WINDOWS:
            yield from _scored(model, due, windows, rules)
            due, windows = [], []
    yield from _scored(model, due, windows, rules)


def cast_samples(file: Recording) -> Iterator[tuple[int, Float32s]]:
    """Yield each cast's row and samples (T, 5); casts that lie one after the other are read together."""
    starts, lengths = (file[name][:].astype(np.int64).tolist() for name in ("cast_start", "cast_length"))
    row = 0
    while row < len(starts):
        first, end, after = starts[row], starts[row] + lengths[row], row + 1
        while after < len(starts) and 0 <= starts[after] - end <= CAST_GAP and end - first < BATCH_CAST_SAMPLES:
            end, after = starts[after] + lengths[after], after + 1
        block = file.sensors(first, end)
        for one in range(row, after):
            yield one, block[starts[one] - first : starts[one] - first + lengths[one]]
        row = after


def scores_due(row: int, length: int, rules: WindowRules) -> list[CastScore]:
    """The scores of a cast of ``length`` samples, without results.

    One at ``window_min`` samples, then every ``hop``, and the final one at the end, in place of a hop score there.
    """
    ends = [*range(rules.window_min, length, rules.hop), length]
    return [CastScore(row, max(0, end - rules.window_length), end, end == length) for end in ends]


def _scored(
    model: DefectModel, due: list[CastScore], windows: list[Float32s], rules: WindowRules
) -> Iterator[CastScore]:
    enough = [window for window in windows if len(window) >= rules.window_min]
    results = zip(*score_windows(model, enough), strict=True)
    for score, window in zip(due, windows, strict=True):
        if len(window) < rules.window_min:
            yield score
        else:
            probability, peak = next(results)
            yield CastScore(score.row, score.start, score.end, score.final, probability, score.start + peak)
