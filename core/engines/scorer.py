"""CastScorer: the window engine of the casting task, with the LSTM that ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.engines.infer import defect_net, prepare, score_windows, scores_on_gpu
from core.engines.results import StateStore, StreamRules, WindowRules
from core.engines.scoring import WindowTask
from core.engines.window_engine import WindowEngine
from core.models.ranges import CASTING_FIELDS, Ranges
from core.models.weights_file import ModelWeights, weights_of
from core.tasks.declaration import Declaration
from core.tasks.reading import shipped
from core.wire.outputs import SCORE
from core.wire.records import MAX_VALUE, OutputFormat
from core.wire.samples import field_list, sample_decoder

if TYPE_CHECKING:
    from core.engines.infer import DefectModel
    from core.models.defect_lstm import SteelDefectLSTM


class CastModel:
    """A defect model as a window engine asks it.

    Args:
        model: in eval mode; its parameters are taken as they are now, but for those on a GPU.
    """

    def __init__(self, model: DefectModel) -> None:
        self._model = model if scores_on_gpu(model) else defect_net(model)

    def score(self, windows: Sequence[Float32s], steps: Sequence[Int64s]) -> Float64s:
        """The probability of each window and the step with the most attention, (N, 2)."""
        probabilities, peaks = score_windows(self._model, windows)
        at = [float(each[peak]) for each, peak in zip(steps, peaks, strict=True)]
        return np.column_stack((np.array(probabilities), np.array(at)))


class CastScorer(WindowEngine):
    """casting-samples in, casting-scores out; or the topics of a task with the same fields.

    Args:
        model: a defect model, taken as it is now, but for one on a GPU, which is in eval mode.
        rules: how records are judged.
        window_rules: what a score sees and when it is due.
        store: the recovered ``casting-windows`` table: heads and segments.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
        deferred: scores are not computed by `run` and `evict`, but left to the caller as ``ChunkResult.deferred``.
        declaration: of the task, which has the fields of casting; None: casting itself.
    """

    def __init__(
        self,
        model: ModelWeights | SteelDefectLSTM,
        rules: StreamRules,
        window_rules: WindowRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
        deferred: bool = False,
        declaration: Declaration | None = None,
    ) -> None:
        declaration = shipped("casting") if declaration is None else declaration
        self._defect, weights = model, weights_of(model)
        task = WindowTask(
            fingerprint=weights.fingerprint,
            fields=field_list(declaration),
            decode=sample_decoder(declaration),
            outputs=SCORE,
            model=CastModel(model),
            ranges=Ranges.read(weights.training_ranges, CASTING_FIELDS),
            probability=0,
            largest=MAX_VALUE,
        )
        super().__init__(task, rules, window_rules, store, output_format, clock, deferred)

    def warm_up(self) -> None:
        """Set torch up for a model on a GPU. The first call of the compiled kernel takes no longer than any other."""
        if scores_on_gpu(self._defect):
            prepare(self._defect)
            super().warm_up()
