"""``caststream topics grow``: more partitions, with each stream's state where its records go from now on.

It may die anywhere; then run it again. Outputs get their partitions last, and a worker refuses to start as long as they
have fewer than their source, so no worker runs on states that are not moved yet.

A state holds the source offset that it includes. In its new partition that is the last offset before the records to
come; in a partition without any, an aborted transaction makes two.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import KafkaException, Producer

from core.errors import RunError, StartupError
from core.wire.partition import partition_of
from stream_app.clients.admin import CONNECT_TIMEOUT_S, Cluster
from stream_app.clients.committed import commit, committed_offsets
from stream_app.clients.outages import words
from stream_app.clients.topic_reader import TopicReader, key_of, place_of
from stream_app.clients.writing import Written, write_records
from stream_app.headers import SOURCE_OFFSET, SOURCE_TOPIC, headers_of, number
from stream_app.routes import DEAD_LETTERS, Partition, Route, routes
from stream_app.settings import Settings
from stream_app.topics import ownership
from stream_app.topics.administration import topic_ids
from stream_app.topics.checks import check_topics, refuse_running
from stream_app.topics.grown import NOTED_IN, Grown, grown_of, is_note
from stream_app.topics.moving import STATE_OFFSETS, TableRow, TableRows, moved_rows, streams_in, tombstones
from stream_app.topics.plans import planned_topics

SEND_TIMEOUT_S = 60.0


@dataclass
class Growth:
    """The result of a growth."""

    partitions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Topic -> its partitions before and now, of those that got some."""
    moved: int = 0
    """Streams whose state is in another partition now."""
    left: int = 0
    """Streams that stay: their senders do not choose partitions by Kafka's hash of the key, or the state is damaged."""


def grow_topics(settings: Settings, move_states: bool = True, timeout: float = CONNECT_TIMEOUT_S) -> Growth:
    """Give all topics ``settings.partitions`` partitions.

    Args:
        move_states: False: streams whose partition changes start from zeros, which the `gap` of their outputs shows.

    Raises:
        StartupError: workers are running, records wait that no worker has processed, a topic has more partitions
            already, or the application id is another deployment's: nothing was changed.
        RunError: the broker fails on the way: to be run again.
    """
    cluster = Cluster(settings, timeout)
    ownership.check_owner(settings, cluster)
    there = _check_may_grow(settings, cluster)
    growth = Growth()
    with TopicReader(settings.client_config()) as reader:
        if move_states:
            _check_nothing_waits(settings, reader, there)
        ids = topic_ids(settings, cluster)
        plans = [_RoutePlan(settings, reader, route, there, ids) for route in routes(settings).values()]
        before_outputs = [plan.route.changelog for plan in plans] + [settings.topic(DEAD_LETTERS)]
        _add(cluster, growth, there, settings.partitions, before_outputs)
        if move_states:
            # The note is there before a source says so: how many partitions there were is known from it from then on.
            for plan in plans:
                plan.note({})
        _add(cluster, growth, there, settings.partitions, [plan.route.source for plan in plans])
        if move_states:
            with TopicReader(settings.client_config()) as new_reader:  # the other one knows the partitions of before
                for plan in plans:
                    plan.move(growth, new_reader)
        _add(cluster, growth, there, settings.partitions, [plan.route.output for plan in plans])
    check_topics(settings, cluster)
    return growth


def _check_may_grow(settings: Settings, cluster: Cluster) -> dict[str, int]:
    """The partitions of our topics."""
    refuse_running(settings, cluster)
    names = [plan.name for plan in planned_topics(settings)]
    there = cluster.partitions(names)
    if missing := [name for name in names if name not in there]:
        raise StartupError(f"topics are missing on {settings.broker}: {', '.join(missing)}")
    wanted, letters = settings.partitions, settings.topic(DEAD_LETTERS)
    if larger := [name for name in names if there[name] > wanted and name != letters]:
        found = ", ".join(f"{name} has {there[name]}" for name in larger)
        raise StartupError(f"--partitions {wanted} is too few: {found}, and Kafka takes none away")
    return {name: there[name] for name in names}


