"""Play blocks of samples, paced and encoded, into a sink, and keep what was acknowledged for ``--resume``.

The sequence that a stream ended must be acknowledged, and known to be, before its next one begins: only then is
everything that a resumed replay sends twice a duplicate by its step, and never a late record of an ended sequence.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.naming import SequenceNames
from core.data.runs import event_times_ms
from core.errors import DataError, RunError, StartupError
from replay.blocks import Block, Source
from replay.clock import Clock
from replay.encode import BlockEncoder
from replay.pacing import Pacer
from replay.progress import ReplayProgress
from replay.sink import Pair, Sink

# Encoded at once: about a millisecond's work.
SLICE_RECORDS = 4096
LONGEST_SLEEP_S = 0.1
# Python's 5 ms would be the whole lateness that a paced sample may have.
SWITCH_S = 0.0005
TELL_EVERY_S = 0.2
SAVE_EVERY_S = 1.0
# After Ctrl-C: for the acknowledgement of what is under way.
LAST_WAIT_S = 5.0


@dataclass(frozen=True)
class Status:
    """The state of a replay: ``phase`` is "check" (values of the file read) or "send" (records acknowledged).

    ``total`` is None for an endless replay. ``behind_s`` is how late the next sample is, by the schedule.
    """

    phase: str
    done: int
    total: int | None
    behind_s: float = 0.0


@dataclass(frozen=True)
class ReplaySummary:
    """Acknowledged records in all (``sent``) and by stream, and ``sequences`` of which something was sent."""

    kind: str
    run: str
    start_ms: int
    sent: int
    streams: int
    sequences: int
    seconds: float
    per_stream: dict[str, int]
    resumed: bool = False
    interrupted: bool = False


class ReplayError(RunError):
    """A replay that could not go on; ``summary`` says how far it got."""

    def __init__(self, cause: Exception, summary: ReplaySummary) -> None:
        super().__init__(
            f"{cause}; {summary.sent:,} records were acknowledged (streams: {summary.streams}), --resume goes on there"
        )
        self.summary = summary


OnStatus = Callable[[Status], None]


@contextlib.contextmanager
def prompt() -> Iterator[None]:
    """Keep this process prompt: no thread that draws and no garbage collection holds a sample back for milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


