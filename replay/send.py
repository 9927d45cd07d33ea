"""A live feed from a pipe into a topic: each line becomes a record as soon as it has arrived.

`send` is what ``caststream send signal`` and ``caststream send casting`` do.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import RecordError, RunError, StartupError
from replay.clock import Clock
from replay.lines import MAX_LINE_BYTES, LineParser, LineSplitter
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
    kind: str,
    *,
    client_config: Mapping[str, Any],
    topic: str,
    stream: str | None = None,
    rate: float | None = None,
    on_bad: OnBad | None = None,
    chunks: Iterable[bytes | None] | None = None,
    sink: Sink | None = None,
    clock: Clock | None = None,
) -> SendSummary:
    """Send the lines of standard input until it ends.

    Args:
        kind: "signal" or "casting".
        client_config: librdkafka's configuration of where the broker is.
        topic: the topic's name on the broker.
        stream: the stream of the lines that do not name one.
        rate: at most so many records per second; None: as they come.
        on_bad: told the number (from 1) of each line that cannot be used, and why; the feed goes on.
        chunks: bytes to read instead of standard input, None where nothing has arrived for a while.
        sink: where records go instead of Kafka.
        clock: another clock than the real one.

    Returns:
        What was sent; the command fails when ``bad`` is not 0. After Ctrl-C, too: then ``interrupted`` is true.

    Raises:
        StartupError: the first line, the rate, the stream or the topic is wrong.
        RunError: the broker was not found, or lost.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise StartupError(f"rate is {rate}: must be a number of records per second, above 0")
    if stream is not None and not 1 <= len(stream.encode()) <= 255:
        raise StartupError(f"stream is {stream!r}: must be 1 to 255 bytes")
    feed = _Feed(LineParser(kind, stream), sink or KafkaSink(client_config, topic), rate, on_bad, clock or Clock())
    return feed.run(stdin_chunks() if chunks is None else chunks)


def stdin_chunks(descriptor: int = 0) -> Iterator[bytes | None]:
    """What arrives on a file descriptor, as it arrives; None when nothing has for a while. Ends with the input."""
    while True:
        if not select.select([descriptor], [], [], QUIET_S)[0]:
            yield None
        elif chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk
        else:
            return


class _Feed:
    def __init__(self, parser: LineParser, sink: Sink, rate: float | None, on_bad: OnBad | None, clock: Clock) -> None:
        self._parser = parser
        self._sink = sink
        self._step_s = 1.0 / rate if rate else 0.0
        self._on_bad = on_bad
        self._clock = clock
        self._due_s = clock.now_s()
        self._lines = self._bad = 0

    def run(self, chunks: Iterable[bytes | None]) -> SendSummary:
        interrupted, splitter = False, LineSplitter()
        try:
            for chunk in chunks:
                self._take(splitter.feed(chunk) if chunk else ())
                self._sink.poll()
            self._take(splitter.end())
            self._sink.flush()
        except KeyboardInterrupt:
            interrupted = True
            self._sink.close(LAST_WAIT_S)
        except RunError as error:
            self._sink.close(0.0)
            raise RunError(f"{error}; {sum(self._sink.acked.values()):,} records were acknowledged") from error
        except StartupError:
            self._sink.close(LAST_WAIT_S)
            raise
        return SendSummary(sum(self._sink.acked.values()), self._bad, self._lines, interrupted)

    def _take(self, lines: Iterable[bytes | None]) -> None:
        for line in lines:
            self._lines += 1
            try:
                if line is None:
                    raise RecordError("not_decodable", f"is longer than {MAX_LINE_BYTES:,} bytes")
                record = self._parser.parse(line)
            except RecordError as error:
                self._bad += 1
                if self._on_bad is not None:
                    self._on_bad(self._lines, str(error))
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
