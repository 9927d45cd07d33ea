"""Rows and windows that the runtime cannot run: each is tried alone, and has no numbers where it is the one that fails.

A graph may fail on one sample within all ranges, as where the sum of two classes has no embedding. Its record comes
again at every start, so it must not end the worker: its outputs are null, and its stream's state stays as it was.
All who run a checked model do it by these classes, so a worker, `predict` and `verify` agree about such a sample.

A row of zeros, which ran when the worker started, tells whether the sample is at fault: if that fails too, the runtime
cannot go on (it has no memory, for instance), and the error is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.arrays import Float32s
from core.engines.onnx.rows import CallRows, along
from core.engines.onnx.windows import OnnxWindows, Scored
from core.errors import RunError


class LiveRows(CallRows):
    """`CallRows` of a model that was checked."""

    def run(self, rows: int) -> tuple[Float32s, list[Float32s]]:
        try:
            return super().run(rows)
        except RunError as error:
            return self._apart(rows, error)

    def _apart(self, rows: int, error: RunError) -> tuple[Float32s, list[Float32s]]:
        carried = [state.before for state in self.binding.states]
        samples, *states = (
            self._feed[tensor.name][along(tensor, 0, rows)].copy() for tensor in (self.binding.samples, *carried)
        )
        outputs = np.full((rows, self.binding.output_width), np.nan, np.float32)
        failed = False
        for row in range(rows):
            own = [state[along(tensor, row, row + 1)] for tensor, state in zip(carried, states, strict=True)]
            found = self._alone(samples[along(self.binding.samples, row, row + 1)], own)
            failed = failed or found is None
            if found is not None:
                outputs[row : row + 1] = found[0]
                for state, after in zip(own, found[1], strict=True):
                    state[...] = after
        if failed and self._alone(np.zeros_like(samples[:1]), [np.zeros_like(each) for each in own]) is None:
            raise error
        return outputs, states

    def _alone(self, sample: Float32s, states: Sequence[Float32s]) -> tuple[Float32s, list[Float32s]] | None:
        """Step one row; None if the runtime cannot."""
        room = self.room(1)
        room.samples[...] = sample.reshape(1, -1)
        for buffer, state in zip(room.states, states, strict=True):
            buffer[...] = state
        try:
            return super().run(1)
        except RunError:
            return None


class LiveWindows(OnnxWindows):
    """`OnnxWindows` of a model that was checked."""

    def _run(self, windows: list[Float32s]) -> Iterator[Scored]:
        try:
            return super()._run(windows)
        except RunError as error:
            return self._apart(windows, error)

    def _apart(self, windows: list[Float32s], error: RunError) -> Iterator[Scored]:
        found = [self._alone(window) for window in windows]
        none: Scored = ()
        if any(each is None for each in found):
            if (zeros := self._alone(np.zeros_like(windows[0]))) is None:
                raise error
            none = tuple(np.full_like(part, np.nan) for part in zeros)
        return (none if each is None else each for each in found)

    def _alone(self, window: Float32s) -> Scored | None:
        try:
            return next(super()._run([window]))
        except RunError:
            return None
