"""States of an ONNX model in numbered rows: gathered, stepped time by time, scattered.

Shapes: N samples, B runs, F numbers of a sample, K numbers of all outputs, S numbers of a state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.bank import ZEROS
from core.engines.binding import Binding
from core.engines.onnx.rows import Room, StepsRows, along
from core.engines.ragged import BatchPlan, check_rows, checked
from core.step_batch import StepBatch

FIRST_ROWS = 4096


class OnnxStates:
    """A `StateBank` whose predictions are (N, K). A state is the declared tensors of a row, in declared order.

    What a run gives has the same bits in every batch, as far as the plan of ``graph`` was found by
    `core.engines.onnx.probe.find_plan`.

    Args:
        graph: steps the rows.
    """

    def __init__(self, graph: StepsRows) -> None:
        self._graph = graph
        self._tensors = [state.before for state in graph.binding.states]
        self._size = graph.binding.state_size
        self._count = FIRST_ROWS
        self._stored = [np.zeros(tensor.of_rows(FIRST_ROWS), np.float32) for tensor in self._tensors]
        self._by_row = self._rows_first(self._stored)

    @property
    def capacity(self) -> int:
        return self._count

    @property
    def binding(self) -> Binding:
        """The names of the graph; ``binding.columns`` says where a tensor stands among the K."""
        return self._graph.binding

    @property
    def state_size(self) -> int:
        """S."""
        return self._size

    def grow(self) -> None:
        for place, tensor in enumerate(self._tensors):  # one at a time: while it copies, both sizes are there
            grown = np.zeros(tensor.of_rows(2 * self._count), np.float32)
            grown[along(tensor, 0, self._count)] = self._stored[place]
            self._stored[place] = grown
        self._count *= 2
        self._by_row = self._rows_first(self._stored)

    def _rows_first(self, arrays: list[Float32s]) -> list[Float32s]:
        """Views with the rows in front."""
        return [
            np.moveaxis(array, tensor.axis, 0) if tensor.axis else array
            for tensor, array in zip(self._tensors, arrays, strict=True)
        ]

    def step(self, batch: StepBatch) -> Float32s:
        """Step the runs of a batch; see `StateBank.step`. The predictions are (N, K)."""
        batch = checked(batch, self._graph.binding.samples.size, self._count)
        if not len(batch.samples):
            return np.empty((0, self._graph.binding.output_width), np.float32)
        if len(batch.samples) == len(batch.lengths) <= self._graph.plan.most:
            return self._step_once(batch)
        return self._step_ragged(batch)

    def _step_once(self, batch: StepBatch) -> Float32s:
        """Step one sample of each run, as most chunks have it: nothing waits for others."""
        room = self._graph.room(len(batch.samples))
        room.samples[batch.runs] = batch.samples
        self._gather(room, batch.starts)
        outputs, after = self._graph.run(len(batch.samples))
        self._scatter(batch.targets, after, batch.last)
        found: Float32s = outputs[batch.runs]
        return found

    def _step_ragged(self, batch: StepBatch) -> Float32s:
        samples, lengths = batch.samples, batch.lengths
        outputs = np.empty((len(samples), self._graph.binding.output_width), np.float32)
        plan = BatchPlan.of(batch.runs, batch.times, lengths)
        ordered = np.empty_like(samples)
        ordered[plan.places] = samples
        after = [np.empty(tensor.of_rows(len(lengths)), np.float32) for tensor in self._tensors]
        for tile in self._tiles(len(lengths)):
            self._run_tile(tile, plan, ordered, batch.starts[plan.order], after, outputs)
        self._scatter(batch.targets, after, plan.rank[batch.last])  # all runs are through: one may have begun there
        return outputs[plan.places]

    def _gather(self, room: Room, rows: Int64s) -> None:
        for tensor, stored, buffer in zip(self._tensors, self._stored, room.states, strict=True):
            buffer[...] = stored.take(rows, tensor.axis)

    def _scatter(self, targets: Int64s, after: list[Float32s], last: Int64s) -> None:
        for stored, new in zip(self._by_row, self._rows_first(after), strict=True):
            stored[targets] = new[last]

    def _tiles(self, runs: int) -> Iterator[range]:
        most = self._graph.plan.most
        return (range(start, min(start + most, runs)) for start in range(0, runs, most))

    def _run_tile(
        self,
        tile: range,
        plan: BatchPlan,
        samples: Float32s,
        starts: Int64s,
        after: list[Float32s],
        outputs: Float32s,
    ) -> None:
        """Step some of the runs, which are in the plan's order, through all their samples."""
        room = self._graph.room(len(tile))
        self._gather(room, starts[tile.start : tile.stop])
        running = plan.running.tolist()
        begins = itertools.accumulate(running, initial=tile.start)
        active = [min(rows, tile.stop) - tile.start for rows in running if rows > tile.start]
        for begin, rows, following in zip(begins, active, [*active[1:], 0], strict=False):
            room.samples[...] = samples[begin : begin + rows]
            outputs[begin : begin + rows], states = self._graph.run(rows)
            for tensor, kept, new in zip(self._tensors, after, states, strict=True):
                kept[along(tensor, tile.start + following, tile.start + rows)] = new[along(tensor, following, rows)]
            if following:
                room = self._graph.room(following)
                for tensor, buffer, new in zip(self._tensors, room.states, states, strict=True):
                    buffer[...] = new[along(tensor, 0, following)]

    def read(self, rows: Int64s) -> Float32s:
        wanted = np.asarray(rows, np.int64)
        check_rows(wanted, self._count)
        found = np.empty((len(wanted), self._size), np.float32)
        start = 0
        for tensor, stored in zip(self._tensors, self._by_row, strict=True):
            found[:, start : start + tensor.size] = stored[wanted].reshape(len(wanted), tensor.size)
            start += tensor.size
        return found

    def write(self, row: int, state: Float32s) -> None:
        if np.shape(state) != (self._size,):
            raise ValueError(f"a state of shape {np.shape(state)}, where ({self._size},) is needed")
        if row == ZEROS:
            raise IndexError("row 0 stays zero")
        check_rows(np.array([row]), self._count)
        start = 0
        for tensor, stored in zip(self._tensors, self._by_row, strict=True):
            stored[row] = state[start : start + tensor.size].reshape(tensor.shape)
            start += tensor.size

    def clear(self, row: int) -> None:
        self.write(row, np.zeros(self._size, np.float32))

    def warm_up(self) -> None:
        """Run the shapes of small and of full tiles; the runtime's memory has its size afterwards."""
        for rows in {1, min(64, self._graph.plan.most), self._graph.plan.most}:
            room = self._graph.room(rows)
            for array in room:
                for part in array if isinstance(array, tuple) else (array,):
                    part[...] = 0
            self._graph.run(rows)
