"""The compiled way of a plain record and the way of every record, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from core.engines.base import Engine
from core.engines.results import ChunkResult
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.native.records import Records
from tests.changes import plain as lists
from tests.changes import take_changed
from tests.strategies import FakeRecord


class OneByOne(SignalStepper):
    """Takes no record the compiled way."""

    def _take_part(self, part: Records) -> None:
        Engine._take_part(self, part)


class CastsOneByOne(CastScorer):
    """Takes no record the compiled way."""

    def _take_part(self, part: Records) -> None:
        Engine._take_part(self, part)


def assert_same_results(expected: ChunkResult, found: ChunkResult) -> None:
    assert lists(expected) == lists(found)
    assert expected.dead_letters == found.dead_letters
    assert asdict(expected.counts) == asdict(found.counts)
    assert (expected.ends, expected.moved) == (found.ends, found.moved)


def assert_same_engines(reference: Engine[Any], engine: Engine[Any], chunks: Iterable[list[FakeRecord]]) -> None:
    """Both ways, chunk by chunk: outputs to the last bit, letters, counts, and the states for the table."""
    for number, chunk in enumerate(chunks):
        assert_same_results(reference.run(chunk), engine.run(chunk))
        if number % 2:
            assert take_changed(reference, [0, 1]) == take_changed(engine, [0, 1])
    assert take_changed(reference, [0, 1]) == take_changed(engine, [0, 1])
    assert reference.active() == engine.active()
