"""Target: record batches as a broker might send them, and the changelog records in them, against slow readers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException, UnsupportedVersionError
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from core.native.records import Records
from core.native.signals import SignalBatch, SignalTurn
from core.native.streams import SignalStream
from stream_app.kafka.fetching import FetchedPartition, RawBatches
from stream_app.native.changelog import keep_winners
from tests.fuzz.codecs import FIELDS, WRITER
from tests.fuzz.mutation import Mutator
from tests.fuzz.slow_batches import HEADER, Refused, Row, read_slowly
from tests.fuzz.values import good_json, good_msgpack

CRC_AT, ATTRIBUTES_AT = 17, 21
CONTROL, TRANSACTIONAL, APPEND_TIME = 0x20, 0x10, 0x08
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
AT = TopicPartition("source", 0)

Part = bytes | None
_ENCODERS: dict[int, Callable[[bytes], bytes]] = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
_LIES = (-1, -2, 0, 1, 63, 64, 127, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
_COMPRESSIONS = (0, 0, 0, 0, 1, 2, 3, 4, 5)
_ATTRIBUTES = (0, 0, APPEND_TIME, TRANSACTIONAL, TRANSACTIONAL | CONTROL)
_MSGPACK_HEADER = (b"content-type", b"application/msgpack")
_HEADERS: tuple[tuple[tuple[Part, Part], ...], ...] = (
    (),
    ((b"source-offset", b"0"),),
    ((b"source-offset", b"%d" % 10**17),),
    ((b"source-offset", b"%d" % 10**18),),
    ((b"source-offset", None),),
    ((b"source-offset", b"-1"), (b"source-offset", b"5")),
    ((b"content-type", b"application/json"), (b"source-offset", b"12")),
    ((b"content-type", b"application/json"),),
    (_MSGPACK_HEADER,),
    ((b"\xff", b""), (b"", b"x" * 70), _MSGPACK_HEADER),
)


def varint(number: int) -> bytes:
    """Zigzag, as Kafka writes lengths and differences."""
    zigzag, out = (number << 1 ^ number >> 63) & (1 << 64) - 1, bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def batch_of(body: bytes, records: int, attributes: int = 0, base: int = 0, **header: int) -> bytes:
    """A batch with whatever its header is to say, its checksum right; the body is compressed as ``attributes`` says."""
    codec = attributes & 7
    packed = _ENCODERS[codec](body) if codec in _ENCODERS else body
    told = header.get("last_delta", max(records - 1, 0)), header.get("first_timestamp", 1_000), 2_000
    size, producer = HEADER.size + len(packed) - 12, header.get("producer", -1)
    head = HEADER.pack(base, size, 0, 2, 0, attributes, *told, producer, 0, 0, records)
    return sealed(head + packed)


def sealed(batch: bytes) -> bytes:
    """A batch with the checksum that fits."""
    (length,) = struct.unpack_from(">i", batch, 8)
    end = min(len(batch), 12 + max(0, length))
    return batch[:CRC_AT] + calc_crc32c(batch[ATTRIBUTES_AT:end]).to_bytes(4) + batch[ATTRIBUTES_AT:]


def record_of(random: Random, number: int, odd: float) -> bytes:
    """One record; each of its numbers is a lie with probability ``odd``."""

    def told(truth: int) -> bytes:
        return varint(truth if random.random() >= odd else random.choice((*_LIES, truth - 1, truth + 1)))

    def part(raw: Part) -> bytes:
        return told(-1 if raw is None else len(raw)) + (raw or b"")

    headers = random.choice(_HEADERS)
    body = bytes(1) + told(random.randrange(9)) + told(number) + part(random.choice((b"k", b"k", b"key", None, b"")))
    body += part(random.choice(_VALUES)) + told(len(headers))
    body += b"".join(part(name) + part(value) for name, value in headers)
    return told(len(body)) + body


_VALUES: list[Part] = [b"value", None, b"", b"x" * 90, *good_json(), *good_msgpack()]


def fetched(random: Random) -> bytes:
    """A partition's part of a fetch: some batches, with lies in them, or damaged, or both."""
    raw = _MUTATOR.input(random) if random.random() < 0.3 else _batches(random)
    if random.random() < 0.5 or len(raw) <= HEADER.size:
        return raw
    damaged = bytearray(raw)
    for _ in range(random.randint(1, 3)):
        damaged[random.randrange(len(damaged))] = random.randrange(256)
    return sealed(bytes(damaged)) if random.random() < 0.8 else bytes(damaged)


