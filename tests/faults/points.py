"""Failure points: the worker's own methods, wrapped so that the process can end or stop right there."""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults import orders

POLL_S = 0.01
BEFORE, AFTER, IN_STEPS = "before", "after", "in steps"

WRAPPED = (
    ("stream_app.flow.pipeline", "Pipeline.run", AFTER, "chunk applied"),
    ("stream_app.flow.commits", "Committer._to_commit", AFTER, "cut taken"),
    ("stream_app.flow.guarantees", "AtLeastOnce.confirm", BEFORE, "outputs acked"),
    ("stream_app.flow.guarantees", "ExactlyOnce.confirm", BEFORE, "outputs acked"),
    ("stream_app.flow.outputs", "OutputWriter.publish_states", AFTER, "states queued"),
    ("stream_app.flow.commits", "Committer._write_states", AFTER, "states of a partition acked"),
    ("stream_app.flow.commits", "Committer.commit_offsets", BEFORE, "before offsets"),
    ("stream_app.flow.commits", "Committer.commit_offsets", AFTER, "offsets committed"),
    ("stream_app.worker.app", "CaststreamApp.before_restore", BEFORE, "before restore"),
    ("stream_app.worker.recovery", "Winners.add", AFTER, "in restore"),
    ("stream_app.worker.app", "CaststreamApp.on_restored", BEFORE, "restored"),
    ("stream_app.worker.app", "find_published", AFTER, "outputs looked for"),
    ("stream_app.worker.app", "CaststreamApp.on_restored", AFTER, "started"),
    ("stream_app.worker.app", "CaststreamApp._hand_over", BEFORE, "handing over"),
    ("stream_app.worker.app", "CaststreamApp._hand_over", AFTER, "handed over"),
    ("stream_app.flow.pipeline", "Pipeline.evict", IN_STEPS, "evicting"),
)
"""Module, function or method, when, point."""

Reach = Callable[[str], None]


class Obedience:
    """Keeps the orders, and carries them out when their point is reached often enough.

    Args:
        directory: where they are found.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.orders = orders.read(directory)
        if any(each.number == self.orders.number for each in orders.fired(directory)):
            self._done()  # by the process before this one
        self._left = self.orders.count
        threading.Thread(target=self._look, name="orders", daemon=True).start()

    def reach(self, point: str) -> None:
        """The process has come to this point."""
        if point != self.orders.point:
            return
        if self._left:
            self._left -= 1
            return
        given = self.orders
        self._done()
        orders.carry_out(self._directory, given)

    def _done(self) -> None:
        self.orders = replace(self.orders, point="")

    def _look(self) -> None:
        while True:
            time.sleep(POLL_S)
            given = orders.read(self._directory)
            if given.number != self.orders.number:
                self._left = given.count
                self.orders = given


def install(reach: Reach) -> None:
    """Wrap them all. Raises AttributeError where one is not there any more."""
    for module, path, when, point in WRAPPED:
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        setattr(owner, name, _wrapped(getattr(owner, name), when, functools.partial(reach, point)))


def _wrapped(original: Any, when: str, reached: Callable[[], None]) -> Any:
    if when == IN_STEPS:
        return _generator(original, reached)
    before, after = (reached if when == moment else _nothing for moment in (BEFORE, AFTER))

    @functools.wraps(original)
    def plain(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    @functools.wraps(original)
    async def waiting(*args: Any, **kwargs: Any) -> Any:
        before()
        result = await original(*args, **kwargs)
        after()
        return result

    return waiting if inspect.iscoroutinefunction(original) else plain


def _generator(original: Any, reached: Callable[[], None]) -> Any:
    """Of an eviction: reached after each step that has let streams go."""

    @functools.wraps(original)
    def wrapped(pipeline: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        waiting = _tombstones(pipeline)
        for step in original(pipeline, *args, **kwargs):
            if _tombstones(pipeline) > waiting:
                reached()
            yield step

    return wrapped


def _tombstones(pipeline: Any) -> int:
    return sum(map(len, pipeline._extra.values()))


def _nothing() -> None:
    """Nowhere."""