class Player:
    """One replay under way."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        progress: ReplayProgress,
        names: SequenceNames,
        place: Path,
        speed: float,
        clock: Clock,
        tell: OnStatus,
        stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._sink = sink
        self._progress = progress
        self._names = names
        self._place = place
        self._clock = clock
        self._tell = tell
        self._stop = stop
        self._keys = [source.stream_name(stream).encode() for stream in range(source.streams)]
        self._before = list(progress.sent)
        self._step_s = 0.0 if math.isinf(speed) else source.period_ms / 1000.0 / speed
        self._pass_steps = max(source.totals)
        self._started_s = self._told_s = self._saved_s = clock.now_s()
        self._playing: list[tuple[int, int] | None] = [None] * source.streams
        self._sequences = 0
        self._pacer = Pacer(self._started_s, self._step_s)
        self._first = 0

    def play(self, resumed: bool) -> ReplaySummary:
        """Send all samples that are not acknowledged yet, and return the summary; ``resumed`` goes into it.

        Raises:
            ReplayError: the broker or the progress file failed; the summary says how far it got.
            DataError: the file changed while it was read, or cannot be read to its end; says how much was sent.
        """
        interrupted = False
        try:
            self._play()
            self._sink.flush()
            self._save()
        except (KeyboardInterrupt, _StoppedError):
            interrupted = True
            self._sink.close(LAST_WAIT_S)
            self._save()
        except DataError as error:
            self._sink.close(LAST_WAIT_S)
            with contextlib.suppress(StartupError):
                self._save()
            sent = sum(self._sink.acked.values())
            problem = f"{error.problem}; {sent:,} records were sent before"
            raise DataError(error.path, problem, error.dataset) from error
        except (RunError, StartupError, OSError) as error:  # the broker, the progress file
            self._sink.close(0.0)
            with contextlib.suppress(StartupError):
                self._save()
            raise ReplayError(error, self._summary(resumed, interrupted)) from error
        self._report(self._clock.now_s(), 0.0)
        return self._summary(resumed, interrupted)

    def _play(self) -> None:
        first_pass, first = self._resume_at()
        self._first = first_pass * self._pass_steps + first
        self._pacer = Pacer(self._clock.now_s(), self._step_s)
        for loop_pass in itertools.count(first_pass):
            if loop_pass > 0 and not self._progress.loop:
                return
            for block in self._source.blocks(first):
                self._play_block(block, loop_pass)
            first = 0

    def _resume_at(self) -> tuple[int, int]:
        """The pass, and the position in it, of the first sample that is not acknowledged."""
        totals = self._source.totals
        counted = [(sent, total) for sent, total in zip(self._before, totals, strict=True) if total]
        loop_pass = min(sent // total for sent, total in counted)
        open_ = [sent - loop_pass * total for sent, total in counted if sent // total == loop_pass]
        return loop_pass, min(open_)

    def _play_block(self, block: Block, loop_pass: int) -> None:
        if block.begins:
            self._sink.flush()
            self._save()
        unsent = [self._unsent(block, piece.stream, loop_pass) for piece in block.pieces]
        self._count_sequences(block, unsent, loop_pass)
        keys = [self._keys[piece.stream] for piece in block.pieces]
        names = [self._sequence(piece.row, loop_pass) for piece in block.pieces]
        encoder = BlockEncoder(self._source.form, block, keys, names)
        position = loop_pass * self._pass_steps + block.first
        size = max(1, SLICE_RECORDS // len(block.pieces))
        for start in range(min(unsent), block.steps, size):
            count = min(size, block.steps - start)
            times = event_times_ms(self._progress.start_ms, position + start, count, self._source.period_ms)
            skips = np.clip(np.array(unsent) - start, 0, count)
            # How many records stand before the end of each step.
            ends = np.cumsum((skips[:, None] <= np.arange(count)).sum(axis=0)).tolist()
            self._send(encoder.records(start, times, skips), ends, position + start)

    def _unsent(self, block: Block, stream: int, loop_pass: int) -> int:
        """Return how many of the block's first steps an earlier replay got acknowledged for this stream."""
        done = self._before[stream] - loop_pass * self._source.totals[stream] - block.first
        return min(max(0, done), block.steps)

    def _count_sequences(self, block: Block, unsent: list[int], loop_pass: int) -> None:
        for piece, skipped in zip(block.pieces, unsent, strict=True):
            if skipped < block.steps and self._playing[piece.stream] != (loop_pass, piece.row):
                self._playing[piece.stream] = (loop_pass, piece.row)
                self._sequences += 1

    def _sequence(self, row: int, loop_pass: int) -> str:
        return self._names.name(row, loop_pass if self._progress.loop else None)

    def _send(self, records: list[Pair], ends: list[int], position: int) -> None:
        """Send each step when it is due.

        Args:
            records: of all steps.
            ends: of each step the number of records up to its end.
            position: of the first step, counted over all passes.
        """
        offset, at, sent = position - self._first, 0, 0
        while at < len(ends):
            now_s = self._clock.now_s()
            due = int(min(len(ends), self._pacer.due(now_s) - offset))
            late_s = self._pacer.late_s(offset + at, now_s)
            if due > at:
                self._sink.send(records[sent : ends[due - 1]])
                at, sent = due, ends[due - 1]
            else:
                self._clock.sleep(min(-late_s, LONGEST_SLEEP_S))
            self._service(now_s, max(0.0, late_s))

    def _service(self, now_s: float, behind_s: float) -> None:
        """Handle acknowledgements, the progress file, the bar and the wish to stop, now and then."""
        self._sink.poll()
        if self._stop():
            raise _StoppedError
        if now_s - self._saved_s >= SAVE_EVERY_S:
            self._save()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._report(now_s, behind_s)

    def _report(self, now_s: float, behind_s: float) -> None:
        self._told_s = now_s
        total = None if self._progress.loop else sum(self._source.totals)
        self._tell(Status("send", sum(self._before) + sum(self._sink.acked.values()), total, behind_s))

    def _save(self) -> None:
        acked = self._sink.acked
        self._progress.sent = [before + acked.get(key, 0) for before, key in zip(self._before, self._keys, strict=True)]
        self._progress.save(self._place)
        self._saved_s = self._clock.now_s()

    def _summary(self, resumed: bool, interrupted: bool) -> ReplaySummary:
        per_stream = {key.decode(): self._sink.acked.get(key, 0) for key in self._keys}
        return ReplaySummary(
            self._source.kind,
            self._progress.run,
            self._progress.start_ms,
            sum(per_stream.values()),
            sum(1 for sent in per_stream.values() if sent),
            self._sequences,
            self._clock.now_s() - self._started_s,
            per_stream,
            resumed,
            interrupted,
        )


class _StoppedError(Exception):
    """Somebody asked the replay to stop."""
