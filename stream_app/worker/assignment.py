"""Check partitions before a worker takes them up, and report their faults.

Each check stops the worker and names the remedy, because going on would give wrong predictions that look right.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from core.errors import LostRecordsError, StartupError
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.published import LogEnds, Wanted

log = logging.getLogger(__name__)

RESET = "`caststream topics reset-state` deletes states and offsets, and every source is read from its beginning"


@dataclass(frozen=True)
class BrokerView:
    """The broker's answers about the assigned source partitions."""

    committed: Mapping[TopicPartition, OffsetAndMetadata]
    """Offsets that the group has committed; -1 if there is none."""
    beginnings: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    topic_ids: Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """The offset where a partition begins, and how many records retention deleted before they were read."""

    position: int
    lost: int = 0
    note: str = ""
    """A note for the operator."""


def starts_of(pipelines: Sequence[Pipeline], found: BrokerView) -> dict[TopicPartition, Start]:
    """Return the start of each partition that is not yet in memory; check all partitions.

    Raises:
        StartupError: stored states and offsets do not belong to a topic as it is now.
    """
    starts: dict[TopicPartition, Start] = {}
    for pipeline in pipelines:
        for at in (at for at in found.beginnings if at.topic == pipeline.topics.source):
            start = start_of(pipeline, at.partition, found)
            if at.partition not in pipeline.next_offset:
                starts[at] = start
    return starts


def wanted_of(
    pipelines: Sequence[Pipeline], commits: Mapping[TopicPartition, OffsetAndMetadata | None]
) -> list[Wanted]:
    """Return the targets of the outputs of source partitions, and the ends of those of their last commits."""
    wanted = []
    for pipeline in pipelines:
        topics = pipeline.topics
        for at, commit in commits.items():
            if at.topic == topics.source:
                outputs, letters = (TopicPartition(to, at.partition) for to in (topics.output, topics.dead_letters))
                since = stored_ends(commit.metadata if commit else None)
                anywhere = since is None and pipeline.states.used.get(at.partition, False) and not is_workers(commit)
                wanted.append(Wanted(at, outputs, letters, since, anywhere))
    return wanted


def is_workers(commit: OffsetAndMetadata | None) -> bool:
    """True if a worker has committed an offset. Else it is gone (deleted or expired), or an operator has set it."""
    return commit is not None and commit.offset >= 0 and "topic_id" in _content(commit.metadata)


def start_of(pipeline: Pipeline, partition: int, found: BrokerView) -> Start:
    """Decide where a partition is taken up.

    Raises:
        StartupError: its stored states and offsets do not belong to the topic as it is now.
    """
    at = TopicPartition(pipeline.topics.source, partition)
    committed = found.committed.get(at)
    beginning, end = found.beginnings[at], found.ends[at]
    if committed is None or committed.offset < 0:
        if pipeline.states.size(partition):
            raise StartupError(
                f"{at.topic}[{partition}]: {pipeline.topics.changelog} holds states, but the consumer group has no "
                f"committed offset (deleted or expired), so what they include is unknown; {RESET}"
            )
        return Start(beginning, note=_note_gone(pipeline, at))
    _check_topic_ids(pipeline, at, committed, found)
    included = _highest_stored(pipeline, partition) + 1
    check_end(at, end, max(committed.offset, included))
    note = "" if is_workers(committed) else _note_moved(pipeline, at, committed.offset, included)
    if committed.offset < beginning:
        return Start(beginning, beginning - committed.offset, note)
    return Start(committed.offset, note=note)


def _note_gone(pipeline: Pipeline, at: TopicPartition) -> str:
    if not pipeline.states.used.get(at.partition, False):
        return ""
    return (
        f"{at.topic}[{at.partition}]: the group's committed offset is gone (deleted or expired), and all streams were "
        "evicted: the source is read from its beginning, and outputs that are published already are left out"
    )


def _note_moved(pipeline: Pipeline, at: TopicPartition, offset: int, included: int) -> str:
    place = f"{at.topic}[{at.partition}]"
    if offset < included:
        return (
            f"{place}: the group was moved back from offset {included} to {offset}, by no worker: records that the "
            "states include are skipped, without outputs; `caststream topics reset-state` reads them again"
        )
    return (
        f"{place}: the group was moved to offset {offset}, by no worker: records before it are not read, and outputs "
        f"that stand in {pipeline.topics.output} are left out"
    )


def _check_topic_ids(pipeline: Pipeline, at: TopicPartition, committed: OffsetAndMetadata, found: BrokerView) -> None:
    changelog = pipeline.topics.changelog
    for topic, field, harm in (
        (at.topic, "topic_id", "its stored states belong to other records"),
        (changelog, "changelog_id", f"the states of {at.topic} up to these offsets are gone"),
    ):
        kept, now = stored_id(committed.metadata, field), found.topic_ids.get(topic, "")
        if kept and now and kept != now:
            raise StartupError(
                f"{topic} was deleted and created again (topic id {now}, the committed offsets are of {kept}): {harm}; "
                f"{RESET}"
            )


def stored_id(metadata: str | None, field: str) -> str:
    """A topic's id kept with an offset commit, "" where there is none."""
    return str(_content(metadata).get(field, ""))


def _content(metadata: str | None) -> dict[str, Any]:
    try:
        content = json.loads(metadata or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def stored_ends(metadata: str | None) -> LogEnds | None:
    """Return where the outputs of an offset commit end in the log; None if it does not say."""
    content = _content(metadata)
    found = [end for name in LogEnds._fields if type(end := content.get(name)) is int and end >= 0]
    return LogEnds(*found) if len(found) == len(LogEnds._fields) else None


def check_end(at: TopicPartition, end: int, stored: int) -> None:
    """Raises LostRecordsError when a partition ends below an offset that was processed already."""
    if end < stored:
        raise LostRecordsError(
            f"{at.topic}[{at.partition}] ends at offset {end}, but records up to {stored - 1} were processed: the "
            f"topic was truncated or created again; {RESET}"
        )


def _highest_stored(pipeline: Pipeline, partition: int) -> int:
    return max((source_offset for _, (_, source_offset) in pipeline.states.rows(partition)), default=-1)


def report_lost(pipeline: Pipeline, partition: int, expected: int, found: int) -> None:
    """Count and log records that retention has deleted before they were read."""
    pipeline.shown.records_lost.inc(found - expected)
    log.error(
        "%s[%d]: records %d to %d were deleted by retention before they were read; the streams after them show a gap",
        pipeline.topics.source,
        partition,
        expected,
        found - 1,
    )
