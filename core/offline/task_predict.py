"""The offline reference of a declared task: its model over a whole file, without Kafka and without the stream engine.

Only the model with its bank of states and the writer of outputs are shared with the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from core.callbacks import OnNote, OnProgress, unheard
from core.data.opening import ChangedError
from core.data.outputs import keep_inputs
from core.data.task_file import TaskFile
from core.data.task_rows import TaskRows
from core.models.ranges import Ranges
from core.models.survey import Survey
from core.offline.output_file import OfflineWriter, output_writer
from core.offline.predict import PredictSummary, changed
from core.offline.steps import OfflineSteps, StepModelRun
from core.offline.windows import OfflineWindows, WindowModelRun


def predict_task(
    path: str | Path,
    out: Path | BinaryIO,
    model: StepModelRun | WindowModelRun,
    *,
    run: str | None = None,
    streams: int | None = None,
    start_ms: int | None = None,
    on_check: OnProgress = unheard,
    on_progress: OnProgress = unheard,
    on_note: OnNote = unheard,
) -> PredictSummary:
    """Run a task's model over all sequences of a file and write the outputs.

    Args:
        path: an HDF5 file in the layout of `TaskFile`.
        out: a file, HDF5 if it ends in .h5 or .hdf5, else JSON lines; or an open stream for JSON lines. A line is the
            value of the record that the worker publishes for the same sample.
        model: of the task.
        run: the first part of the sequences' names, as `TaskRows` has it; ``streams`` and ``start_ms`` too.
        on_check: told the values of the file checked so far and their total.
        on_progress: told the samples done so far and their total.
        on_note: told in lines what of the file is assumed, or not applied, and which values are not normal.

    Raises:
        DataError: the file cannot be used or changes while it is read; ``out`` is what is read, or cannot be written.
        StartupError: an argument is wrong.
    """
    declaration = model.declaration
    keep_inputs([out], [path, declaration.path, declaration.model.file])
    survey = Survey(model.ranges or Ranges.normal(declaration.fields, declaration.places()))
    with TaskFile(path, declaration, on_note, on_check) as file:
        keep_inputs([out], file.files)
        rows, done = TaskRows(file, run, streams, start_ms), 0
        total = sum(sequence.count for sequence in file.sequences)
        try:
            with output_writer(out, file, rows, model.outputs, model.fingerprint) as written:
                for count, samples in _written(file, model, survey, written):
                    done += count
                    on_progress(samples, total)
        except ChangedError as error:
            raise changed(error, path, out, done) from error
    for line in survey.lines():
        on_note(line)
    return PredictSummary(declaration.name, rows.count, done, model.fingerprint)


def _written(
    file: TaskFile, model: StepModelRun | WindowModelRun, survey: Survey, written: OfflineWriter
) -> Iterator[tuple[int, int]]:
    """Write all outputs; after some, how many these were, and how many samples are done."""
    before = list(accumulate((sequence.count for sequence in file.sequences), initial=0))
    if isinstance(model, StepModelRun):
        for part in OfflineSteps(file, model, survey).parts():
            written.write(part)
            yield len(part.numbers), before[part.row] + part.step + len(part.numbers)
    else:
        for window in OfflineWindows(file, model, survey).outputs():
            written.window(window)
            yield 1, before[window.row] + window.end
