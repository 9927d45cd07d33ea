"""Read the inputs and outputs of the demo with a plain Kafka client."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from core.arrays import Float32s, Int64s
from core.wire.records import Score, decode_prediction, decode_score
from stream_app.demo.topic_watcher import TopicWatcher, append_times, source_offset
from stream_app.routes import CASTING_SCORES, DEAD_LETTERS, SIGNAL_PREDICTIONS, SIGNAL_SAMPLES
from stream_app.settings import Settings

NOT_SEEN = -1


ScoreKey = tuple[str, int, bool]


@dataclass
class SignalGrid:
    """The predictions for every sample that was sent: rows of the file by steps."""

    rows: dict[str, int]
    """Sequence -> row."""
    predictions: Float32s
    published_ms: Int64s
    """Append time of the prediction, `NOT_SEEN` where none has come."""
    source_offset: Int64s
    source_partition: NDArray[np.int16]
    seen: int = 0
    repeated: int = 0
    unexpected: int = 0

    @classmethod
    def empty(cls, sequences: list[str], steps: int) -> SignalGrid:
        """A grid for these sequences, of ``steps`` steps each."""
        shape = (len(sequences), steps)
        return cls(
            {sequence: row for row, sequence in enumerate(sequences)},
            np.full(shape, np.nan, np.float32),
            np.full(shape, NOT_SEEN, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(len(sequences), np.int16),
        )


@dataclass
class Watched:
    """Everything that was read so far."""

    grid: SignalGrid
    appended_ms: dict[int, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("q")))
    """Partition of signal-samples -> append time by offset."""
    sent_signals: int = 0
    scores: dict[ScoreKey, float | None] = field(default_factory=dict)
    latest_score: dict[str, Score] = field(default_factory=dict)
    scores_repeated: int = 0
    dead_letters: int = 0

    def latencies_ms(self, skip_ms: int = 1000) -> Int64s:
        """Return the time from each sample's append to its prediction's, without samples of the first ``skip_ms``."""
        appended_ms, first = append_times(self.appended_ms)
        parts = []
        for row in range(len(self.grid.published_ms)):
            times = appended_ms.get(int(self.grid.source_partition[row]), np.empty(0, np.int64))
            seen = (self.grid.published_ms[row] != NOT_SEEN) & (self.grid.source_offset[row] < len(times))
            appended = times[self.grid.source_offset[row][seen]]
            parts.append((self.grid.published_ms[row][seen] - appended)[appended >= first + skip_ms])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


class Watcher(TopicWatcher):
    """Reads the topics of both tasks that ship."""

    def __init__(self, settings: Settings, grid: SignalGrid) -> None:
        self.watched = Watched(grid)
        super().__init__(
            settings,
            {
                settings.topic(SIGNAL_SAMPLES): self._on_sample,
                settings.topic(SIGNAL_PREDICTIONS): self._on_prediction,
                settings.topic(CASTING_SCORES): self._on_score,
                settings.topic(DEAD_LETTERS): self._on_dead_letter,
            },
        )

    def _on_sample(self, message: Message) -> None:
        self.watched.appended_ms[message.partition() or 0].append(message.timestamp()[1])
        self.watched.sent_signals += 1

    def _on_prediction(self, message: Message) -> None:
        found = decode_prediction(message.value())
        grid = self.watched.grid
        row = grid.rows.get(found.sequence)
        if row is None or not 0 <= found.step < grid.predictions.shape[1]:
            grid.unexpected += 1
        elif grid.published_ms[row, found.step] != NOT_SEEN:
            grid.repeated += 1
        else:
            grid.predictions[row, found.step] = found.prediction
            grid.published_ms[row, found.step] = message.timestamp()[1]
            grid.source_offset[row, found.step] = source_offset(message)
            grid.source_partition[row] = message.partition() or 0
            grid.seen += 1

    def _on_score(self, message: Message) -> None:
        found = decode_score(message.value())
        key = (found.sequence, found.step, found.final)
        if key in self.watched.scores:
            self.watched.scores_repeated += 1
        self.watched.scores[key] = found.probability
        self.watched.latest_score[found.stream] = found

    def _on_dead_letter(self, message: Message) -> None:
        self.watched.dead_letters += 1
