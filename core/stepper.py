"""SignalStepper: steps every signal stream once per sample, all streams of a chunk in one LSTM call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from core.chunk import StateStore, StreamRules
from core.engine import Engine, LiveStream
from core.errors import StateError
from core.infer import advance, prepare, state_size
from core.models.fingerprint import fingerprint
from core.models.signal_lstm import SignalExtractionLSTM
from core.records import FEATURES, Headers, OutputFormat, Prediction, SignalSample, Values, decode_signal
from core.state import Decision, pack_state, unpack_state

ZEROS = 0  # row of the hidden states that stays zero: where a sequence begins
FIRST_ROWS = 64
WARM_ROWS = [2**n for n in range(11)]  # B up to 1,024
WARM_STEPS = (1, 8, 64)  # T
WARM_SAMPLES = 2**16  # B * T at most: about 0.1 s for the largest


class SignalStream(LiveStream):
    """A signal stream; its h and c stand in the stepper's array."""

    __slots__ = ("chunk", "row", "run")

    def __init__(self, partition: int, key: bytes, name: str, row: int) -> None:
        super().__init__(partition, key, name)
        self.row = row
        self.chunk = -1  # the last chunk that stepped it,
        self.run = -1  # and the batch row there that steps it now


Pending = tuple[SignalStream, str, int, int, int, int, int]
"""A prediction to come: stream, sequence, step, event time, gap, source offset, append time."""


class _Batch:
    """The samples of one chunk. A run is a batch row: consecutive samples of a stream, without a reset between."""

    __slots__ = ("emitted", "lengths", "pending", "runs", "starts", "streams", "times", "values")

    def __init__(self) -> None:
        self.values: list[float] = []  # FEATURES per sample
        self.runs: list[int] = []  # of each sample
        self.times: list[int] = []  # its place in the run
        self.lengths: list[int] = []  # of each run
        self.starts: list[int] = []  # the row of hidden states with which it begins
        self.streams: list[SignalStream] = []
        self.emitted: list[int] = []  # the samples whose prediction is published
        self.pending: list[Pending] = []

    def start(self, stream: SignalStream, row: int) -> None:
        """Begin a run. One that begins at zeros does not wait for the stream's run before it."""
        stream.run = len(self.lengths)
        self.lengths.append(0)
        self.starts.append(row)
        self.streams.append(stream)

    def add(self, run: int, values: Values) -> None:
        time = self.lengths[run]
        self.lengths[run] = time + 1
        self.runs.append(run)
        self.times.append(time)
        self.values.extend(values)


class SignalStepper(Engine[SignalStream]):
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
        super().__init__(fingerprint(model), rules, store, output_format, clock)
        self.model = model.eval()
        self._hidden = np.zeros((FIRST_ROWS, state_size(model)), np.float32)  # (rows, 2*L*H)
        self._free = list(range(FIRST_ROWS - 1, ZEROS, -1))
        self._chunk = 0
        self._batch = _Batch()

    def warm_up(self) -> None:
        """Run the ladder of batch shapes, so that no live chunk pays for a first call. Sets torch up, too."""
        prepare(self.model)
        for steps in WARM_STEPS:
            for rows in WARM_ROWS:
                if rows * steps <= WARM_SAMPLES:
                    self._warm(np.full(rows, steps))
        self._warm(np.arange(1, 9))  # unequal lengths: the packed call

    def _warm(self, lengths: NDArray[np.int64]) -> None:
        runs = np.repeat(np.arange(len(lengths)), lengths)
        times = np.concatenate([np.arange(length) for length in lengths])
        samples = np.zeros((len(runs), FEATURES), np.float32)
        advance(self.model, samples, runs, times, lengths, np.zeros((len(lengths), state_size(self.model)), np.float32))

    # Records.

    def _decode(self, value: bytes | None, headers: Headers) -> SignalSample:
        return decode_signal(value, headers)

    def _apply(self, stream: SignalStream, sample: SignalSample, decision: Decision) -> None:
        batch = self._batch
        if decision.fresh or decision.reset is not None:
            batch.start(stream, ZEROS)
        elif stream.chunk != self._chunk:
            batch.start(stream, stream.row)
        stream.chunk = self._chunk
        for _ in range(decision.held):
            batch.add(stream.run, stream.sample)
        stream.sample = sample.values
        batch.emitted.append(len(batch.runs))
        batch.add(stream.run, stream.sample)
        batch.pending.append(
            (
                stream,
                stream.sequence,
                stream.step,
                stream.timestamp_ms,
                decision.gap,
                stream.offset,
                stream.append_ms,
            )
        )

    def _infer(self) -> Callable[[], None]:
        batch, self._batch = self._batch, _Batch()
        self._chunk += 1
        counts = self._result.counts
        counts.batch_streams, counts.batch_steps = len(batch.lengths), len(batch.runs)
        if not batch.runs:
            return lambda: None
        predictions, after = advance(
            self.model,
            np.array(batch.values, np.float32).reshape(-1, FEATURES),
            np.array(batch.runs),
            np.array(batch.times),
            np.array(batch.lengths),
            self._hidden[batch.starts],
        )
        # A stream with several runs stands here several times, each time with its last one.
        self._hidden[[stream.row for stream in batch.streams]] = after[[stream.run for stream in batch.streams]]
        return partial(self._emit, batch.pending, predictions[batch.emitted].tolist())

    def _emit(self, pending: list[Pending], predictions: list[float]) -> None:
        model, publish = self._model, self._publish
        for (stream, sequence, step, event_ms, gap, offset, append_ms), prediction in zip(
            pending, predictions, strict=True
        ):
            output = Prediction(stream.name, sequence, step, event_ms, prediction, model, gap)
            publish(stream, output, offset, append_ms)

    # Streams.

    def _create(self, partition: int, key: bytes, name: str) -> SignalStream:
        if not self._free:
            rows = len(self._hidden)
            self._hidden = np.concatenate((self._hidden, np.zeros_like(self._hidden)))
            self._free = list(range(2 * rows - 1, rows - 1, -1))
        return SignalStream(partition, key, name, self._free.pop())

    def _forget(self, stream: SignalStream) -> None:
        self._free.append(stream.row)

    def _load(self, stream: SignalStream, blob: bytes | None) -> str | None:
        if blob is None:
            return None
        model, body = unpack_state(blob, stream)
        if model != self._model:
            self._hidden[stream.row] = 0.0
            return "model"
        hidden = np.frombuffer(body, "<f4") if len(body) % 4 == 0 else np.empty(0)
        if len(hidden) != self._hidden.shape[1]:
            raise StateError("corrupt_state", f"{len(body)} bytes of hidden state do not fit the model that wrote them")
        self._hidden[stream.row] = hidden
        return None

    def _pack(self, stream: SignalStream) -> list[tuple[bytes, bytes | None]]:
        hidden = self._hidden[stream.row].astype("<f4", copy=False).tobytes()
        return [(stream.key, pack_state(stream, self._model, hidden))]
