"""The records of all scenarios: plain ones, and every row and oddity that the record table and the codecs know.

Used once, to record. The files hold the records themselves, so a change here changes nothing that is tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from core.engines.state import StreamState, pack_state, seal, unpack_state
from core.engines.table_keys import head_key, segment_at, segment_key, state_at
from core.engines.windows import pack_numbers
from core.errors import StateError
from core.tasks.declaration import Kind
from tests.golden import forms
from tests.golden.scenarios import Headers, Row, Scenario, SourceRecord, Stage
from tests.offline import casting_samples, signal_samples

PACKED: Headers = [("content-type", b"application/msgpack")]
TIME_MS = 1_700_000_000_000
IDLE_MS = 300_000
WINDOWS = {"window_length": 40, "window_min": 10, "hop": 7, "segment": 8}
GAPS = {"max_gap": 5}

Sample = dict[str, Any]


def few_digits(samples: Iterable[Sample]) -> list[Sample]:
    """Samples of values that repeat, so that a file of many stays small."""
    return [
        {name: round(value * 8) / 8 if isinstance(value, float) else value for name, value in sample.items()}
        for sample in samples
    ]


def samples_of(task: str, count: int, seed: int) -> list[Sample]:
    """Samples with steps; those of casts with few digits."""
    return signal_samples(count, seed) if task == "signal" else few_digits(casting_samples(count, seed))


class Log:
    """A source topic that is being written, stage by stage; both partitions."""

    def __init__(self, task: str, start: int = 0, packed: bool = False) -> None:
        self.task, self.packed, self.start = task, packed, start
        self.now_ms = TIME_MS
        self._next = {0: start, 1: start}
        self._records: list[SourceRecord] = []
        self.stages: list[Stage] = []

    def add(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = (), partition: int = 0
    ) -> None:
        self.now_ms += 7
        self._records.append(SourceRecord(partition, self._next[partition], self.now_ms, key, value, list(headers)))
        self._next[partition] += 1

    def send(self, key: str, *samples: Sample, partition: int = 0, **more: Any) -> None:
        """Add samples in the log's format."""
        for sample in samples:
            held = {**sample, **more}
            if self.packed:
                self.add(key.encode(), msgspec.msgpack.encode(held), PACKED, partition)
            else:
                self.add(key.encode(), json.dumps(held, separators=(",", ":")).encode(), [], partition)

    def end(self, evict: bool = False) -> None:
        """End the stage with a commit; evict all streams of partition 0 behind it."""
        self.stages.append(Stage(self._records, self._next[0] if evict else None))
        self._records = []


def scenarios(task: str) -> list[Scenario]:
    """Every scenario of a task, without what comes of it."""
    made = [
        Scenario("the record table", task, table(task), GAPS, _windows(task)),
        Scenario("the record table in MessagePack", task, table(task, packed=True), GAPS, _windows(task), "msgpack"),
        Scenario("gaps are held", task, gaps(task), GAPS | {"gap_policy": "hold"}, _windows(task)),
        Scenario("gaps reset", task, gaps(task), GAPS | {"gap_policy": "reset"}, _windows(task)),
        Scenario("values in JSON", task, json_values(task), {}, _windows(task)),
        Scenario("values in MessagePack", task, msgpack_values(task), {}, _windows(task), "msgpack"),
        Scenario("keys, names and content types", task, names(task), {}, _windows(task)),
        Scenario("a model that overflows", task, short(task), {}, _windows(task), "json", True),
        Scenario("a model that overflows, in MessagePack", task, short(task), {}, _windows(task), "msgpack", True),
    ]
    if task == "casting":
        made.append(Scenario("windows of the default length", task, long_cast()))
    return made


def _windows(task: str) -> dict[str, int]:
    return WINDOWS if task == "casting" else {}


# The record table, row by row.


