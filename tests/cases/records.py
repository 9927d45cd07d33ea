"""Records as gateways, converters and serializers write them: what becomes of each, and what its sender is told."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec

from tests.cases.case import case, expect
from tests.cases.room import Room

SAMPLE: dict[str, Any] = {"signal": 0.5, "condition_vector": [1, 0, 0, 0]}
TIME_MS = 1_795_450_377_693
MSGPACK = (("content-type", b"application/msgpack"),)


def _cast(**fields: Any) -> dict[str, Any]:
    from core.wire.records import SENSORS

    return dict(zip(SENSORS, (1.2, 1520.0, 150.0, 200.0, 25.0), strict=True)) | fields


def _fed(*values: bytes | None, key: bytes = b"press-7", headers: Any = (), casts: bool = False) -> Any:
    """What an engine makes of these values, sent under one key."""
    from core.engines.results import StreamRules, WindowRules
    from core.engines.scorer import CastScorer
    from core.engines.stepper import SignalStepper
    from stream_app.flow.tables import PartitionedStore
    from tests.strategies import FakeRecord, defect_model, signal_model

    store, rules = PartitionedStore(), StreamRules()
    windows = WindowRules()
    engine = CastScorer(defect_model(), rules, windows, store) if casts else SignalStepper(signal_model(), rules, store)
    return engine.run([FakeRecord(0, n, TIME_MS, key, value, headers) for n, value in enumerate(values)])


def _told(value: bytes | None, *words: str, **more: Any) -> str:
    """The message of the dead letter that a value becomes, which has these words."""
    letters = _fed(value, **more).dead_letters
    expect(len(letters) == 1, f"taken: {value!r}")
    expect(all(word in letters[0].message for word in words), f"{letters[0].reason}: {letters[0].message}")
    return str(letters[0].message)


def _both(fields: dict[str, Any], *words: str, **more: Any) -> str:
    """The same in both formats."""
    _told(msgspec.msgpack.encode(fields), *words, headers=MSGPACK, **more)
    return _told(json.dumps(fields).encode(), *words, **more)


def _taken(*values: bytes, **more: Any) -> None:
    result = _fed(*values, **more)
    said = [letter.message for letter in result.dead_letters]
    expect(result.counts.processed == len(values), f"{len(said)} dead letters: {said[:1]}")


@case(
    "data-47",
    tried="timestamp_ms in seconds, microseconds, nanoseconds, below 0, as a text",
    before="taken as the year 1970 or 58866; nanoseconds and texts refused in words of the decoder",
)
def _(room: Room) -> str:
    told = {TIME_MS // 1000: "seconds", TIME_MS / 1000: "seconds", TIME_MS * 1000: "microseconds"}
    told |= {TIME_MS * 10**6: "nanoseconds", -5: "from the year 2000 to 2100", 0: "from the year 2000 to 2100"}
    for held, words in told.items():
        _both(SAMPLE | {"timestamp_ms": held}, words)
        _both(_cast(timestamp_ms=held), words, casts=True)
    _both(SAMPLE | {"timestamp_ms": "2026-11-30T14:00:00Z"}, "is a text: milliseconds since 1970 are needed")
    return _both(SAMPLE | {"timestamp_ms": TIME_MS // 1000}, "milliseconds are needed")


@case(
    "data-73",
    tried="the same times after a stream has begun, where the compiled reader takes plain samples",
    before="taken, and written into outputs",
)
def _(room: Room) -> str:
    values = [json.dumps(SAMPLE | {"timestamp_ms": held}).encode() for held in (TIME_MS, TIME_MS // 1000, TIME_MS + 1)]
    result = _fed(*values)
    expect([letter.offset for letter in result.dead_letters] == [1], f"dead letters: {result.dead_letters}")
    return f"one dead letter of three: {result.dead_letters[0].message}"


@case(
    "data-73b",
    tried="a record's own timestamp set by its producer, no field timestamp_ms",
    before="the README says that the record's timestamp counts; Kafka's append time does",
)
def _(room: Room) -> str:
    from tests.worker import ROOT

    text = " ".join((ROOT / "docs" / "send.md").read_text().split())
    right = "the time at which Kafka took the record counts" in text and "set by the producer is not used" in text
    expect(right, "docs/send.md does not say it")
    return "docs/send.md says that the time at which Kafka took the record counts"


@case(
    "data-74",
    tried="samples with Step, sequenceId and timestampMs, in both formats, both tasks",
    before="taken without step, sequence and time, without a word",
)
def _(room: Room) -> str:
    fields = {"Step": 3, "sequenceId": "heat-1", "timestampMs": TIME_MS}
    for base, casts in ((SAMPLE, False), (_cast(), True)):
        value = base | fields
        for packed, headers in ((json.dumps(value).encode(), ()), (msgspec.msgpack.encode(value), MSGPACK)):
            found = _fed(packed, packed, headers=headers, casts=casts).counts.near_misses
            expect(found == {name.encode(): 2 for name in fields}, f"counted: {found}")
    return "counted by field (caststream_near_miss_fields_total), logged once for each name"


@case("data-50", tried="samples of other shapes", before="refused in words of the decoder, without value and way")
def _(room: Room) -> str:
    for wrapper in ("payload", "fields", "value", "data"):
        _both({wrapper: SAMPLE}, f"seems to stand in '{wrapper}'")
    _both(SAMPLE | {"condition_vector": {"c1": 1}}, "is an object: must be an array of 4 numbers")
    _both(SAMPLE | {"signal": True}, "signal is true")
    _both(_cast(mold_level="150,2"), "decimal comma", casts=True)
    return _both(SAMPLE | {"signal": "0.1"}, 'signal is "0.1": a number in quotes, send it without')


@case(
    "data-50b",
    tried="sequence: 4712, step: 3.0, end: 1",
    before="dead letters; with end: 1 the sample and the end of its cast were lost together",
)
def _(room: Room) -> str:
    fields = {"sequence": 4712, "step": 0.0, "timestamp_ms": float(TIME_MS)}
    for base, casts in ((SAMPLE, False), (_cast(end=1), True)):
        value = base | fields
        _taken(json.dumps(value).encode(), casts=casts)
        _taken(msgspec.msgpack.encode(value), headers=MSGPACK, casts=casts)
    result = _fed(*(json.dumps(_cast(sequence=4712, end=step // 99)).encode() for step in range(100)), casts=True)
    (output,) = [value for _, value, _, _ in result.outputs[0]]
    score = msgspec.json.decode(output)
    expect((score["sequence"], score["final"]) == ("4712", True), f"score: {score}")
    return "taken as sequence '4712', step 3 and the end, in both formats"


CONTENT_TYPES = (
    *(b"application/json; charset=utf-8", b'"application/json"', b"Application/JSON", b" application/json"),
    *(b"text/json", b"application/vnd.plant+json", b"application/json;charset=UTF-8"),
)


@case(
    "data-60", tried="content-type: application/json; charset=utf-8 and the like", before="the whole feed dead letters"
)
def _(room: Room) -> str:
    for held in CONTENT_TYPES:
        _taken(*[json.dumps(SAMPLE).encode()] * 3, headers=(("content-type", held),))
    for held in (b"application/x-msgpack", b"application/vnd.msgpack; v=5"):
        _taken(*[msgspec.msgpack.encode(SAMPLE)] * 3, headers=(("content-type", held),))
    return _told(json.dumps(SAMPLE).encode(), "text/plain", headers=(("content-type", b"text/plain"),))


@case(
    "data-60b",
    tried="a letter of another content type sent back with a corrected header",
    before="a dead end: corrections changed values only, and the record was refused again",
    slow=True,
)
def _(room: Room) -> str:
    from tests.feeds import signal_feed

    settings = room.settings()
    feed = signal_feed(settings)
    environment = settings.environment()
    given = {name.removeprefix("CASTSTREAM_").lower(): value for name, value in environment.items()}
    with room.worker(settings) as worker:
        worker.start()
        (offset,) = feed.send(SAMPLE, headers=[("content-type", b"text/plain")])
        feed.dead_letter(offset)
        shown = room.caststream("tail", "dead-letters", "--from-beginning", "--json", "--count", "1", **given)
        letter = json.loads(shown.out) | {"headers": {}}
        path = room.folder() / "letters.jsonl"
        path.write_text(json.dumps(letter))
        done = room.caststream("dead-letters", "resend", "--yes", "--corrected", path, **given)
        expect(done.status == 0, done.said)
        feed.predictions(1)
    return f"{done.said}; its prediction appears"


@case(
    "data-62",
    tried="keys of a schema registry's serializer, of binary numbers, in JSON quotes, as JSON objects",
    before="each was a stream of its own beside press-7",
)
def _(room: Room) -> str:
    value = json.dumps(SAMPLE).encode()
    for key in (b"\0\0\0\0\x05\x0epress-7", b"\0\0\0\7", b"\0\0\0\0\0\0\0\7", b"press-7\0", b"p\0r\0e\0s\0s\0"):
        message = _told(value, "Send it as text", key=key)
    for key in (b'"press-7"', b'{"schema":null,"payload":"press-7"}'):
        expect(_fed(value, key=key).quoted_keys == [key], f"not noticed: {key!r}")
    return f"NULs: {message}; quotes: a log line, once"


@case(
    "data-64a",
    tried="values of a schema registry's serializers",
    before="JSON is malformed: invalid character (byte 0)",
)
def _(room: Room) -> str:
    words = ("begins with byte 0", "schema registry", "(id 5)")
    for body in (b"\x02\x04", json.dumps(SAMPLE).encode(), b"\0\x0a\x03abc"):
        for headers in ((), MSGPACK):
            message = _told(b"\0\0\0\0\x05" + body, *words, headers=headers)
    return message


@case("data-64b", tried="a byte order mark before the value", before="JSON is malformed: invalid character (byte 0)")
def _(room: Room) -> str:
    for base, casts in ((SAMPLE, False), (_cast(), True)):
        _taken(*[b"\xef\xbb\xbf" + json.dumps(base).encode()] * 3, casts=casts)
    return "skipped"


@case("data-64c", tried="a NUL after the value, as of C strings", before="JSON is malformed: trailing characters")
def _(room: Room) -> str:
    for base, casts in ((SAMPLE, False), (_cast(), True)):
        _taken(*[json.dumps(base).encode() + end for end in (b"\0", b"\0\0\0", b"\0\n")], casts=casts)
    return "skipped"


@case(
    "data-64d",
    tried="JSON encoded twice, arrays, two lines, gzip, tombstones, empty values, UTF-16, MessagePack without header",
    before="dead letters in words of the decoder",
)
def _(room: Room) -> str:
    plain = json.dumps(SAMPLE).encode()
    odd: list[tuple[bytes | None, str]] = [
        (json.dumps(plain.decode()).encode(), "encoded twice"),
        (plain + b"\n" + plain, "holds several objects"),
        (gzip.compress(plain), "compressed by gzip"),
        (None, "has no value"),
        (b"", "is empty"),
        (plain.decode().encode("utf-16"), "is UTF-16"),
        (msgspec.msgpack.encode(SAMPLE), "looks like MessagePack"),
        (plain.replace(b"0.5", b"NaN"), "holds NaN"),
        (b"[" + plain + b"]", "an array of samples: send one record for each"),
    ]
    return [_told(value, words) for value, words in odd][-1]


@case(
    "data-72",
    tried="a gateway that uploads what it stored, with pauses above idle_timeout",
    before="the cast is cut, with two final scores; no page says so",
)
def _(room: Room) -> str:
    from tests.worker import ROOT

    text = " ".join((ROOT / "docs" / "send.md").read_text().split())
    expect("`idle_timeout` above the upload interval" in text, "docs/send.md does not say it")
    return "docs/send.md says to set idle_timeout above the upload interval"
