"""Streams on the real broker: send a stream's records, read its outputs and dead letters, compare with offline."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from core.wire.records import Prediction, Score, decode_prediction, decode_score
from stream_app.settings import Settings
from tests.broker import Received, ToSend, consume_until, produce
from tests.offline import TOLERANCE, Expected, Sample, defect_fingerprint, signal_fingerprint

MSGPACK = [("content-type", b"application/msgpack")]
PARTITIONS = 4

_names = itertools.count()


@dataclass(frozen=True)
class Feed:
    """One stream of one kind, in a partition of its choice."""

    settings: Settings
    name: str
    source: str
    output: str
    partition: int

    def send(
        self,
        *samples: Any,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
        producer: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Send samples, or raw values, or whole records; returns their offsets."""
        where = self.partition if partition is None else partition
        records = [
            sample if isinstance(sample, ToSend) else ToSend(self.name, sample, headers, where, timestamp_ms)
            for sample in samples
        ]
        return [offset for _, offset in produce(self.settings, self.topic, records, producer)]

    @property
    def topic(self) -> str:
        return self.settings.topic(self.source)

    def outputs(self, count: int, partition: int | None = None) -> list[Received]:
        """The first ``count`` outputs of the stream; fails when there are more among what was read."""
        where = self.partition if partition is None else partition
        found = consume_until(
            self.settings,
            self.settings.topic(self.output),
            lambda records: sum(self._is_ours(record, where) for record in records) >= count,
        )
        ours = [record for record in found if self._is_ours(record, where)]
        assert len(ours) == count, f"{count} outputs expected: {[record.value for record in ours]}"
        return ours

    def _is_ours(self, record: Received, partition: int) -> bool:
        return record.key == self.name.encode() and record.partition == partition

    def predictions(self, count: int, partition: int | None = None) -> list[Prediction]:
        """The stream's predictions, decoded; everything but the numbers is checked."""
        received = self.outputs(count, partition)
        found = [decode_prediction(record.value, _content_type(record)) for record in received]
        assert all(prediction.stream == self.name for prediction in found)
        assert {prediction.model for prediction in found} == {signal_fingerprint()}
        return found

    def scores(self, count: int) -> list[Score]:
        """The stream's scores, decoded."""
        found = [decode_score(record.value, _content_type(record)) for record in self.outputs(count)]
        assert all(score.stream == self.name for score in found)
        assert {score.model for score in found} == {defect_fingerprint()}
        return found

    def dead_letter(self, offset: int, partition: int | None = None) -> Received:
        """The dead letter of this source offset."""
        return dead_letters(self.settings, self.topic, [(self.partition if partition is None else partition, offset)])[
            0
        ]


def signal_feed(settings: Settings, partition: int | None = None) -> Feed:
    """A signal stream of its own."""
    return _feed(settings, "signal", "signal-samples", "signal-predictions", partition)


def casting_feed(settings: Settings, partition: int | None = None) -> Feed:
    """A casting strand of its own."""
    return _feed(settings, "strand", "casting-samples", "casting-scores", partition)


def _feed(settings: Settings, word: str, source: str, output: str, partition: int | None) -> Feed:
    number = next(_names)
    return Feed(
        settings, f"{word}-{number:04d}", source, output, number % PARTITIONS if partition is None else partition
    )


def dead_letters(settings: Settings, topic: str, places: Iterable[tuple[int, int]]) -> list[Received]:
    """The dead letters of these (partition, offset) of a source topic, in that order; each must be there once."""
    wanted = list(places)
    letters: dict[tuple[int, int], list[Received]] = {}

    def complete(records: Sequence[Received]) -> bool:
        letters.clear()
        for record in records:
            if record.header("error.topic") == topic.encode():
                place = int(record.header("error.partition") or -1), int(record.header("error.offset") or -1)
                letters.setdefault(place, []).append(record)
        return letters.keys() >= set(wanted)

    consume_until(settings, settings.topic("dead-letters"), complete)
    assert dict.fromkeys(wanted, 1) == {place: len(letters[place]) for place in wanted}
    return [letters[place][0] for place in wanted]


def in_sequence(samples: Sequence[Sample], sequence: str) -> list[Sample]:
    """The samples with a sequence's name."""
    return [{**sample, "sequence": sequence} for sample in samples]


def msgpack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def bad(reason: str, value: Any, headers: list[tuple[str, bytes]] | None = None, name: str = "") -> Any:
    """A case of a parametrized test: a value with its headers, and the reason for which it is a dead letter."""
    return pytest.param(value, headers or [], reason, id=f"{reason}{'-' if name else ''}{name}")


def assert_close(expected: Sequence[float], found: Sequence[float]) -> None:
    """Every number within the tolerance of its offline twin."""
    assert len(expected) == len(found)
    off = [
        (i, want, got) for i, (want, got) in enumerate(zip(expected, found, strict=True)) if abs(want - got) > TOLERANCE
    ]
    assert not off, f"(index, offline, live): {off}"


def assert_scores(expected: Sequence[Expected], found: Sequence[Score]) -> None:
    """Every score as the offline run has it, the probability within the tolerance."""
    assert [(want.step, want.start, want.length, want.final, want.peak) for want in expected] == [
        (got.step, got.start, got.length, got.final, got.attention_peak) for got in found
    ]
    for want, got in zip(expected, found, strict=True):
        assert (want.probability is None) == (got.probability is None)
        assert got.reason == ("too_short" if want.probability is None else None)
        if want.probability is not None and got.probability is not None:
            assert abs(want.probability - got.probability) <= TOLERANCE


def _content_type(record: Received) -> list[tuple[str, bytes]]:
    return [header for header in record.headers if header[0] == "content-type"]
