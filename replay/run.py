"""The replay: an HDF5 file into a topic, from its beginning or from where an earlier replay ended."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.callbacks import OnNote, unheard
from core.data.layout import file_kind, has_older_layout
from core.data.naming import SequenceNames
from core.data.outputs import keep_inputs
from core.data.runs import run_name
from core.errors import StartupError
from core.tasks.declaration import Declaration
from core.tasks.reading import SHIPPED, shipped
from replay.blocks import Source
from replay.clock import Clock
from replay.hdf5 import BLOCK_SAMPLES, PACED_BLOCK_SAMPLES, check_streams, open_source
from replay.player import OnStatus, Player, ReplayError, ReplaySummary, Status, prompt
from replay.progress import ReplayProgress, progress_place
from replay.sink import FULL_SPEED, PACED, KafkaSink, Sink
from replay.task_source import TaskSource

__all__ = ["OnStatus", "ReplayError", "ReplaySummary", "Status", "replay"]


def replay(
    path: str | Path,
    *,
    client_config: Mapping[str, Any],
    topic_signal: str,
    topic_casting: str,
    data_dir: Path,
    task: Declaration | None = None,
    topic: str | None = None,
    streams: int | None = None,
    speed: float = 1.0,
    loop: bool = False,
    resume: bool = False,
    run: str | None = None,
    start_ms: int | None = None,
    on_progress: OnStatus = unheard,
    on_note: OnNote = unheard,
    stop: Callable[[], bool] | None = None,
    sink: Sink | None = None,
    clock: Clock | None = None,
) -> ReplaySummary:
    """Send the samples of an HDF5 file into the source topic of their task.

    Args:
        path: the file.
        client_config: librdkafka's configuration of where the broker is.
        topic_signal: the topic for signals, as the broker names it.
        topic_casting: the topic for castings.
        data_dir: where the progress is kept.
        task: of the samples; None: signal or casting, as the file's datasets tell.
        topic: the source topic of ``task``; needed for one that does not ship.
        streams: how many streams play side by side; None: those that the file names, else 8 of castings and 20 of
            others, at most one for each sequence.
        speed: a factor on the recorded pace; infinity for as fast as the broker takes it. See `parse_speed`.
        loop: start again at the end of the file, until it is interrupted; each pass has its own sequences.
        resume: go on where the last replay of this file into this topic was acknowledged; with none, start.
        run: the first part of the sequences' names; None: the names in the file as they are, if it has any and was
            not replayed into this topic before; else the start time.
        start_ms: the event time of the first samples; None: now.
        on_progress: told a few times per second how it stands.
        on_note: told in lines what of the file is assumed, or not applied.
        stop: asked often; true ends the replay as Ctrl-C does.
        sink: where records go instead of Kafka.
        clock: another clock than the real one.

    Returns:
        What was sent. After Ctrl-C, too: then ``interrupted`` is true.

    Raises:
        DataError: the file cannot be used: nothing was sent; or it changed while it was read.
        StartupError: an argument, the topic or the progress file is wrong; nothing was sent.
        RunError: the broker was not found, or lost (`ReplayError`, with the summary).
    """
    clock = clock or Clock()
    task = shipped(file_kind(path)) if task is None else task
    topic = topic or {"signal": topic_signal, "casting": topic_casting}[task.name]
    place = progress_place(Path(data_dir), Path(path), str(client_config.get("bootstrap.servers", "")), topic)
    before = _resumable(place, Path(path), streams, run, start_ms, loop) if resume else None
    if before is not None:
        streams = before.streams
    paced = not math.isinf(speed)
    block_samples = PACED_BLOCK_SAMPLES if paced else BLOCK_SAMPLES
    source = _open(Path(path), task, streams, block_samples, on_progress)
    try:
        keep_inputs([place], source.files)
        start_ms = clock.epoch_ms() if start_ms is None else start_ms
        progress = before or _fresh(source, topic, run, start_ms, loop, again=_sent_before(place))
        names = _names(progress, source)
        source.tell(on_note)
        for note in _repeated(progress, run):
            on_note(note)
        sink = sink or KafkaSink(client_config, topic, tuning=PACED if paced else FULL_SPEED, on_wait=on_note)
        progress.save(place)
        player = Player(source, sink, progress, names, place, speed, clock, on_progress, stop or (lambda: False))
        with prompt() if paced else contextlib.nullcontext():
            return player.play(resumed=before is not None)
    finally:
        source.close()


def _open(path: Path, task: Declaration, streams: int | None, block_samples: int, on_progress: OnStatus) -> Source:
    """Open a file of a task, in the one layout or in the older one of the two tasks that ship."""

    def on_check(done: int, total: int) -> None:
        on_progress(Status("check", done, total))

    check_streams(streams)
    if task.name in SHIPPED and has_older_layout(path, task.name):
        return open_source(path, streams, on_check, block_samples)
    return TaskSource(path, task, streams, block_samples, on_check)


def _fresh(source: Source, topic: str, run: str | None, start_ms: int, loop: bool, again: bool) -> ReplayProgress:
    """The progress of a replay that has sent nothing; ``again``: this file was replayed into this topic before."""
    path = source.path
    found, sent = path.stat(), [0] * source.streams
    name = run or run_name(start_ms)
    return ReplayProgress(
        str(path.resolve()),
        found.st_size,
        found.st_mtime_ns,
        topic,
        name,
        start_ms,
        source.streams,
        loop,
        sent,
        named=source.names is not None,
        # A name that has ended must not come back: its records would be late.
        prefix=name if run is not None or again else "",
    )


def _sent_before(place: Path) -> bool:
    """True if an earlier replay, known by its progress file, has sent anything."""
    try:
        before = ReplayProgress.load(place)
    except StartupError:
        return True
    return before is not None and any(before.sent)


def _names(progress: ReplayProgress, source: Source) -> SequenceNames:
    own = source.names if progress.named else None
    return SequenceNames(progress.prefix if progress.named else progress.run, own)


def _repeated(progress: ReplayProgress, run: str | None) -> list[str]:
    if run is not None or not (progress.named and progress.prefix) or any(progress.sent):
        return []
    return [f"this file was replayed before: its names come after {progress.prefix}-, so that none comes back"]


def _resumable(
    place: Path, path: Path, streams: int | None, run: str | None, start_ms: int | None, loop: bool
) -> ReplayProgress | None:
    """Return the progress to continue from; raise if it does not fit the file or the options."""
    before = ReplayProgress.load(place)
    if before is None:
        return None
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) != (before.file_bytes, before.changed_ns):
        raise StartupError(f"{path}: has changed since the replay that --resume would continue: leave --resume out")
    asked = {"streams": streams, "run": run, "start_ms": start_ms, "loop": loop or None}
    for name, value in asked.items():
        if value is not None and value != getattr(before, name):
            raise StartupError(f"{name} is {value}, but the replay to resume has {getattr(before, name)}")
    return before