def table(task: str, packed: bool = False) -> list[Stage]:
    """Streams that meet every row which is about good values."""
    log, samples = Log(task, packed=packed), samples_of(task, 90, 1)
    named, other = samples_of(task, 60, 2), samples_of(task, 60, 3)
    timed = [{**sample, "timestamp_ms": TIME_MS + 10 * number} for number, sample in enumerate(samples)]

    log.send("plain", *samples[:20], sequence="A")
    log.send("uncounted", *_without_steps(named[:12]))
    log.send("unnamed", *other[:9], *other[:5])  # begins again at step 0
    log.send("gaps", *samples[3:6], samples[9], samples[10], samples[21])
    log.send("repeats", *named[:6], named[2], named[5], *named[6:8])
    log.send("ten repeats", *named[:6], *named[:6], *named[:6], named[6], sequence="A")
    log.send("nine repeats", *named[:3], *named[:3] * 3, named[3], *named[1:4] * 3, named[4], sequence="A")
    log.send("same time", *timed[:8], timed[7], *_at(timed[8:9], 2), _step(timed[8], 3), *_at(timed[9:11], 4))
    log.send("restarts", *timed[:8], *_at(timed[8:12], 2))  # a step back, and those that follow on it
    log.send("one step back", *timed[:8], *_at(timed[8:9], 3), *timed[9:11])
    log.send("back at the cut", *timed[:8], *_at(timed[8:9], 0))
    log.send("skipped", *timed[:4], *timed[8:10], timed[5], *samples[3:9], *timed[10:11])
    log.send("moves", *samples[:5])
    log.send("moves", *samples[:4], partition=1)
    log.send("jumps", samples[0], _step(samples[1], 1_000_001), samples[1], _step(samples[2], 1_000_002))
    log.send("jumps", _step(samples[2], 1_000_001))
    log.send("far ahead", _step(samples[0], 2**53 - 1), *_without_steps(samples[1:4]))
    log.send("late", *named[:4], sequence="one")
    log.send("late", *other[:3], sequence="two")
    log.send("late", named[4], sequence="one")
    log.send("late", *other[3:5], sequence="two")
    if task == "casting":
        _casts(log, samples, named)
    log.end()

    log.send("plain", *samples[20:50], sequence="A")
    log.send("uncounted", *_without_steps(named[12:20]))
    log.send("back at the cut", *_at(timed[9:13], 1))
    log.send("skipped", timed[6], *timed[11:13])
    log.send("one step back", *_at(timed[11:12], 3), *_at(timed[12:14], 3))
    log.send("moves", *samples[4:6], partition=1)
    log.send("moves", *samples[5:7])
    log.send("late", other[5], sequence="two")
    log.send("late", *named[:4], sequence="three")
    log.send("late", other[6], named[4], sequence="two")
    log.send("idle within a sequence", *samples[:3], sequence="A")
    if task == "casting":
        _more_casts(log, samples, named)
    log.send("at the idle timeout", samples[0])
    log.end()

    log.now_ms += IDLE_MS - 7
    log.send("at the idle timeout", samples[1])
    log.now_ms += IDLE_MS - 6
    log.send("at the idle timeout", samples[2])  # one millisecond too late
    log.send("plain", samples[50], sequence="A")
    log.send("idle within a sequence", *samples[3:6], sequence="A")
    log.send("gaps", samples[0], *samples[22:24])  # step 0 begins again, the others are a gap then
    log.send("late", named[5], *named[2:4], sequence="two")
    log.end()
    log.send("plain", *samples[51:54], sequence="A")
    log.end(evict=True)
    log.send("plain", *samples[54:57], sequence="A")
    log.end()
    return log.stages


def _casts(log: Log, samples: list[Sample], named: list[Sample]) -> None:
    """Ends of casts."""
    log.send("ends", *samples[:24], sequence="cast-1")
    log.send("ends", samples[24], sequence="cast-1", end=True)
    log.send("ends", samples[25], samples[25], sequence="cast-1")  # late
    log.send("ends at a score", *named[:16], sequence="cast-1")
    log.send("ends at a score", named[16], sequence="cast-1", end=True)
    log.send("too short", *named[:4], sequence="cast-1")
    log.send("too short", *samples[:15], sequence="cast-2")
    log.send("one sample", samples[0], end=True)
    log.send("one sample", samples[1], end=True)
    log.send("one sample", samples[0], end=True)
    log.send("has no end", *named[:20])


def _more_casts(log: Log, samples: list[Sample], named: list[Sample]) -> None:
    log.send("ends", samples[26], sequence="cast-1")  # late still
    log.send("ends", *named[:12], sequence="cast-2")
    log.send("ends", samples[27], sequence="cast-1")
    log.send("ends at a score", *named[:11], sequence="cast-2", end=1)
    log.send("too short", *samples[15:60], sequence="cast-2")
    log.send("has no end", *samples[:12])


def _without_steps(samples: Iterable[Sample]) -> list[Sample]:
    return [{name: held for name, held in sample.items() if name != "step"} for sample in samples]


def _step(sample: Sample, step: int) -> Sample:
    return {**sample, "step": step}


