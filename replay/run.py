"""The replay: blocks of a file, paced, encoded, into a sink; with what was acknowledged kept for ``--resume``.

The sequence that a stream ended must be acknowledged, and known to be, before its next one begins: only then is
everything that a resumed replay sends twice a duplicate by its step, and never a late record of an ended sequence.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.layout import file_kind
from core.data.naming import sequence_name
from core.data.runs import event_times_ms, run_name
from core.errors import RunError, StartupError
from replay.clock import Clock
from replay.encode import encode_piece
from replay.hdf5 import Block, Source, open_source
from replay.pacing import Pacer
from replay.progress import Progress, progress_place
from replay.sink import KafkaSink, Pair, Sink

# Encoded at once: about a millisecond's work, so that a pace of 1 kHz is kept.
SLICE_RECORDS = 2048
LONGEST_SLEEP_S = 0.1
TELL_EVERY_S = 0.2
SAVE_EVERY_S = 1.0
# After Ctrl-C: for the acknowledgement of what is under way.
LAST_WAIT_S = 5.0


@dataclass(frozen=True)
class Status:
    """What a replay is doing: ``phase`` is "check" (values of the file read) or "send" (records acknowledged).

    ``total`` is None for an endless replay. ``behind_s`` is how late the next sample is, by the schedule.
    """

    phase: str
    done: int
    total: int | None
    behind_s: float = 0.0


@dataclass(frozen=True)
class ReplaySummary:
    """What was acknowledged: ``sent`` records, and those of each stream; ``sequences`` of which something was sent."""

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


OnProgress = Callable[[Status], None]


def replay(
    path: str | Path,
    *,
    client_config: Mapping[str, Any],
    topic_signal: str,
    topic_casting: str,
    data_dir: Path,
    streams: int | None = None,
    speed: float = 1.0,
    loop: bool = False,
    resume: bool = False,
    run: str | None = None,
    start_ms: int | None = None,
    on_progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    sink: Sink | None = None,
    clock: Clock | None = None,
) -> ReplaySummary:
    """Send the samples of an HDF5 file, of signals or of castings, into the topic of their kind.

    Args:
        path: the file; its datasets tell the kind.
        client_config: librdkafka's configuration of where the broker is.
        topic_signal: the topic for signals, as the broker names it.
        topic_casting: the topic for castings.
        data_dir: where the progress is kept.
        streams: how many streams play side by side; None: 20 (signals) or 8 (castings), at most one per row.
        speed: a factor on the recorded pace; infinity for as fast as the broker takes it. See `parse_speed`.
        loop: start again at the end of the file, until it is interrupted; each pass has its own sequences.
        resume: go on where the last replay of this file into this topic was acknowledged; with none, start.
        run: the first part of the sequences' names; None: the start time.
        start_ms: the event time of the first samples; None: now.
        on_progress: told a few times per second how it stands.
        stop: asked often; true ends the replay as Ctrl-C does.
        sink: where records go instead of Kafka.
        clock: another clock than the real one.

    Returns:
        What was sent. After Ctrl-C, too: then ``interrupted`` is true.

    Raises:
        DataError: the file cannot be used; nothing was sent.
        StartupError: an argument, the topic or the progress file is wrong; nothing was sent.
        RunError: the broker was not found, or lost (`ReplayError`, with the summary).
    """
    clock = clock or Clock()
    tell = on_progress or (lambda status: None)
    topic = topic_signal if file_kind(path) == "signal" else topic_casting
    place = progress_place(Path(data_dir), Path(path), str(client_config.get("bootstrap.servers", "")), topic)
    before = _resumable(place, Path(path), streams, run, start_ms, loop) if resume else None
    if before is not None:
        streams = before.streams
    source = open_source(path, streams, lambda done, total: tell(Status("check", done, total)))
    try:
        start_ms = clock.epoch_ms() if start_ms is None else start_ms
        progress = before or _fresh(Path(path), topic, run or run_name(start_ms), start_ms, source.streams, loop)
        sink = sink or KafkaSink(client_config, topic)
        progress.save(place)
        player = _Player(source, sink, progress, place, speed, clock, tell, stop or (lambda: False))
        return player.play(resumed=before is not None)
    finally:
        source.close()


def _fresh(path: Path, topic: str, run: str, start_ms: int, streams: int, loop: bool) -> Progress:
    found = path.stat()
    sent = [0] * streams
    return Progress(str(path.resolve()), found.st_size, found.st_mtime_ns, topic, run, start_ms, streams, loop, sent)


def _resumable(
    place: Path, path: Path, streams: int | None, run: str | None, start_ms: int | None, loop: bool
) -> Progress | None:
    """The progress to go on from; refused where it does not fit the file or what was asked for."""
    before = Progress.load(place)
    if before is None:
        return None
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) != (before.file_bytes, before.changed_ns):
        raise StartupError(f"{path}: has changed since the replay that --resume would go on with: start it without")
    asked = {"streams": streams, "run": run, "start_ms": start_ms, "loop": loop or None}
    for name, value in asked.items():
        if value is not None and value != getattr(before, name):
            raise StartupError(f"{name} is {value}, but the replay to resume has {getattr(before, name)}")
    return before


class _Player:
    """One replay under way."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        progress: Progress,
        place: Path,
        speed: float,
        clock: Clock,
        tell: OnProgress,
        stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._sink = sink
        self._progress = progress
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
        interrupted = False
        try:
            self._play()
            self._sink.flush()
            self._save()
        except (KeyboardInterrupt, _StoppedError):
            interrupted = True
            self._sink.close(LAST_WAIT_S)
            self._save()
        except (RunError, StartupError, OSError) as error:  # the broker, the progress file, the HDF5 file
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
        size = max(1, SLICE_RECORDS // len(block.pieces))
        for start in range(0, block.steps, size):
            steps = self._encode(block, start, min(start + size, block.steps), loop_pass)
            self._send(steps, loop_pass * self._pass_steps + block.first + start)

    def _unsent(self, block: Block, stream: int, loop_pass: int) -> int:
        """How many of the block's first steps an earlier replay got acknowledged for this stream."""
        return max(0, self._before[stream] - loop_pass * self._source.totals[stream] - block.first)

    def _encode(self, block: Block, start: int, end: int, loop_pass: int) -> list[list[Pair]]:
        """The records of steps ``start`` to ``end`` of the block, as one list for each step."""
        progress, position = self._progress, loop_pass * self._pass_steps + block.first + start
        columns: list[list[Pair | None]] = []
        for piece in block.pieces:
            skip = min(max(0, self._unsent(block, piece.stream, loop_pass) - start), end - start)
            if skip < end - start and self._playing[piece.stream] != (loop_pass, piece.row):
                self._playing[piece.stream] = (loop_pass, piece.row)
                self._sequences += 1
            sequence = sequence_name(progress.run, piece.row, loop_pass if progress.loop else None)
            times = event_times_ms(progress.start_ms, position, end - start, self._source.period_ms)
            values, key = encode_piece(piece, start, end, sequence, times), self._keys[piece.stream]
            columns.append([None] * skip + [(key, value) for value in values[skip:]])
        return [[record for record in step if record is not None] for step in zip(*columns, strict=True)]

    def _send(self, steps: list[list[Pair]], position: int) -> None:
        """Send each step when it is due; ``position`` is that of the first, counted over all passes."""
        offset, at = position - self._first, 0
        while at < len(steps):
            now_s = self._clock.now_s()
            due = int(min(len(steps), self._pacer.due(now_s) - offset))
            late_s = self._pacer.late_s(offset + at, now_s)
            if due > at:
                self._sink.send(itertools.chain.from_iterable(steps[at:due]))
                at = due
            else:
                self._clock.sleep(min(-late_s, LONGEST_SLEEP_S))
            self._service(now_s, max(0.0, late_s))

    def _service(self, now_s: float, behind_s: float) -> None:
        """What is to be done now and then: acknowledgements, the progress file, the bar, the wish to stop."""
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
