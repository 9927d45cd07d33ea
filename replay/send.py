"""A live feed from a pipe into a topic: each line becomes a record as soon as it has arrived.

`send` is what ``caststream send`` does.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.callbacks import OnNote, unheard
from core.data.csv.lines import LineSplitter
from core.data.csv.names import Renamed
from core.data.csv.numbers import Decimal
from core.errors import RecordError, RunError, StartupError
from core.tasks.declaration import Declaration
from replay.clock import Clock
from replay.lines import LineParser
from replay.player import LAST_WAIT_S
from replay.sink import KafkaSink, Sink

CHUNK_BYTES = 1 << 16
# Between looks at the broker's answers while no line arrives.
QUIET_S = 0.2
# How far the rate may catch up after a pause, in seconds of records: enough to even out the clock's coarse sleep.
CATCH_UP_S = 0.1

OnBad = Callable[[int, str], None]


@dataclass(frozen=True)
class SendSummary:
    """``sent`` records were acknowledged; ``bad`` lines were not usable."""

    sent: int
    bad: int
    lines: int
    interrupted: bool = False


def send(
    task: Declaration,
    *,
    client_config: Mapping[str, Any],
    topic: str,
    stream: str | None = None,
    rate: float | None = None,
    renamed: Renamed | None = None,
    decimal: Decimal | None = None,
    on_bad: OnBad = unheard,
    on_notice: OnNote = unheard,
    chunks: Iterable[bytes | None] | None = None,
    sink: Sink | None = None,
    clock: Clock | None = None,
) -> SendSummary:
    """Send the lines of standard input until it ends.

    Args:
        task: of the samples.
        client_config: librdkafka's configuration of where the broker is.
        topic: the topic's name on the broker.
        stream: the stream of the lines that do not name one.
        rate: at most so many records per second; None: as they come.
        renamed: the names of fields in this feed, where they have others.
        decimal: the decimal sign of a CSV, where its numbers could be read in two ways.
        on_bad: told the number (from 1) of each line that cannot be used, and why; the feed goes on.
        on_notice: told, once each, what is not used, skipped or doubtful.
        chunks: bytes to read instead of standard input, None where nothing has arrived for a while.
        sink: where records go instead of Kafka.
        clock: another clock than the real one.

    Returns:
        What was sent; the command fails when ``bad`` is not 0. After Ctrl-C, too: then ``interrupted`` is true.

    Raises:
        StartupError: the header, the rate, the stream or the topic is wrong.
        RunError: the broker was not found, or lost; or the input cannot be read further. What came before it was sent.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise StartupError(f"rate is {rate}: must be a number of records per second, above 0")
    if stream is not None and not 1 <= len(stream.encode()) <= 255:
        raise StartupError(f"stream is {stream!r}: must be 1 to 255 bytes")
    feed = _Feed(sink or KafkaSink(client_config, topic, on_wait=on_notice), rate, on_bad, clock or Clock())
    parser = LineParser(task, stream, renamed=renamed, decimal=decimal, on_notice=on_notice, on_bad=feed.tell_bad)
    return feed.run(parser, stdin_chunks() if chunks is None else chunks)


def stdin_chunks(descriptor: int = 0) -> Iterator[bytes | None]:
    """Yield bytes of a file descriptor as they arrive; None if none came for a while. Ends with the input."""
    while True:
        if not select.select([descriptor], [], [], QUIET_S)[0]:
            yield None
        elif chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk
        else:
            return


class _Feed:
    def __init__(self, sink: Sink, rate: float | None, on_bad: OnBad, clock: Clock) -> None:
        self._sink = sink
        self._step_s = 1.0 / rate if rate else 0.0
        self._on_bad = on_bad
        self._clock = clock
        self._due_s = clock.now_s()
        self._lines = self._bad = 0

    def run(self, parser: LineParser, chunks: Iterable[bytes | None]) -> SendSummary:
        interrupted = False
        try:
            self._read(parser, chunks)
            self._sink.flush()
        except KeyboardInterrupt:
            interrupted = True
            self._sink.close(LAST_WAIT_S)
        except RunError as error:
            self._sink.close(0.0)
            raise RunError(f"{error}; {self._sent:,} records were acknowledged") from error
        except OSError as error:
            self._sink.close(LAST_WAIT_S)
            why = error.strerror or type(error).__name__
            raise RunError(
                f"the input cannot be read after line {self._lines:,}: {why}; {self._sent:,} records were sent"
            ) from error
        except BaseException:
            self._sink.close(LAST_WAIT_S)
            raise
        return SendSummary(self._sent, self._bad, self._lines, interrupted)

    def tell_bad(self, number: int, why: str) -> None:
        """Count and name a line that cannot be used."""
        self._bad += 1
        self._on_bad(number, why)

    @property
    def _sent(self) -> int:
        return sum(self._sink.acked.values())

    def _read(self, parser: LineParser, chunks: Iterable[bytes | None]) -> None:
        splitter = LineSplitter()
        for chunk in chunks:
            self._take(parser, splitter.feed(chunk) if chunk else ())
            self._sink.poll()
        self._take(parser, splitter.end())
        parser.end()

    def _take(self, parser: LineParser, lines: Iterable[bytes | None]) -> None:
        for line in lines:
            self._lines += 1
            try:
                record = parser.parse(line)
            except RecordError as error:
                self.tell_bad(self._lines, str(error))
                continue
            if record is not None:
                self._wait()
                self._sink.send((record,))

    def _wait(self) -> None:
        """Hold the next record back until the rate allows it."""
        if not self._step_s:
            return
        while (left_s := self._due_s - self._clock.now_s()) > 0:
            self._clock.sleep(min(left_s, QUIET_S))
            self._sink.poll()
        self._due_s = max(self._due_s, self._clock.now_s() - CATCH_UP_S) + self._step_s