def _at(samples: Iterable[Sample], first: int) -> list[Sample]:
    """The samples, with steps from ``first``."""
    return [_step(sample, first + number) for number, sample in enumerate(samples)]


def gaps(task: str) -> list[Stage]:
    """Gaps below, at and above the most that is held; across a commit, too."""
    log, samples = Log(task), samples_of(task, 80, 4)
    for key, missing in (("few", 2), ("most", 5), ("too many", 6)):
        log.send(key, *samples[:14], *samples[14 + missing : 30], sequence="A")
    log.send("at its beginning", *samples[3:12])
    log.send("in a row", samples[0], samples[3], samples[6], samples[12], samples[14], samples[21])
    log.send("across the commit", *samples[:9])
    log.end()
    log.send("across the commit", *samples[13:20], samples[12])
    log.send("few", samples[33], sequence="A")
    log.send("few", *samples[2:5], sequence="B")
    log.end(evict=True)
    return log.stages


# Values.


def json_values(task: str) -> list[Stage]:
    """Good and bad values in JSON, each of the good ones the next sample of its stream."""
    log = Log(task)
    for number, form in enumerate(forms.GOOD_JSON):
        log.add(b"forms", _filled(task, form, number))
    for number, digits in enumerate(forms.GOOD_NUMBERS):
        log.add(b"numbers", _with_number(task, digits, number))
    log.add(b"refused", _filled(task, "{<F>}", 0))
    log.end()
    for form in (*forms.BAD_JSON, *forms.only(task)[0]):
        log.add(b"refused", _filled(task, form, 1))
    for digits in forms.BAD_NUMBERS:
        log.add(b"refused", _with_number(task, digits, 1))
    for raw in forms.BAD_BYTES:
        log.add(b"refused", raw)
    log.add(b"refused", None)
    log.add(b"never good", b"{")
    log.add(b"refused", _filled(task, '{<F>,"step":<N>}', 1))
    log.end()
    return log.stages


def _filled(task: str, form: str, step: int) -> bytes:
    text = form.replace("<F>", forms.FIELDS[task]).replace("<1>", forms.FIRST[task]).replace("<N>", str(step))
    return text.encode("utf-8", "surrogatepass")


def _with_number(task: str, digits: str, step: int) -> bytes:
    name = forms.FIRST[task].partition(":")[0]
    fields = forms.FIELDS[task].replace(forms.FIRST[task], f"{name}:{digits}", 1)
    return f'{{{fields},"step":{step}}}'.encode()


def msgpack_values(task: str) -> list[Stage]:
    """The same in MessagePack."""
    log = Log(task)
    for number, _ in enumerate(forms.good_msgpack(task, 0)):
        log.add(b"forms", forms.good_msgpack(task, number)[number], PACKED)
    for number, first in enumerate(forms.GOOD_FIRST):
        step = (forms.text("step"), forms.number("B", number))
        log.add(b"numbers", forms.mapped([*forms.fields(task, first), step]), PACKED)
    log.add(b"refused", forms.mapped(forms.fields(task)), PACKED)
    log.end()
    for value in (*forms.bad_msgpack(task), *forms.only(task)[1], None):
        log.add(b"refused", value, PACKED)
    log.add(b"refused", forms.mapped(forms.fields(task)), PACKED)
    log.end()
    return log.stages


def names(task: str) -> list[Stage]:
    """Keys, sequences, headers."""
    log = Log(task)
    good = _filled(task, "{<F>}", 0)
    for key in (b"k", "°".encode() * 127 + b"k", b'"quoted"', b'{"id":1}', b" ", "Gießrinne 😀".encode(), b"\x01\x7f"):
        log.add(key, good)
        log.add(key, _filled(task, '{<F>,"step":<N>}', 1))
    for key in forms.BAD_KEYS:
        log.add(key, good)
        log.add(key, b"{")
    for content_type in forms.CONTENT_TYPES:
        log.add(b"types", good, [("content-type", content_type)])
    packed = forms.mapped(forms.fields(task))
    for content_type in forms.MSGPACK_TYPES:
        log.add(b"types", packed, [("content-type", content_type)])
    log.add(b"types", packed)
    log.add(b"types", good, PACKED)
    log.add(b"types", good, [*PACKED, ("trace", b"\xff\0"), ("content-type", b"application/json")])
    log.add(b"types", packed, [("content-type", b"application/json"), ("Content-Type", b"text/csv"), *PACKED])
    log.add(b"types", b"?", [("trace", "ä".encode()), ("error.reason", b"late"), ("trace", b"")])
    log.end()
    for text in SEQUENCES:
        log.add(b"sequences", _filled(task, f'{{<F>,"sequence":{text}}}', 0))
        log.add(b"sequences", _filled(task, f'{{<F>,"sequence":{text},"step":<N>}}', 1))
    log.end()
    values = (5.0, -5.0, 1e6, -1e6, 0.0, 1e3)
    for value in values:
        log.send("far outside", _without_steps(samples_of(task, 1, 5))[0] | _first(task, value))
    if task == "signal":
        for vector in ([1, 0, 0, 0], [0, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 9, 0]):
            log.send("conditions", {"signal": 0.25, "condition_vector": vector})
    log.end()
    return log.stages


