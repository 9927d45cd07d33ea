"""Decide which dead letters may go back to where they came from, and say why the others may not.

A dead letter is skipped in two cases: its stream has already moved past it, so its record would come too late or,
without a step, in the wrong place; or its record was resent before, as the marks in the source partition show.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from confluent_kafka import Message

from core.callbacks import OnNote, unheard
from core.engines.state import unpack_state
from core.engines.table_keys import state_at
from core.errors import RecordError, StartupError, StateError
from core.native.streams import StreamState
from core.tasks.declaration import Kind
from core.wire.partition import partition_of
from core.wire.records import stream_id
from core.wire.samples import SampleDecoder, sample_decoder
from stream_app.clients.topic_reader import BEGINNING, TopicReader, key_of, place_of
from stream_app.headers import SOURCE_OFFSET, Headers, headers_of, number
from stream_app.letters.corrections import Correction
from stream_app.letters.letter import Choice, Letter, letter_of
from stream_app.letters.source_scan import Scan, position_of
from stream_app.routes import DEAD_LETTERS, Partition, routes
from stream_app.settings import Settings
from stream_app.topics.grown import NOTED_IN, Grown, grown_of

MAX_HELD_BYTES = 512 * 2**20
_NOT_AS_IT_IS = {
    "late": "it came too late: its sequence had ended, or a gap had skipped its step",
    "step_back": "its counter went back, and would do so again: correct its step (--corrected)",
}
"""Reasons that lie in what came before the record, and why it is not sent as it is."""
_NO_STREAM = {"no_key", "key_too_long", "key_not_utf8"}


class ResendFate(Enum):
    """The fate of a dead letter."""

    RESEND = "resend"
    RESENT = "resent before"
    LATE = "gone on"
    REFUSED = "refused"


@dataclass(frozen=True)
class ResendVerdict:
    """The verdict on one dead letter, and its reason."""

    letter: Letter
    fate: ResendFate
    why: str = ""
    value: bytes | None = None
    """The value to send; the key and the headers likewise."""
    key: bytes | None = None
    headers: Headers = field(default_factory=list)
    moved_to: Partition | None = None
    """The partition of the key, where the key was corrected or has another partition since some were added."""

    @property
    def is_moved(self) -> bool:
        """True if the record goes to another partition than before, because its key was corrected or partitions were
        added.
        """
        return self.moved_to is not None

    @property
    def to(self) -> Partition:
        """The partition that the record goes to. A dead letter without one is refused, and must not be asked."""
        to = self.moved_to or self.letter.source
        assert to is not None
        return to


@dataclass(frozen=True)
class ResendPlan:
    """All chosen dead letters, by source partition and in the order of their records."""

    verdicts: list[ResendVerdict]
    ends: dict[Partition, int]
    """Up to which offset each source partition was looked at."""

    @property
    def to_send(self) -> list[ResendVerdict]:
        """The dead letters to send. Dead letters of a stream of another name may come from any partition, so they go by
        time.
        """
        found = [verdict for verdict in self.verdicts if verdict.fate is ResendFate.RESEND]
        return sorted(found, key=lambda each: (each.is_moved, (each.letter.timestamp_ms or 0) * each.is_moved))

    def counts(self) -> Counter[ResendFate]:
        """The number of dead letters of each fate."""
        return Counter(verdict.fate for verdict in self.verdicts)


def make_plan(
    settings: Settings,
    choice: Choice,
    corrections: Mapping[tuple[Partition, int], Correction] | None = None,
    even_if_late: bool = False,
    on_wait: OnNote = unheard,
) -> ResendPlan:
    """Read the dead letters and their source partitions, and decide; nothing is sent.

    Args:
        choice: which letters are looked at.
        corrections: by source partition and offset; only the letters that they are about are looked at. None:
            letters go back as they came.
        even_if_late: also send letters whose stream has moved past them.
        on_wait: told once that the broker is waited for.

    Raises:
        StartupError: a topic is missing, the broker refuses us, or more was asked for than fits into memory.
        RunError: the broker does not answer.
    """
    with TopicReader(settings.client_config(), on_wait=on_wait) as reader:
        letters, refused_at = _read_letters(reader, settings, choice, corrections)
        decoders = sample_decoders(settings)
        ours = [letter for letter in letters if letter.topic in decoders]
        grown = _grown(reader, settings, ours)
        scans, bounds = _scan(reader, settings, ours, refused_at, corrections or {}, grown)
    judge = _Judge(decoders, scans, bounds, corrections or {}, grown, even_if_late)
    verdicts = [judge.verdict(letter) for letter in sorted(letters, key=_order)]
    known = {(letter.source, letter.source_offset) for letter in letters}
    unmatched = [place for place in corrections or {} if place not in known]
    if unmatched:
        (topic, partition), offset = unmatched[0]
        raise StartupError(
            f"{len(unmatched)} corrections fit no dead letter that was chosen, the first is for "
            f"{topic} {partition} {offset}"
        )
    return ResendPlan(verdicts, {at: high for at, (_, high) in bounds.items()})


def sample_decoders(settings: Settings) -> dict[str, SampleDecoder]:
    """Return by source topic what reads its samples, as the worker does."""
    return {route.source: sample_decoder(route.declaration) for route in routes(settings).values()}


def _read_letters(
    reader: TopicReader,
    settings: Settings,
    choice: Choice,
    corrections: Mapping[tuple[Partition, int], Correction] | None,
) -> tuple[list[Letter], dict[Partition, set[int]]]:
    """Return the chosen dead letters, one for each record, and the source offsets of all dead letters."""
    wanted: dict[tuple[Partition | None, int | None], Letter] = {}
    refused_at: dict[Partition, set[int]] = {}
    held = 0
    for message in reader.read_from(dict.fromkeys(reader.partitions(settings.topic(DEAD_LETTERS)), BEGINNING)):
        letter = letter_of(message)
        source, offset = letter.source, letter.source_offset
        if source is not None and offset is not None:
            refused_at.setdefault(source, set()).add(offset)
        if not choice.takes(letter) or (source, offset) in wanted:  # a worker's restart can repeat a letter
            continue
        if corrections is not None and (source, offset) not in corrections:
            continue
        wanted[source, offset] = letter
        held += len(letter.value or b"")
        if held > MAX_HELD_BYTES:
            raise StartupError(
                f"the chosen dead letters are more than {MAX_HELD_BYTES // 2**20} MiB: choose fewer with --reason, "
                "--stream or --since"
            )
    return list(wanted.values()), refused_at


def _grown(reader: TopicReader, settings: Settings, letters: list[Letter]) -> dict[str, list[Grown]]:
    """Return the notes of added partitions by source topic: a dead letter's stream may have another partition since."""
    found = {}
    for route in routes(settings).values():
        partitions = len(reader.partitions(route.source))
        ours = [letter for letter in letters if letter.topic == route.source and letter.key]
        if any(partition_of(letter.key or b"", partitions) != letter.source_partition for letter in ours):
            rows = reader.read_from({(route.changelog, NOTED_IN): BEGINNING})
            found[route.source] = grown_of((key_of(row) or b"", row.value()) for row in rows)
    return found


