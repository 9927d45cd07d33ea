"""The expected outputs of a partition of a step task. Columns, not objects: there is a row for each sample."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from core.arrays import Float32s, Float64s
from core.audit.applied import Applied
from core.audit.functions import applied
from core.audit.models import StepsModel
from core.audit.outputs import ExpectedOutputs, Made
from core.audit.partition import AnyOutput, PartitionAudit
from core.audit.rules import AuditVerdict
from core.audit.samples import Row, SampleReader
from core.audit.scales import Scales
from core.audit.scope import NOTHING, AuditedStream, Scope
from core.engines.results import StreamRules
from core.tasks.declaration import Declaration, Output
from core.wire.output_types import output_type

# Numbers of samples in one forward pass: what it needs is bounded, however long sequences are.
BATCH_NUMBERS = 1_600_000


class Run:
    """The samples of a stream that the model sees from a state of zeros on."""

    __slots__ = ("first", "samples", "sequence", "stop", "stream", "width")

    def __init__(self, stream: AuditedStream, sequence: str, width: int) -> None:
        self.stream = stream
        self.sequence = sequence
        self.width = width
        self.samples = array("f")  # F per step, held ones too
        self.stop: int | None = None  # the hidden state after so many samples is asked for
        self.first = 0  # where its outputs stand among those of all runs

    def __len__(self) -> int:
        return len(self.samples) // self.width

    def inputs(self) -> Float32s:
        """(T, F)."""
        return np.frombuffer(self.samples, np.float32).reshape(-1, self.width)


class StepAudit(PartitionAudit):
    """Samples of a step task in, what must stand in its output topic out.

    Args:
        task: its outputs.
        samples: reads them.
        model: of the task.
        rules: the worker's.
        scope: what to judge.
        scales: of the model's tensors and state; None: 1.
    """

    def __init__(
        self,
        task: Declaration,
        samples: SampleReader,
        model: StepsModel,
        rules: StreamRules,
        scope: Scope,
        scales: Scales | None = None,
    ) -> None:
        super().__init__(samples, rules, scope)
        self.model = model
        self.fingerprint = model.fingerprint
        self.output_type = output_type(task)
        self.scales = Scales() if scales is None else scales
        sizes = {name: at.stop - at.start for name, at in model.tensors.items()}
        self.outputs = ExpectedOutputs(task.outputs, sizes, self.scales.tensors)
        self.runs: list[Run] = []
        self._latest: dict[bytes, int] = {}  # stream key -> the number of its latest run
        self.offsets, self.steps, self.times_ms, self.gaps = (array("q") for _ in range(4))
        self.run_of, self.place_of = array("i"), array("q")  # of each row: its run, and its place there
        self.numbers: Float32s = np.empty((0, self.outputs.width), np.float32)  # by row, once finished
        self.others: dict[int, list[float]] = {}  # row -> numbers that are as good, where there are any
        self.hidden: dict[bytes, Float32s] = {}  # stream key -> the model's state where its stored state was taken
        self.hidden_others: dict[bytes, Float32s] = {}  # the same: numbers in their places that are as good, or NaN

    def _step(self, stream: AuditedStream, sample: Row, held: Row, verdict: AuditVerdict, ends: bool) -> int:
        memory = stream.memory
        assert memory is not None
        if verdict.zeros:
            self._latest[stream.key] = len(self.runs)
            self.runs.append(Run(stream, memory.sequence, self.samples.width))
        number = self._latest[stream.key]
        run = self.runs[number]
        run.samples.extend(held * verdict.held)
        self.place_of.append(len(run))
        run.samples.extend(sample)
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
        numbers: list[Float32s] = []
        others: list[Float32s] = []
        first = 0
        for batch in batches(self.runs):
            for run, made in zip(batch, self._run(batch), strict=True):
                run.first, run.samples = first, array("f")
                first += len(made.numbers)
                numbers.append(made.numbers.astype(np.float32))
                others.append((made.others[:0] if np.isnan(made.others).all() else made.others).astype(np.float32))
        if first:
            self._order(numbers, others)

    def _order(self, numbers: Sequence[Float32s], others: Sequence[Float32s]) -> None:
        """Keep the outputs of all runs by row."""
        run_of, place_of = np.frombuffer(self.run_of, np.int32), np.frombuffer(self.place_of, np.int64)
        firsts = np.array([run.first for run in self.runs], np.int64)
        self.numbers = np.concatenate(numbers)[firsts[run_of] + place_of]
        tied = {number: found for number, found in enumerate(others) if len(found)}
        for row in np.flatnonzero(np.isin(run_of, list(tied))).tolist():
            as_good = tied[int(run_of[row])][place_of[row]]
            if not np.isnan(as_good).all():
                self.others[row] = as_good.tolist()

    def _run(self, runs: Sequence[Run]) -> Iterator[Made]:
        """The outputs of whole runs; hidden states are taken on the way."""
        found, at_stop = self._run_all(runs)
        for row, run in enumerate(runs):
            made = self._make(np.concatenate(found[row]), run.inputs())
            if run.stop is not None:
                key, state = run.stream.key, at_stop[row]
                self.hidden[key] = np.concatenate([state, made.kept[run.stop - 1]])
                self.hidden_others[key] = np.concatenate([np.full_like(state, np.nan), made.kept_others[run.stop - 1]])
            yield made

    def _make(self, numbers: Float32s, samples: Float32s) -> Made:
        def given(output: Output) -> Float64s:
            return numbers[:, self.model.tensors[output.tensor]].astype(np.float64)

        def apply(output: Output, values: Float64s, scale: float) -> Applied:
            return applied(output, values, samples, scale)

        return self.outputs.make(len(numbers), given, apply)

    def _run_all(self, runs: Sequence[Run]) -> tuple[list[list[Float32s]], dict[int, Float32s]]:
        """The model's numbers in pieces (T, K), and its states where they are asked for, by run."""
        found: list[list[Float32s]] = [[] for _ in runs]
        states: list[Float32s] = [np.empty(0, np.float32)] * len(runs)
        at_stop: dict[int, Float32s] = {}
        pieces = [list(_pieces(run)) for run in runs]
        for turn in range(max(map(len, pieces))):
            rows = [row for row, parts in enumerate(pieces) if turn < len(parts)]
            inputs = [runs[row].inputs()[pieces[row][turn]] for row in rows]
            before = None if turn == 0 else np.stack([states[row] for row in rows])
            numbers, after = self.model.advance(inputs, before)
            for row, values, state in zip(rows, numbers, after, strict=True):
                found[row].append(values)
                states[row] = state
                if pieces[row][turn].stop == runs[row].stop:
                    at_stop[row] = state.copy()
        return found, at_stop

    def expected(self, row: int) -> AnyOutput:
        run = self.runs[self.run_of[row]]
        values = self.outputs.values(self.numbers[row].tolist())
        head = run.stream.name, run.sequence, self.steps[row], self.times_ms[row]
        return self.output_type(*head, *values, self.fingerprint, self.gaps[row])

    def differences(self, row: int, found: AnyOutput) -> dict[str, float]:
        run = self.runs[self.run_of[row]]
        want = {
            "stream": run.stream.name,
            "sequence": run.sequence,
            "step": self.steps[row],
            "timestamp_ms": self.times_ms[row],
            "model": self.fingerprint,
            "gap": self.gaps[row],
        }
        off = {name: math.inf for name, value in want.items() if getattr(found, name) != value}
        return off | self.outputs.differences(self.numbers[row].tolist(), self.others.get(row), found)

    def key(self, row: int) -> bytes:
        return self.runs[self.run_of[row]].stream.key

    def offset(self, row: int) -> int:
        return self.offsets[row]

    def row(self, offset: int, final: bool) -> int:
        return NOTHING if final else self._code(offset)


def batches(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs for one pass each; a long one goes alone."""
    batch: list[Run] = []
    numbers = 0
    for run in runs:
        if batch and numbers + len(run.samples) > BATCH_NUMBERS:
            yield batch
            batch, numbers = [], 0
        batch.append(run)
        numbers += len(run.samples)
    if batch:
        yield batch


def _pieces(run: Run) -> Iterator[slice]:
    """A run in parts: cut where its hidden state is asked for, and where a pass would get too large."""
    most = max(1, BATCH_NUMBERS // run.width)
    cuts = {*range(0, len(run), most), len(run)} | ({run.stop} if run.stop is not None else set())
    ordered = sorted(cuts)
    yield from map(slice, ordered, ordered[1:])