SEQUENCES = (
    *('"A"', '"B"', r'"\u0042"', '"ä"', r'"\u00e4"', '"😀"', r'"\ud83d\ude00"', r'"\"\\\/\b\n"', '"\x7f"', r'"\u0000"'),
    *("4712", "4713.0", '"4712"', "-7", "18446744073709551615", "-9223372036854775808", '" "', '"null"', "null"),
    *(json.dumps("x" * 255), json.dumps("°" * 127 + "s", ensure_ascii=False), json.dumps("ä" * 127)),
)


def _first(task: str, value: float) -> Sample:
    return {forms.FIRST[task].partition(":")[0].strip('"'): value}


def short(task: str) -> list[Stage]:
    """A few samples."""
    log = Log(task)
    log.send("s", *samples_of(task, 18, 6), sequence="A")
    log.end()
    return log.stages


def long_cast() -> list[Stage]:
    """A cast that is longer than a window of the default length, in values of many digits at last."""
    log, samples = Log("casting"), few_digits(casting_samples(540, 7))
    log.send("strand", *samples[:330], sequence="cast-1")
    log.end()
    log.send("strand", *samples[330:], *_at(casting_samples(12, 8), 540), sequence="cast-1")
    log.end(evict=True)
    return log.stages


# Tables that a worker finds.

OTHER_MODEL = "0123456789ab"


def restored(task: str, rows: list[Row]) -> list[Scenario]:
    """What a worker finds: states of all kinds, sound and not; of casts, also sound ones under other rules.

    Args:
        rows: what a worker has left of `table`.
    """
    kept = [row for row in rows if row.partition == 0]
    by_key = {row.key: row for row in kept}
    odd = _odd_signals(by_key) if task == "signal" else _odd_casts(by_key)
    made = [_restored("restored", task, [*kept, *odd], _windows(task))]
    if task == "casting":
        shorter = {"window_length": 13, "window_min": 5, "hop": 3, "segment": 5}
        made.append(_restored("restored under rules for shorter windows", task, kept, shorter))
    return made


def _restored(name: str, task: str, rows: list[Row], windows: dict[str, int]) -> Scenario:
    """Samples for the streams of a table, and all are evicted."""
    kind: Kind = "step" if task == "signal" else "window"
    places = {key: _place(row) for row in rows if (key := state_at(kind, row.key)) is not None}
    keys = sorted(key for key in places if b"\0" not in key and key not in (b"never met", b"\xff"))
    last = max(keys, key=lambda key: places[key].included)
    log = Log(task, start=places[last].included - 1)
    samples = _without_steps(samples_of(task, 10, 9))
    log.now_ms += 5_000
    log.send(last.decode(), *samples[:3], sequence=places[last].sequence)  # two of them are in its state already
    for number in range(3):
        for key in keys:
            log.send(key.decode(), samples[number], sequence=places[key].sequence)
    log.end()
    for key in keys[::5]:
        log.send(key.decode(), *_at(samples[3:5], 1_000), sequence=places[key].sequence)
    log.end(evict=True)
    return Scenario(name, task, log.stages, GAPS, windows, table=rows, start=log.start)


def _place(row: Row) -> StreamState:
    """Where a stream stands; one that cannot be read, in a sequence of its own."""
    state = StreamState()
    with suppress(StateError):
        unpack_state(row.value, state)
    return state


