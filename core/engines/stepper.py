"""SignalStepper: the step engine of the signal task, with the LSTM that ships."""

from __future__ import annotations

from collections.abc import Callable

from core.engines.hidden import make_hidden
from core.engines.infer import prepare, state_size
from core.engines.results import StateStore, StreamRules
from core.engines.steps import StepEngine, StepTask
from core.models.fingerprint import fingerprint
from core.models.ranges import SIGNAL_FIELDS, Ranges
from core.models.signal_lstm import SignalExtractionLSTM
from core.tasks.reading import shipped
from core.wire.outputs import PREDICTION
from core.wire.records import OutputFormat
from core.wire.samples import field_list, sample_decoder


class SignalStepper(StepEngine):
    """signal-samples in, signal-predictions out.

    Args:
        model: its mode is set to eval.
        rules: how records are judged.
        store: the recovered ``signal-states`` table: stream key -> state.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
    """

    def __init__(
        self,
        model: SignalExtractionLSTM,
        rules: StreamRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
    ) -> None:
        task = StepTask(
            fingerprint=fingerprint(model),
            fields=field_list(shipped("signal")),
            decode=sample_decoder(shipped("signal")),
            outputs=PREDICTION,
            state_size=state_size(model),
            ranges=Ranges.read(model.training_ranges, SIGNAL_FIELDS),
        )
        self.model = model.eval()
        super().__init__(task, make_hidden(self.model), rules, store, output_format, clock)

    def warm_up(self) -> None:
        """Run some batches first, so that no live chunk pays for a first call; set torch up, too."""
        prepare(self.model)
        super().warm_up()
