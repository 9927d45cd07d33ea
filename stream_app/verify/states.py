"""Compare the states that a recovery would keep of a changelog with the states of the offline run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial

from core.audit.partition import PartitionAudit
from core.audit.stored import state_problems
from core.engines.table_keys import segment_key, state_at, stream_of
from core.tasks.declaration import Kind
from stream_app.clients.topic_reader import TopicReader
from stream_app.headers import SOURCE_OFFSET, headers_of, number
from stream_app.topics.grown import is_note
from stream_app.verify.cut import VerifiedRange
from stream_app.verify.report import VerifyReport, at


@dataclass
class Stored:
    """The states of one partition: by table key, the record with the highest source offset, of equal ones the later."""

    kind: Kind
    rows: dict[bytes, tuple[int, bytes | None]] = field(default_factory=dict)
    notes: dict[bytes, bytes | None] = field(default_factory=dict)
    """Records that are no states (`stream_app.topics.grown`)."""

    def heads(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Stream key, source offset and value of each state that is there."""
        for table_key, (offset, value) in self.rows.items():
            key = state_at(self.kind, table_key)
            if value is not None and key is not None:
                yield key, offset, value

    def segment(self, key: bytes, segment: int) -> bytes | None:
        """The stored value of a segment of a stream's window."""
        return self.rows.get(segment_key(key, segment), (0, None))[1]


def read_states(
    reader: TopicReader, cut: VerifiedRange, chosen: Collection[bytes] | None, report: VerifyReport
) -> Stored:
    """Read a changelog partition."""
    stored = Stored(cut.route.kind)
    for message in reader.read({(cut.route.changelog, cut.partition): cut.changelog}):
        offset, key = number(dict(headers_of(message)).get(SOURCE_OFFSET)), message.key()
        if offset is None or not isinstance(key, bytes):
            report.add("states_differing", f"{at(message)}: not a state record, no header source-offset")
        elif is_note(key):
            value = message.value()
            stored.notes[key] = None if value is None else bytes(value)
        elif (chosen is None or stream_of(stored.kind, key) in chosen) and (
            key not in stored.rows or offset >= stored.rows[key][0]
        ):
            value = message.value()
            stored.rows[key] = offset, None if value is None else bytes(value)
    return stored


def compare_states(
    audit: PartitionAudit, stored: Stored, cut: VerifiedRange, now_ms: int, report: VerifyReport
) -> None:
    """Compare a partition's states with those of the audit, which is finished."""
    place = f"{cut.route.changelog}[{cut.partition}]"
    for key, offset, value in stored.heads():
        problems = state_problems(audit, key, offset, value, partial(stored.segment, key))
        if problems is None:
            continue
        report.states += 1
        if problems:
            words = f"{place}: stream {_text(key)}, source offset {offset}: {'; '.join(problems)}"
            report.add("states_differing", words)
    for stream in audit.missing_states(now_ms):
        last = stream.committed_memory[0] if stream.committed_memory else -1
        words = f"{place}: stream {_text(stream.key)} has none, its last step is source offset {last}"
        report.add("states_missing", words)
    report.max_abs_diff = max(report.max_abs_diff, audit.max_abs_diff)


def _text(key: bytes) -> str:
    return repr(key.decode("utf-8", "backslashreplace"))