def _has_left(letter: Letter, grown: Mapping[str, list[Grown]]) -> bool:
    if letter.source is None or not letter.key or letter.reason in _NO_STREAM:
        return False
    topic, partition = letter.source
    return any(note.left(letter.key, partition) for note in grown.get(topic, ()))


def _scan(
    reader: TopicReader,
    settings: Settings,
    letters: list[Letter],
    refused_at: Mapping[Partition, Collection[int]],
    corrections: Mapping[tuple[Partition, int], Correction],
    grown: Mapping[str, list[Grown]],
) -> tuple[dict[Partition, Scan], dict[Partition, tuple[int, int]]]:
    """Read every partition of the dead letters' topics: with a corrected key a record may be in another partition."""
    by_source: dict[Partition, list[Letter]] = {}
    for letter in letters:
        if letter.source is not None and letter.source_offset is not None:
            by_source.setdefault(letter.source, []).append(letter)
    there = [at for topic in sorted({topic for topic, _ in by_source}) for at in reader.partitions(topic)]
    by_source = {at: by_source.get(at, []) for at in there}
    bounds = {at: reader.bounds(at) for at in by_source}
    elsewhere = {each.key for each in corrections.values() if each.key is not None}
    elsewhere |= {letter.key for letter in letters if letter.key is not None and _has_left(letter, grown)}
    scans = {
        at: Scan(
            {letter.key for letter in found if letter.key is not None} | elsewhere,
            refused_at.get(at, set()),
            {letter.source_offset for letter in found if letter.source_offset is not None},
        )
        for at, found in by_source.items()
    }
    starts = _starts(reader, by_source)
    for message in reader.read_from(starts):
        scans[place_of(message)].add(message)
    gone = [at for at, start in starts.items() if bounds[at][0] > start]
    if gone:
        _add_states(reader, settings, {at: scans[at] for at in gone})
    return scans, bounds


def _starts(reader: TopicReader, by_source: Mapping[Partition, list[Letter]]) -> dict[Partition, int]:
    """Choose where to begin: at the record of the first dead letter, elsewhere at its time."""
    if not by_source:
        return {}
    letters = [letter for found in by_source.values() for letter in found]
    first_ms = min(letter.sent_ms if letter.timestamp_ms is None else letter.timestamp_ms for letter in letters)
    since = reader.offsets_since(by_source, max(first_ms, 0))
    return {at: min([since[at], *map(position_of, found)]) for at, found in by_source.items()}


def _add_states(reader: TopicReader, settings: Settings, scans: Mapping[Partition, Scan]) -> None:
    """Add what the changelog says of streams whose records retention has deleted: that they moved past them."""
    changelogs: dict[Partition, Scan] = {}
    kinds: dict[str, Kind] = {}
    for route in routes(settings).values():
        kinds[route.changelog] = route.kind
        changelogs |= {(route.changelog, at[1]): scan for at, scan in scans.items() if at[0] == route.source}
    for message in reader.read_from(dict.fromkeys(changelogs, BEGINNING)):
        at = place_of(message)
        scan, offset = changelogs[at], _applied(message)
        stream = state_at(kinds[at[0]], key_of(message) or b"")
        if stream is not None and stream in scan.keys and offset is not None:
            scan.move_on(stream, scan.positions.get(offset, offset), offset)