def _batches(random: Random) -> bytes:
    odd, batches, base = random.choice((0.0, 0.0, 0.02, 0.2)), b"", random.choice((0, 0, 5, 2**62))
    for _ in range(random.randint(1, 3)):
        count = random.randint(0, 4)
        body = b"".join(record_of(random, number, odd) for number in range(count))
        attributes = random.choice(_COMPRESSIONS) | random.choice(_ATTRIBUTES)
        told = count if random.random() >= odd else random.choice((-1, 0, count + 1, 2**31 - 1))
        times = {"first_timestamp": random.choice((0, 1_000, 2**63 - 1, -(2**63)))}
        batches += batch_of(body, told, attributes, base, producer=random.choice((-1, 7)), **times)
        base += count
    return batches


_MUTATOR = Mutator(
    [_batches(Random(seed)) for seed in range(40)],
    [*map(varint, _LIES), b"source-offset", b"\xff" * 9 + b"\x01", b"\xff" * 11],
)


def check_batches(raw: bytes, random: Random) -> None:
    """Records, or an error of Kafka's; where no transaction is looked at, the same records as read slowly."""
    check, isolation = random.random() < 0.5, random.choice((READ_UNCOMMITTED, READ_COMMITTED))
    start, aborted = random.choice((0, 0, 3, -(2**63))), random.choice(([], None, [(7, 0), (7, 1)]))
    partition = FetchedPartition(AT, RawBatches(raw), aborted, start, None, None, check, isolation)
    try:
        found = partition.take(random.choice((1, 3, 10**6)))
    except (CorruptRecordException, UnsupportedVersionError):
        found = None
    if isolation == READ_UNCOMMITTED:
        _check_same(found, partition, raw, check, start)
    if found is not None:
        _check_readers_of(found)


def _check_same(found: Records | None, partition: FetchedPartition, raw: bytes, check: bool, start: int) -> None:
    try:
        expected = read_slowly(raw, check, start)
    except Refused:
        assert found is None, "read, and it should have been refused"
        return
    assert found is not None, "refused, and it can be read"
    rest = partition.take(10**6)
    assert partition.exhausted
    rows = [Row(r.offset, r.timestamp, r.key, r.value, r.headers) for r in (*found, *rest)]
    assert rows == expected


def _check_readers_of(records: Records) -> None:
    """What reads records with the headers as they stood: the changelog's reader and the compiled samples'."""
    rows, slow_rows, overtaken, slow_overtaken = {}, {}, set(), set()
    assert keep_winners(records, rows, overtaken) == _keep_slowly(records, slow_rows, slow_overtaken)
    assert (rows, overtaken) == (slow_rows, slow_overtaken)
    streams = {key: SignalStream(0, key, 1) for key in (b"k", b"key")}
    for stream in streams.values():
        stream.offset, stream.step = 0, 0
    left: list[object] = []
    batch = SignalBatch(WRITER, FIELDS.width)
    turn = SignalTurn(1, batch, FIELDS, 1, 10**9, left.append, lambda stream: None)
    turn.take(records, streams, [])
    assert turn.processed + len(left) == len(records)


def _keep_slowly(records: Records, rows: dict[bytes, tuple[Part, int]], overtaken: set[bytes]) -> int | None:
    for record in records:
        told = next((value for name, value in record.headers if name == "source-offset"), None)
        if record.key is None or told is None or not (0 < len(told) <= 18 and told.isdigit()):
            return record.offset
        if int(told) < rows.get(record.key, (None, -1))[1]:
            overtaken.add(record.key)
            continue
        rows[record.key] = (record.value, int(told))
        overtaken.discard(record.key)
    return None
