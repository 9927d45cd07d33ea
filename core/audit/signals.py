"""The expected outputs of a partition of signal-samples. Columns, not objects: there is a row for each sample."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from core.arrays import Float32s
from core.audit.partition import AnyOutput, PartitionAudit
from core.audit.rules import AuditVerdict
from core.audit.scope import NOTHING, AuditedStream, Scope
from core.engines.infer import advance_sequences, prepare
from core.engines.results import StreamRules
from core.models.fingerprint import fingerprint
from core.models.signal_lstm import SignalExtractionLSTM
from core.wire.records import FEATURES, Prediction, SampleHeaders, SignalSample, decode_signal

# Samples in one forward pass: what it needs is bounded, however long sequences are.
BATCH_SAMPLES = 320_000


class Run:
    """The samples of a stream that the model sees from a state of zeros on."""

    __slots__ = ("first", "samples", "sequence", "stop", "stream")

    def __init__(self, stream: AuditedStream, sequence: str) -> None:
        self.stream = stream
        self.sequence = sequence
        self.samples = array("f")  # FEATURES per step, held ones too
        self.stop: int | None = None  # the hidden state after so many samples is asked for
        self.first = 0  # where its predictions stand among those of all runs

    def __len__(self) -> int:
        return len(self.samples) // FEATURES

    def inputs(self) -> Float32s:
        """(T, F)."""
        return np.frombuffer(self.samples, np.float32).reshape(-1, FEATURES)


class SignalAudit(PartitionAudit):
    """signal-samples in, what must stand in signal-predictions out."""

    def __init__(self, model: SignalExtractionLSTM, rules: StreamRules, scope: Scope) -> None:
        super().__init__(rules, scope)
        self.model = model.eval()
        self.fingerprint = fingerprint(model)
        self.runs: list[Run] = []
        self._latest: dict[bytes, int] = {}  # stream key -> the number of its latest run
        self.offsets, self.steps, self.times_ms, self.gaps = (array("q") for _ in range(4))
        self.run_of, self.place_of = array("i"), array("q")  # of each row: its run, and its place there
        self.predictions: Float32s = np.empty(0, np.float32)  # by row, once finished
        self.hidden: dict[bytes, Float32s] = {}  # stream key -> h and c where its stored state was taken

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> SignalSample:
        return decode_signal(value, headers)

    def _step(self, stream: AuditedStream, sample: SignalSample, verdict: AuditVerdict) -> int:
        memory = stream.memory
        assert memory is not None
        if verdict.zeros:
            self._latest[stream.key] = len(self.runs)
            self.runs.append(Run(stream, memory.sequence))
        number = self._latest[stream.key]
        run = self.runs[number]
        if verdict.held and memory.sample is not None:
            run.samples.extend(memory.sample.values * verdict.held)
        self.place_of.append(len(run.samples) // FEATURES)
        run.samples.extend(sample.values)
        self.run_of.append(number)
        self.offsets.append(memory.offset)
        self.steps.append(memory.step)
        self.times_ms.append(memory.timestamp_ms)
        self.gaps.append(verdict.gap)
        self.required.append(self.is_required(memory.append_ms, memory.offset))
        return len(self.offsets) - 1

    def _mark(self, stream: AuditedStream) -> None:
        run = self.runs[self._latest[stream.key]]
        run.stop = len(run)

    def finish(self, now_ms: int) -> None:
        self._reach(math.inf)
        prepare(self.model)
        parts: list[Float32s] = []
        first = 0
        for batch in batches(self.runs):
            found = self._run(batch)
            for run, predictions in zip(batch, found, strict=True):
                run.first, run.samples = first, array("f")
                first += len(predictions)
            parts += found
        everything = np.concatenate(parts) if parts else self.predictions
        firsts = np.array([run.first for run in self.runs], np.int64)
        if first:
            places = firsts[np.frombuffer(self.run_of, np.int32)] + np.frombuffer(self.place_of, np.int64)
            self.predictions = everything[places]

    def _run(self, runs: Sequence[Run]) -> list[Float32s]:
        """The predictions of whole runs, (T,) each; hidden states are taken on the way."""
        found: list[list[Float32s]] = [[] for _ in runs]
        states: list[Float32s | None] = [None] * len(runs)
        pieces = [list(_pieces(run)) for run in runs]
        for turn in range(max(map(len, pieces))):
            rows = [row for row, parts in enumerate(pieces) if turn < len(parts)]
            inputs = [runs[row].inputs()[pieces[row][turn]] for row in rows]
            before = None if turn == 0 else np.stack([_known(states[row]) for row in rows])
            predictions, after = advance_sequences(self.model, inputs, before)
            for row, values, state in zip(rows, predictions, after, strict=True):
                found[row].append(values)
                states[row] = state
                if pieces[row][turn].stop == runs[row].stop:
                    self.hidden[runs[row].stream.key] = state.copy()
        return [np.concatenate(parts) for parts in found]

    def expected(self, row: int) -> Prediction:
        return self._with(row, self._prediction(row))

    def _prediction(self, row: int) -> float | None:
        """Return a prediction as it is published: None if it is not finite."""
        prediction = float(self.predictions[row])
        return prediction if math.isfinite(prediction) else None

    def _with(self, row: int, prediction: float | None) -> Prediction:
        run = self.runs[self.run_of[row]]
        return Prediction(
            run.stream.name,
            run.sequence,
            self.steps[row],
            self.times_ms[row],
            prediction,
            self.fingerprint,
            self.gaps[row],
        )

    def difference(self, row: int, found: AnyOutput) -> float | None:
        if not isinstance(found, Prediction) or self._with(row, found.prediction) != found:
            return None
        expected = self._prediction(row)
        if expected is None or found.prediction is None:
            return 0.0 if expected is found.prediction else None
        return abs(expected - found.prediction)

    def key(self, row: int) -> bytes:
        return self.runs[self.run_of[row]].stream.key

    def offset(self, row: int) -> int:
        return self.offsets[row]

    def row(self, offset: int, final: bool) -> int:
        return NOTHING if final else self._code(offset)


def batches(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs for one pass each; a long one goes alone."""
    batch: list[Run] = []
    samples = 0
    for run in runs:
        if batch and samples + len(run) > BATCH_SAMPLES:
            yield batch
            batch, samples = [], 0
        batch.append(run)
        samples += len(run)
    if batch:
        yield batch


def _pieces(run: Run) -> Iterator[slice]:
    """A run in parts: cut where its hidden state is asked for, and where a pass would get too large."""
    cuts = {*range(0, len(run), BATCH_SAMPLES), len(run)} | ({run.stop} if run.stop is not None else set())
    ordered = sorted(cuts)
    yield from map(slice, ordered, ordered[1:])


def _known(state: Float32s | None) -> Float32s:
    assert state is not None
    return state
