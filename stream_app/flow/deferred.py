"""Outputs for which a model is still running: windows are scored beside the flow of chunks, not in it.

A window of 500 steps takes 2 to 4 ms; a thousand casts in step with each other are due in the same second. In the flow
they would hold up every signal for seconds. Models run without the interpreter's lock, so another thread does it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from core.engines.results import ChunkResult, Deferred
from core.errors import RunError
from core.native.records import Outputs
from stream_app.flow.outputs import OutputWriter, all_acked
from stream_app.flow.task_metrics import TaskMetrics

# Windows that wait for the model before no more samples of their task are taken: a second or two of work, which a
# commit at the end of an assignment has to wait for.
ROOM_WINDOWS = 200
NICENESS = 10


class DeferredOutputs:
    """Computes deferred outputs in a thread, one chunk after the other, and publishes them in that order.

    Args:
        publish: called with (outputs by partition, arrivals by partition).
        writer: told when a model has failed: the worker must end, going on would lose an output.
        metrics: where the model's time is observed.
        count: called with each result, once its outputs are published.
    """

    def __init__(
        self,
        publish: Callable[[Mapping[int, Outputs], Mapping[int, int]], None],
        writer: OutputWriter,
        metrics: TaskMetrics,
        count: Callable[[ChunkResult], None],
    ) -> None:
        self._publish = publish
        self._writer = writer
        self._metrics = metrics
        self._count_result = count
        self._thread: ThreadPoolExecutor | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._windows = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def has_room(self) -> bool:
        """True if more may come."""
        return self._has_room.is_set()

    async def room(self) -> None:
        """Wait until more may come."""
        await self._has_room.wait()

    def add(self, deferred: Deferred, arrivals: Mapping[int, int]) -> None:
        """Take a chunk's deferred outputs; returns at once."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "scores", initializer=_give_way)
        self._count(deferred.windows)
        # One thread, and tasks that begin in the order in which they are made: outputs keep the order of the chunks.
        self._tasks.append(asyncio.create_task(self._run(self._thread, deferred, arrivals)))

    def pending(self) -> list[asyncio.Task[None]]:
        """Tasks that a commit has to wait for: each is done when its outputs are acknowledged."""
        self._tasks = [task for task in self._tasks if not task.done() or task.cancelled() or task.exception()]
        return list(self._tasks)

    def drop(self) -> None:
        """Drop all outputs still to come: the partitions have another owner."""
        for task in self._tasks:
            task.cancel()
            if task.done() and not task.cancelled():
                task.exception()  # retrieved here: what it had to publish was given up, and nobody is warned in vain
        self._tasks = []
        self._count(-self._windows)

    def _count(self, windows: int) -> None:
        self._windows += windows
        if self._windows < ROOM_WINDOWS:
            self._has_room.set()
        else:
            self._has_room.clear()

    async def _run(self, thread: ThreadPoolExecutor, deferred: Deferred, arrivals: Mapping[int, int]) -> None:
        computed = asyncio.get_running_loop().run_in_executor(thread, _timed, deferred)
        try:
            self._metrics.infer.observe(await computed)
        except Exception as error:
            failure = RunError(f"scores could not be computed: {error!r}")
            self._writer.on_failed(failure)
            raise failure from error
        self._count(-deferred.windows)
        result = ChunkResult()
        deferred.finish(result)
        self._publish(result.outputs, arrivals)
        self._count_result(result)
        await all_acked(self._writer.pending())


def _give_way() -> None:
    """Let the loop's thread, which answers single records, have a processor before this one, where the system can."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + NICENESS, 19))


def _timed(deferred: Deferred) -> float:
    started = time.perf_counter()
    deferred.compute()
    return time.perf_counter() - started
