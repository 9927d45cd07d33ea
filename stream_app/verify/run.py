"""The audit: one source partition after the other, so that memory holds one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from core.audit.scope import Scope
from core.callbacks import OnProgress, unheard
from core.errors import StartupError
from stream_app.clients.committed import committed_offsets
from stream_app.clients.topic_reader import TopicReader
from stream_app.routes import Partition, Route, routes
from stream_app.settings import Settings
from stream_app.topics.grown import NOTED_IN, Grown, grown_of
from stream_app.verify.audits import MakeAudit, audit_makers
from stream_app.verify.cut import CLOCKS_DIFFER_MS, VerifiedRange, take_cut
from stream_app.verify.outputs import LetterCheck, OutputCheck
from stream_app.verify.report import VerifyReport
from stream_app.verify.states import compare_states, read_states

CONNECT_TIMEOUT_S = 10.0
# A transaction that is not complete hides what stands behind it. A worker that was killed in one leaves it open until
# its successor, or the broker after a minute, aborts it.
STALLED_S = 90.0
READING = {"fetch.wait.max.ms": 10, "queued.max.messages.kbytes": 64 * 1024}


def verify(
    settings: Settings,
    *,
    streams: Collection[str] | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    on_progress: OnProgress = unheard,
) -> VerifyReport:
    """Compare everything that a system of these settings has put out with what it had to.

    Args:
        settings: those of the workers: where the broker is, names, models, and how records are judged.
        streams: only these; None: all.
        since_ms: only records appended from then on. A stream is judged from where it certainly starts again.
        until_ms: only records appended before.
        on_progress: told the offsets read so far and their total, which may grow.

    Raises:
        StartupError: no broker answers, a topic or a checkpoint is missing, or no record of one of ``streams``.
        RunError: the broker fails on the way; a source was truncated.
    """
    run = Verification(settings, streams, since_ms, until_ms, on_progress)
    with TopicReader(settings.client_config(), "verify", stalled_s=STALLED_S, on_read=run.tell, more=READING) as reader:
        return run.compare(reader, lambda: committed_offsets(settings))


@dataclass
class Verification:
    """One run of `verify`, for which the arguments are explained."""

    settings: Settings
    streams: Collection[str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    on_progress: OnProgress = unheard

    def __post_init__(self) -> None:
        self._makers = audit_makers(self.settings)
        self._chosen = None if self.streams is None else frozenset(name.encode() for name in self.streams)
        self._met: set[bytes] = set()
        self._done = self._total = 0
        self._report = VerifyReport()
        self._grown: list[Grown] = []
        """Growths of the source that is being read, from its first partition's changelog."""

    def compare(self, reader: TopicReader, ask_committed: Callable[[], Mapping[Partition, int]]) -> VerifyReport:
        """Read all topics, one source partition after the other, and compare."""
        ours, there = list(routes(self.settings).values()), reader.topics(CONNECT_TIMEOUT_S)
        _check_topics(there, ours)
        committed = ask_committed()  # before everything else
        for route in ours:
            for partition in range(there[route.source]):
                offset = committed.get((route.source, partition), -1)
                cut = take_cut(reader, there, route, partition, offset, self.since_ms, self.until_ms)
                self._total += cut.offsets
                self._check(reader, cut, self._makers[route.task])
        self._require_met()
        return self._report

    def _require_met(self) -> None:
        """A misspelt name would be found in order."""
        if unknown := sorted((self._chosen or frozenset()) - self._met):
            names = ", ".join(repr(key.decode(errors="backslashreplace")) for key in unknown)
            raise StartupError(f"no record of {names} was found in what was read of the source topics")

    def tell(self, offsets: int) -> None:
        """Report that so many offsets more were read."""
        self._done += offsets
        self.on_progress(min(self._done, self._total), self._total)

    def _check(self, reader: TopicReader, cut: VerifiedRange, make: MakeAudit) -> None:
        report, app_id = self._report, self.settings.app_id
        stored = read_states(reader, cut, self._chosen, report)
        if cut.partition == NOTED_IN:
            self._grown = grown_of(stored.notes.items())
        audit = make(self._scope(cut, {key: offset for key, offset, _ in stored.heads()}))
        for message in reader.read({(cut.route.source, cut.partition): cut.source}):
            key: bytes | None = message.key()
            audit.feed(message.offset(), message.timestamp()[1], key, message.value(), message.headers())  # type: ignore[arg-type]
            if self._chosen is not None and key in self._chosen:
                self._met.add(key)
        now_ms = time.time_ns() // 1_000_000  # after all ends: what is idle now may be evicted by then
        audit.finish(now_ms)
        outputs, letters = (check(audit, cut, app_id, report) for check in (OutputCheck, LetterCheck))
        for topic, bounds, check in (
            (cut.route.output, cut.outputs, outputs),
            (cut.route.dead_letters, cut.letters, letters),
        ):
            for message in reader.read({(topic, cut.partition): bounds}):
                check.take(message)
            check.finish()
        compare_states(audit, stored, cut, now_ms, report)
        report.records += audit.records
        report.pending += audit.pending
        report.not_judged += audit.not_judged

    def _scope(self, cut: VerifiedRange, states: dict[bytes, int]) -> Scope:
        return Scope(
            start=cut.source[0],
            committed=cut.committed,
            states=states,
            chosen=self._chosen,
            cut_off=cut.cut_off,
            outputs_from_ms=cut.outputs_from_ms,
            letters_from_ms=cut.letters_from_ms,
            ordered=cut.ordered,
            came=partial(_came, self._grown, cut.partition),
            came_at=sorted(one.ends[cut.partition] for one in self._grown if cut.partition in one.ends),
            left=partial(_left, self._grown, cut.partition),
        )


def _came(grown: Sequence[Grown], partition: int, key: bytes, offset: int) -> float | None:
    times = [one.at_ms + CLOCKS_DIFFER_MS for one in grown if one.came(key, partition, offset)]
    return max(times, default=None)


def _left(grown: Sequence[Grown], partition: int, key: bytes) -> bool:
    return any(one.left(key, partition) for one in grown)


def _check_topics(there: Mapping[str, int], ours: list[Route]) -> None:
    names = {name for route in ours for name in (route.source, route.output, route.changelog, route.dead_letters)}
    missing = sorted(names - there.keys())
    if missing:
        raise StartupError(
            f"no topic {', '.join(missing)}: --topic-prefix and --app-id must be those of the system to be verified; "
            "a new system begins with `caststream topics create`"
        )
