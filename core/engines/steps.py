"""StepEngine: steps every stream of a task once per sample, all streams of a chunk in one call of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from core.arrays import Float32s
from core.engines.bank import ZEROS, StateBank
from core.engines.base import Engine
from core.engines.notes import not_finite_note
from core.engines.results import ChunkResult, StateStore, StreamRules
from core.engines.state import Decision, unpack_state
from core.errors import StateError
from core.models.ranges import Ranges, no_limits
from core.native.fields import FieldList
from core.native.outputs import NamedOutputs
from core.native.records import Records
from core.native.signals import SignalBatch, SignalTurn
from core.native.states import StatePacker
from core.native.streams import SignalStream
from core.step_batch import StepBatch
from core.wire.outputs import OutputField
from core.wire.records import NOT_FINITE, OutputFormat, SampleHeaders


@dataclass(frozen=True)
class StepTask:
    """The parts that a step engine runs.

    Args:
        fingerprint: of the model and all that moves its outputs, 12 ASCII characters.
        fields: of a sample.
        decode: reads a sample, in full; raises RecordError.
        outputs: of a record, in the order of the bank's numbers.
        state_size: numbers of a state in the bank.
        ranges: of the model's training, if known.
        fields_digits: of the fingerprint, how many of its first characters are of the fields alone; 0: fields never
            change.
        finite: a stored state that is not finite is damaged; else its model may have overflowed, and goes on with it.
    """

    fingerprint: str
    fields: FieldList
    decode: Callable[[bytes | None, SampleHeaders], Any]
    outputs: Sequence[OutputField]
    state_size: int
    ranges: Ranges | None = None
    fields_digits: int = 0
    finite: bool = True


class StepEngine(Engine[SignalStream]):
    """Samples of a task in, an output for each of them out.

    Args:
        task: its fields, outputs and codec.
        bank: steps the states; its numbers are (N,) or (N, K).
        rules: how records are judged.
        store: the recovered table: stream key -> state.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
    """

    def __init__(
        self,
        task: StepTask,
        bank: StateBank,
        rules: StreamRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(task.fingerprint, task.fields, rules, store, clock)
        self._task = task
        self._writer = NamedOutputs(task.outputs, output_format, task.fingerprint)
        self._hidden = bank
        self._used = ZEROS + 1  # rows of the hidden states, up to the highest ever given out
        self._free: list[int] = []  # those of them that were given back
        self._chunk = 0
        self._batch = self._new_batch()
        self._packer = StatePacker(self._model)
        self._limits = no_limits(self._fields.width) if task.ranges is None else task.ranges.limits()

    @property
    def outputs(self) -> Sequence[OutputField]:
        return self._task.outputs

    def warm_up(self) -> None:
        """Run some batches first, so that no live chunk pays for a first call."""
        self._hidden.warm_up()

    # Records.

    def _take_part(self, part: Records) -> None:
        rules = self._fields, self._listing, self.rules.idle_timeout_ms
        turn = SignalTurn(self._chunk, self._batch, *rules, self._take_one, self._pack)
        turn.take(part, self._streams[part.partition], self._listed[part.partition])
        self._add_counts(turn)

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> Any:
        return self._task.decode(value, headers)

    def _apply(self, stream: SignalStream, values: tuple[float, ...], decision: Decision, ends: bool) -> None:
        batch = self._batch
        if decision.fresh or decision.reset is not None:
            batch.start(stream, ZEROS)
        elif stream.chunk != self._chunk:
            batch.start(stream, stream.row)
        stream.chunk = self._chunk
        if stream.width:  # else no sample is known that a gap could hold
            for _ in range(decision.held):
                batch.add(stream)
        stream.sample = values
        batch.add(stream)
        batch.publish(stream, decision.gap)
        stream.closed = ends

    def _infer(self) -> Callable[[], None]:
        batch, self._batch = self._batch, self._new_batch()
        self._chunk += 1
        counts = self._result.counts
        counts.batch_streams, counts.batch_steps = batch.rows, len(batch)
        if not len(batch):
            return lambda: None
        arrays = StepBatch._make(batch.arrays())
        if (ranges := self._task.ranges) is not None and not batch.is_within(self._limits):
            places = batch.published()
            self._note_outside(ranges, arrays.samples[places], batch.place_of)
        numbers = self._hidden.step(arrays)
        return partial(self._write, batch, numbers, self._result)

    def _write(self, batch: SignalBatch, numbers: Float32s, result: ChunkResult) -> None:
        missing, first = batch.encode(numbers.astype(np.float64).reshape(len(numbers), -1), result.outputs)
        if missing:
            result.counts.not_finite += missing
            if self._firsts.take(NOT_FINITE):
                result.notes.append(not_finite_note(self._task.outputs[0].name, *batch.place_of(first)))

    def _new_batch(self) -> SignalBatch:
        return SignalBatch(self._writer, self._fields.width)

    # Streams.

    def _create(self, partition: int, key: bytes) -> SignalStream:
        if self._free:
            return SignalStream(partition, key, self._free.pop(), self._fields.width)
        if self._used == self._hidden.capacity:
            self._hidden.grow()
        self._used += 1
        return SignalStream(partition, key, self._used - 1, self._fields.width)

    def _forget(self, stream: SignalStream) -> None:
        self._free.append(stream.row)

    def _load(self, stream: SignalStream, blob: bytes | None) -> str | None:
        if blob is None:
            return None
        model, body = unpack_state(blob, stream)
        if model != self._model:
            self._hidden.clear(stream.row)
            if self._is_of_others(stream, model, self._task.fields_digits):
                stream.sample = ()
            return "model"
        self._check_width(stream)
        hidden = np.frombuffer(body, np.float32) if len(body) % 4 == 0 else np.empty(0, np.float32)
        if len(hidden) != self._task.state_size:
            raise StateError("corrupt_state", f"{len(body)} bytes of hidden state do not fit the model that wrote them")
        if self._task.finite and not np.isfinite(hidden).all():  # every prediction from here on would be none
            raise StateError("corrupt_state", "a hidden state holds numbers that are not finite")
        self._hidden.write(stream.row, hidden)
        return None

    def _pack(self, stream: SignalStream) -> None:
        # The head as it is now; h and c stay as they are until the models run, and are read for all streams together.
        self._packer.add(stream)

    def _pack_rest(self) -> None:
        if len(self._packer):
            self._packer.finish(self._hidden.read(self._packer.rows()), self._packed)