def _odd_signals(kept: dict[bytes, Row]) -> list[Row]:
    """Copies of a sound state, changed."""
    row = kept[b"plain"]
    payload, state = row.value[:-4], StreamState()
    _, body = unpack_state(row.value, state)

    def changed(**fields: Any) -> bytes:
        other = StreamState()
        model, held = unpack_state(row.value, other)
        for name, value in fields.items():
            setattr(other, name, value)
        return pack_state(other, fields.get("model", model), held)

    nan = np.full(1, np.nan, "<f4").tobytes()
    odd = {
        "another model": pack_state(state, OTHER_MODEL, body),
        "another model, other width": pack_state(state, OTHER_MODEL, body[:100]),
        "closed": changed(closed=True),
        "a gap": changed(gap_first=2, gap_end=9),
        "a step back": changed(back_step=3, back_ms=TIME_MS + 10**6, back_offset=row.source_offset + 1),
        "names": changed(sequence="ä" * 127, previous="x" * 255),
        "checksum": row.value[:-1] + bytes([row.value[-1] ^ 1]),
        "cut": row.value[:-1],
        "empty": b"",
        "version 0": seal(b"\0" + payload[1:]),
        "version 3": seal(b"\3" + payload[1:]),
        "too short": seal(payload[:40]),
        "no body": seal(payload[: -len(body)]),
        "short body": seal(payload[:-4]),
        "odd body": seal(payload[:-3]),
        "NaN in h": seal(payload[: -len(body)] + nan + body[4:]),
        "offset below 0": seal(payload[:4] + b"\xff" * 8 + payload[12:]),
        "step below 0": seal(payload[:20] + b"\xff" * 8 + payload[28:]),
        "NaN in the sample": seal(payload[:48] + nan + payload[52:]),
        "no UTF-8": seal(payload[:68] + b"\xff" + payload[69:]),
        "a gap ahead": changed(gap_first=2, gap_end=10**6),
        "never met": row.value,
    }
    rows = [Row(0, key.encode(), value, row.source_offset) for key, value in odd.items()]
    return [*rows, Row(0, b"nul\0inside", row.value, row.source_offset), Row(0, b"\xff", row.value, row.source_offset)]


def _odd_casts(kept: dict[bytes, Row]) -> list[Row]:
    """Copies of a sound cast of several segments, changed."""
    key = b"too short"  # its second cast is long
    head = kept[head_key(key)]
    segments = {at[1]: row for row in kept.values() if (at := segment_at(row.key)) is not None and at[0] == key}
    model, body = unpack_state(head.value, StreamState())
    count, numbers = int.from_bytes(body[:8], "little"), sorted(segments)
    last = segments[numbers[-1]]

    def copied(name: str, value: bytes | None = None, without: int = -1, **changes: bytes) -> list[Row]:
        rows = [Row(0, head_key(name.encode()), head.value if value is None else value, head.source_offset)]
        for number, row in segments.items():
            blob = changes.get("last", row.value) if number == numbers[-1] else row.value
            if number != without:
                rows.append(Row(0, segment_key(name.encode(), number), blob, row.source_offset))
        return rows

    def with_body(held: bytes, **fields: Any) -> bytes:
        state = StreamState()
        unpack_state(head.value, state)
        for name, value in fields.items():
            setattr(state, name, value)
        return pack_state(state, fields.get("model", model), held)

    own = sorted(int.from_bytes(body[i : i + 8], "little") for i in range(12, len(body), 8))
    state = StreamState()
    unpack_state(head.value, state)
    return [
        *copied("another model", pack_state(state, OTHER_MODEL, body)),
        *copied("closed", with_body(pack_numbers(0, []), closed=True)),
        *copied("open without samples", with_body(pack_numbers(0, []))),
        *copied("a segment is missing", without=own[1]),
        *copied("orphans", with_body(pack_numbers(count, own[1:]))),
        *copied("out of order", with_body(pack_numbers(count, own[::-1]))),
        *copied("count too low", with_body(pack_numbers(3, own))),
        *copied("head before its segment", with_body(body, step=state.step - 1)),
        *copied("head behind its segment", with_body(body, step=state.step + 1)),
        *copied("body cut", seal(head.value[:-5])),
        *copied("checksum of the head", head.value[:-1] + bytes([head.value[-1] ^ 1])),
        *copied("checksum of a segment", last=last.value[:-1] + bytes([last.value[-1] ^ 1])),
        *copied("version of a segment", last=seal(b"\2" + last.value[1:-4])),
        *copied("segment cut", last=seal(last.value[:-8])),
        *copied("NaN in a segment", last=seal(last.value[:-8] + np.full(1, np.nan, "<f4").tobytes())),
        *copied("a step back", with_body(body, back_step=3, back_ms=TIME_MS + 10**6, back_offset=state.offset + 1)),
        *copied("never met"),
        *[row for row in copied("no head") if row.key[:1] == b"s"],
    ]