def _check_nothing_waits(settings: Settings, reader: TopicReader, there: Mapping[str, int]) -> None:
    committed = committed_offsets(settings)
    for route in routes(settings).values():
        for partition in range(there[route.source]):
            _refuse_waiting(reader, (route.source, partition), committed, there[route.source] > there[route.output])


def _refuse_waiting(reader: TopicReader, at: Partition, committed: Mapping[Partition, int], added: bool) -> None:
    """Raises StartupError where a partition holds records that no worker has processed."""
    low, high = reader.bounds(at)
    start = max(committed.get(at, -1), low)
    if high > start and next(reader.read_from({at: start}), None) is not None:
        way = (
            "partitions were added to it, so no worker can; --without-states adds them to all topics, "
            "and streams whose partition has changed start from zeros, with a gap"
            if added
            else "stop the senders, let a worker finish and stop it"
        )
        raise StartupError(f"{at[0]}[{at[1]}] holds {high - start} records that are not processed: {way}")


def _add(cluster: Cluster, growth: Growth, there: Mapping[str, int], wanted: int, names: Sequence[str]) -> None:
    few = {name: wanted for name in names if there[name] < wanted}
    cluster.add_partitions(few)
    growth.partitions |= {name: (there[name], wanted) for name in few}


class _RoutePlan:
    """The move of one source's streams."""

    def __init__(
        self, settings: Settings, reader: TopicReader, route: Route, there: Mapping[str, int], ids: Mapping[str, str]
    ) -> None:
        self.route = route
        self._settings = settings
        self._reader = reader
        self._ids = ids
        self._wanted = settings.partitions
        self._outputs = there[route.output]
        self._rows, notes = _read(reader, route, there[route.changelog])
        # Run again, it finds some topics grown: only the first run has seen how many partitions there were.
        self._note = next(
            (note for note in notes if note.now == self._wanted),
            Grown(min(there[name] for name in (route.source, route.output, route.changelog)), self._wanted),
        )

        # A growth to another number that died on the way may have moved some already.
        self._counts = {self._note.before, *(note.now for note in notes if note.now > self._outputs)}

    def note(self, ends: Mapping[int, int]) -> None:
        """Write a note of the growth into the changelog."""
        if self._note.before == self._wanted:
            return
        note = Grown(self._note.before, self._wanted, {**self._note.ends, **ends}, time.time_ns() // 1_000_000)
        self._send([(NOTED_IN, (note.key, note.value(), 0))])

    def move(self, growth: Growth, reader: TopicReader) -> None:
        """Write each state that belongs to another partition there, then delete it where it was."""
        self._reader = reader
        to_move: dict[int, list[tuple[int, bytes, TableRows]]] = defaultdict(list)
        for partition, rows in self._rows.items():
            for key, of_stream in streams_in(self.route.kind, rows).items():
                to = partition_of(key, self._wanted)
                if to == partition:
                    continue
                if any(partition_of(key, partitions) == partition for partitions in self._counts):
                    to_move[to].append((partition, key, of_stream))
                else:
                    growth.left += 1
        self._make_offsets(range(self._wanted))
        ends = {at: self._reader.bounds((self.route.source, at))[1] for at in range(self._wanted)}
        # A sender that runs still has sent since they were looked at, and the moved states would include its records.
        committed = committed_offsets(self._settings)
        for partition in range(self._wanted):
            _refuse_waiting(self._reader, (self.route.source, partition), committed, added=True)
        self._commit(ends)
        self.note(ends)
        for to, streams in sorted(to_move.items()):
            self._move_to(to, ends[to], streams, growth)

    def _move_to(self, to: int, end: int, streams: Iterable[tuple[int, bytes, TableRows]], growth: Growth) -> None:
        written: list[tuple[int, TableRow]] = []
        deleted: list[tuple[int, TableRow]] = []
        for partition, key, of_stream in streams:
            rows = moved_rows(self.route.kind, key, of_stream, self._rows.get(to, {}), end)
            if rows is None:
                growth.left += 1
                continue
            growth.moved += 1
            written += [(to, row) for row in rows]
            deleted += [(partition, row) for row in tombstones(self.route.kind, key, of_stream)]
        self._send(written)
        self._send(deleted)

    def _make_offsets(self, partitions: Iterable[int]) -> None:
        """Offsets below the first record to come, in each source partition that has none."""
        source = self.route.source
        empty = [at for at in partitions if self._reader.bounds((source, at))[1] < STATE_OFFSETS]
        if not empty:
            return
        own = {"transactional.id": f"{self._settings.app_id}-grow", "log_level": 0}
        producer = Producer({**self._settings.client_config(), **own})
        try:
            producer.init_transactions(SEND_TIMEOUT_S)
            producer.begin_transaction()
            for partition in empty:
                producer.produce(source, partition=partition, value=None, key=None)
            producer.flush(SEND_TIMEOUT_S)
            producer.abort_transaction(SEND_TIMEOUT_S)
        except KafkaException as error:
            raise RunError(f"cannot write to {source}: {words(error.args[0])}; run it again") from error
        # The coordinator answers before the ends of the transaction are in all partitions.
        deadline = time.monotonic() + SEND_TIMEOUT_S
        while any(self._reader.bounds((source, at))[1] < STATE_OFFSETS for at in empty):
            if time.monotonic() > deadline:
                raise RunError(f"a transaction on {source} does not end within {SEND_TIMEOUT_S:g} s; run it again")
            time.sleep(0.05)

    def _commit(self, ends: Mapping[int, int]) -> None:
        """Commit where the group begins in partitions in which it has no offset."""
        committed = committed_offsets(self._settings)
        route, ids = self.route, self._ids
        new = {at: end for at, end in ends.items() if committed.get((route.source, at), -1) < 0}
        metadata = {"topic_id": ids[route.source], "changelog_id": ids[route.changelog]}
        bounds, old = self._reader.bounds, self._outputs
        offsets = {
            (route.source, at): OffsetAndMetadata(
                end,
                json.dumps(
                    metadata
                    | {
                        "outputs": bounds((route.output, at))[1] if at < old else 0,
                        "dead_letters": bounds((route.dead_letters, at))[1],
                    }
                ),
            )
            for at, end in new.items()
        }
        if offsets:
            commit(self._settings, offsets)

    def _send(self, rows: Sequence[tuple[int, TableRow]]) -> None:
        topic, source = self.route.changelog, self.route.source.encode()
        records = (
            Written(topic, partition, key, value, [(SOURCE_OFFSET, b"%d" % source_offset), (SOURCE_TOPIC, source)])
            for partition, (key, value, source_offset) in rows
        )
        config = {**self._settings.client_config(), "enable.idempotence": True}
        if why := write_records(config, records, SEND_TIMEOUT_S):
            raise RunError(f"cannot write to {topic}: {why}; run it again")


def _read(reader: TopicReader, route: Route, partitions: int) -> tuple[dict[int, TableRows], list[Grown]]:
    """Return the record to keep of each key, by partition, and the notes of added partitions."""
    rows: dict[int, dict[bytes, tuple[bytes | None, int]]] = {at: {} for at in range(partitions)}
    notes: dict[bytes, bytes | None] = {}
    for message in reader.read_from({(route.changelog, at): 0 for at in range(partitions)}):
        key, value = key_of(message), message.value()
        offset = number(dict(headers_of(message)).get(SOURCE_OFFSET))
        if key is None or offset is None:
            raise StartupError(f"{route.changelog}: a record at offset {message.offset()} is no state record")
        held = None if value is None else bytes(value)
        kept = rows[place_of(message)[1]]
        if is_note(key):
            notes[key] = held
        elif key not in kept or offset >= kept[key][1]:
            kept[key] = held, offset
    alive: dict[int, TableRows] = {
        at: {key: (value, offset) for key, (value, offset) in kept.items() if value is not None}
        for at, kept in rows.items()
    }
    return alive, grown_of(notes.items())
