"""Run a scenario through the engines of now, behind the real pipeline, writer and committer and a broker in memory.

The one place that knows how an engine is made: where engines change, change `_engine` and nothing else.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch

from core.engines.base import Engine
from core.engines.results import Counts, StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.engines.table_keys import stream_of
from core.tasks.declaration import Kind
from stream_app.flow.tables import PartitionedStore
from tests.fakes import CHANGELOG, DEAD, OUTPUT, FakeBroker, FakeWorker, settle
from tests.golden.scenarios import Found, Row, Scenario, SourceRecord, Stage, Written
from tests.offline import defect_model, signal_model
from tests.strategies import FakeRecord

PARTITIONS = (0, 1)
CHUNK = 7


async def play(scenario: Scenario, chunk: int = CHUNK) -> list[Found]:
    """What comes of each stage, in one life of the worker; ``chunk``: the most records handled in one turn."""
    life = _Life(scenario, dict.fromkeys(PARTITIONS, scenario.start), scenario.table)
    return [await life.stage(stage, chunk) for stage in scenario.stages]


async def play_restored(scenario: Scenario, chunk: int = CHUNK) -> list[Found]:
    """The same, where each stage begins with a new worker that reads the recorded states of the stages before."""
    found, rows, positions = [], scenario.table, dict.fromkeys(PARTITIONS, scenario.start)
    for stage in scenario.stages:
        found.append(await _Life(scenario, positions, rows).stage(stage, chunk))
        assert stage.found is not None
        rows = table_after(rows, stage.found.states)
        positions |= {record.partition: record.offset + 1 for record in stage.records}
    return found


class _Life:
    """A worker from its start on."""

    def __init__(self, scenario: Scenario, positions: dict[int, int], rows: list[Row]) -> None:
        self._scenario, self._counts = scenario, Counter[str]()
        self._seen: dict[tuple[str, int], int] = {}  # of each log, what was there before the stage
        self._broker = FakeBroker()
        packed = scenario.output_format == "msgpack"
        headers = [("content-type", b"application/msgpack")] if packed else []
        self._worker = FakeWorker(self._broker, partitions=PARTITIONS, output_headers=headers)
        self._worker.pipeline.engine = self._counted(_engine(scenario, self._worker.states))
        stored: dict[int, dict[bytes, tuple[int, bytes]]] = {partition: {} for partition in PARTITIONS}
        for row in rows:
            stored[row.partition][row.key] = (row.source_offset, row.value)
        self._worker.start(dict(positions), stored)

    def _counted(self, engine: Engine[Any]) -> Engine[Any]:
        run = engine.run

        def counted(records: Any) -> Any:
            result = run(records)
            self._counts.update(_named(result.counts))
            return result

        engine.run = counted  # type: ignore[method-assign]
        return engine

    async def stage(self, stage: Stage, chunk: int) -> Found:
        self._counts.clear()
        self._seen = {at: len(log) for at, log in self._broker.logs.items()}
        for records in _chunks(stage.records, chunk):
            self._worker.run(*records)
            await settle()
        assert await self._worker.committer.commit()
        if stage.evict is not None:
            self._worker.evict(before=stage.evict)
            await settle()
            assert await self._worker.committer.commit()
        assert not self._worker.failures
        return Found(self._written(OUTPUT), self._written(DEAD), self._states(), dict(sorted(self._counts.items())))

    def _written(self, topic: str) -> list[Written]:
        return [
            Written(partition, one.key, one.value, list(one.headers))
            for partition in PARTITIONS
            for one in self._broker.written(topic, partition)[self._seen.get((topic, partition), 0) :]
        ]

    def _states(self) -> list[Written]:
        """Stream by stream, each in the order of writing: the order of streams in a commit is nobody's promise."""
        kind: Kind = "step" if self._scenario.task == "signal" else "window"
        return sorted(self._written(CHANGELOG), key=lambda one: (one.partition, stream_of(kind, one.key or b"") or b""))


def _engine(scenario: Scenario, states: PartitionedStore) -> Engine[Any]:
    rules = StreamRules(**scenario.rules)
    if scenario.task == "signal":
        model = _overflowing("signal") if scenario.overflows else signal_model()
        return SignalStepper(model, rules, states, scenario.output_format)
    windows = WindowRules(**scenario.windows)
    model = _overflowing("casting") if scenario.overflows else defect_model()
    return CastScorer(model, rules, windows, states, scenario.output_format)


@lru_cache
def _overflowing(task: str) -> Any:
    model = copy.deepcopy(signal_model() if task == "signal" else defect_model())
    layers = [model.fc] if task == "signal" else [part for part in model.classifier if hasattr(part, "weight")]
    with torch.no_grad():
        for layer in layers:
            layer.weight.fill_(3e38)
            layer.bias.fill_(3e38)
    if task == "casting":
        model.calibration = {"a": 0.0, "b": 0.0}  # 0 times an infinite logit is no number
    return model


def _named(counts: Counts) -> dict[str, int]:
    """Counts of events by name; those that are 0 are left out."""
    found = {"processed": counts.processed, "late": counts.late, "gaps": counts.gaps, "moved": counts.moved}
    found |= {"repeating": counts.repeating, "not finite": counts.not_finite}
    found |= {f"duplicate by {reason}": count for reason, count in counts.duplicates.items()}
    found |= {f"reset by {reason}": count for reason, count in counts.resets.items()}
    found |= {f"near {name.decode(errors='replace')}": count for name, count in counts.near_misses.items()}
    found |= {f"far outside in {name}": count for name, count in counts.far_outside.items()}
    found |= {f"scores, final {final}": count for final, count in counts.scores.items()}
    return {name: count for name, count in found.items() if count}


def _chunks(records: list[SourceRecord], most: int) -> Iterator[list[FakeRecord]]:
    for first in range(0, len(records), most):
        yield [
            FakeRecord(one.partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers))
            for one in records[first : first + most]
        ]


def table_after(rows: list[Row], written: list[Written]) -> list[Row]:
    table = {(row.partition, row.key): row for row in rows}
    for one in written:
        assert one.key is not None
        table.pop((one.partition, one.key), None)
        if one.value is not None:
            offset = int(dict(one.headers)["source-offset"])
            table[one.partition, one.key] = Row(one.partition, one.key, one.value, offset)
    return list(table.values())