def _applied(message: Message) -> int | None:
    """Return the source offset of a state's last good record: the state may include a dead letter after it."""
    state = StreamState()
    with contextlib.suppress(StateError):
        unpack_state(message.value() or b"", state)
        return state.offset
    return number(dict(headers_of(message)).get(SOURCE_OFFSET))


def _order(letter: Letter) -> tuple[Partition | tuple[()], int, int]:
    return letter.source or (), position_of(letter), letter.source_offset or 0


@dataclass(frozen=True)
class _Judge:
    """Decides on one dead letter after the other."""

    decoders: Mapping[str, SampleDecoder]
    """Source topic -> what reads its samples."""
    scans: Mapping[Partition, Scan]
    bounds: Mapping[Partition, tuple[int, int]]
    corrections: Mapping[tuple[Partition, int], Correction]
    grown: Mapping[str, list[Grown]]
    even_if_late: bool

    def verdict(self, letter: Letter) -> ResendVerdict:
        source = letter.source
        scan = None if source is None else self.scans.get(source)
        if source is None or scan is None or letter.source_offset is None:
            return ResendVerdict(letter, ResendFate.REFUSED, self._about_place(letter))
        if self._is_resent(letter, source, scan):
            return ResendVerdict(letter, ResendFate.RESENT)
        correction = self.corrections.get((source, letter.source_offset))
        wanted = self._corrected(letter, source[0], correction)
        if why := self._problem(wanted, scan, self.bounds[source]):
            return ResendVerdict(letter, ResendFate.REFUSED, why)
        if not self.even_if_late:
            if (offset := self._gone_on(wanted, scan)) is not None:
                return ResendVerdict(
                    letter, ResendFate.LATE, f"its stream has already moved past it, up to offset {offset}"
                )
            if correction is None and letter.reason in _NOT_AS_IT_IS:
                return ResendVerdict(letter, ResendFate.LATE, _NOT_AS_IT_IS[letter.reason])
        if why := self._still_wrong(wanted, correction):
            return ResendVerdict(letter, ResendFate.REFUSED, why)
        return wanted

    def _about_place(self, letter: Letter) -> str:
        if letter.topic is None or letter.topic in self.decoders:
            return "it names no partition of our source topics"
        return f"its topic {letter.topic} is of no task of the setting tasks: name the task's file there (--tasks)"

    def _is_resent(self, letter: Letter, source: Partition, scan: Scan) -> bool:
        place = source[1], letter.source_offset
        moved = (place in other.moved for at, other in self.scans.items() if at[0] == source[0])
        return scan.is_resent(letter) or any(moved)

    def _corrected(self, letter: Letter, topic: str, correction: Correction | None) -> ResendVerdict:
        """Decide on the record and its partition: a record with another key, or of a stream that has another partition
        by now, goes where producers send it now.
        """
        key, value, headers = letter.key, letter.value, letter.headers
        if correction is not None:
            key, value = letter.key if correction.key is None else correction.key, correction.value
            headers = letter.headers if correction.headers is None else correction.headers
        to = None
        if key is not None and (key != letter.key or _has_left(letter, self.grown)):
            to = topic, partition_of(key, sum(at[0] == topic for at in self.scans))
        return ResendVerdict(letter, ResendFate.RESEND, "", value, key, headers, to)

    def _gone_on(self, wanted: ResendVerdict, scan: Scan) -> int | None:
        if wanted.key == wanted.letter.key and (offset := scan.gone_on(wanted.letter)) is not None:
            return offset
        if wanted.moved_to is None:
            return None
        return self.scans[wanted.moved_to].gone_on_since(wanted.key or b"", wanted.letter.timestamp_ms or 0)

    def _problem(self, wanted: ResendVerdict, scan: Scan, bounds: tuple[int, int]) -> str | None:
        """Say why the record, as it came, can go nowhere."""
        letter, (low, high) = wanted.letter, bounds
        offset = letter.source_offset or 0
        if letter.value_bytes is not None:
            return f"only the start of its {letter.value_bytes:,} bytes was kept"
        if not wanted.is_moved and (letter.key is None or letter.reason in _NO_STREAM):
            return "its key names no stream: give it another (--corrected)"
        if offset >= high or (offset >= low and scan.found.get(offset) != (letter.key, letter.value)):
            return (
                "another record stands at its place: the topic was created again, or no worker wrote this dead letter"
            )
        return None

    def _still_wrong(self, wanted: ResendVerdict, correction: Correction | None) -> str | None:
        """Say why a worker would reject it again: it is sent only once, so that chance is not thrown away."""
        try:
            stream_id(wanted.key)
            self.decoders[wanted.letter.topic or ""](wanted.value, tuple(wanted.headers))
        except RecordError as error:
            if correction:
                return f"line {correction.line}: still not usable: {error}"
            return f"a worker would refuse it again, so correct it (--corrected): {error}"
        return None
