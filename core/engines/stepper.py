"""SignalStepper: the step engine of the signal task, with the LSTM that ships."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.engines.hidden import make_hidden
from core.engines.infer import state_size
from core.engines.results import StateStore, StreamRules
from core.engines.steps import StepEngine, StepTask
from core.models.ranges import SIGNAL_FIELDS, Ranges
from core.models.weights_file import ModelWeights, weights_of
from core.tasks.reading import shipped
from core.wire.outputs import PREDICTION
from core.wire.records import OutputFormat
from core.wire.samples import field_list, sample_decoder

if TYPE_CHECKING:
    from core.models.signal_lstm import SignalExtractionLSTM


class SignalStepper(StepEngine):
    """signal-samples in, signal-predictions out.

    Args:
        model: a signal model, taken as it is now.
        rules: how records are judged.
        store: the recovered ``signal-states`` table: stream key -> state.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
    """

    def __init__(
        self,
        model: ModelWeights | SignalExtractionLSTM,
        rules: StreamRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
    ) -> None:
        weights = weights_of(model)
        task = StepTask(
            fingerprint=weights.fingerprint,
            fields=field_list(shipped("signal")),
            decode=sample_decoder(shipped("signal")),
            outputs=PREDICTION,
            state_size=state_size(model),
            ranges=Ranges.read(weights.training_ranges, SIGNAL_FIELDS),
        )
        super().__init__(task, make_hidden(model), rules, store, output_format, clock)
