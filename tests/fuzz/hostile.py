"""``python -m tests.fuzz.hostile``: inputs that ask for much; what each took, as JSON lines.

Each runs in a process of its own, forked before it, so that its peak memory is its own.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from aiokafka.errors import CorruptRecordException

from core.errors import RecordError
from core.native.streams import SignalStream
from core.wire.records import decode_casting, decode_signal
from stream_app.kafka.fetching import MAX_UNCOMPRESSED_BYTES, RECORD_BYTES, FetchedPartition, RawBatches
from tests.fuzz.batches import AT, batch_of, varint
from tests.fuzz.codecs import MSGPACK_TYPE, takes
from tests.fuzz.states import state  # noqa: F401 - what every case needs is loaded before the first fork

MB = 2**20
SIZE = 10 * MB
MOST_ADDRESS_SPACE = 6 * 2**30  # so that a case that takes too much ends itself and not the machine
MOST_S = 60.0  # each takes less than one
GOOD = b'{"signal":1,"condition_vector":[1,0,0,0]'
PACKED = msgspec.msgpack.encode({"signal": 1.0, "condition_vector": [1.0, 0.0, 0.0, 0.0]})[1:]  # without its size


class Case(NamedTuple):
    """An input, and what is done to it."""

    name: str
    value: bytes
    run: Callable[[bytes], Any]


def _json(value: bytes) -> None:
    for decode in (decode_signal, decode_casting):
        with suppress(RecordError):
            decode(value)
    takes(SignalStream(0, b"a", 1), value, ())


def _msgpack(value: bytes) -> None:
    for decode in (decode_signal, decode_casting):
        with suppress(RecordError):
            decode(value, MSGPACK_TYPE)
    takes(SignalStream(0, b"a", 1), value, MSGPACK_TYPE)


def _fetch(value: bytes) -> None:
    partition = FetchedPartition(AT, RawBatches(value), [], 0, None, None, True, 0)
    with suppress(CorruptRecordException):
        while len(partition.take(4_000)):
            pass


def texts() -> Iterator[tuple[str, bytes]]:
    """JSON of 10 MB."""
    half = SIZE // 2
    yield "arrays that never close", b"[" * SIZE
    yield "objects that never close", b'{"a":' * (SIZE // 5)
    yield "a surplus field, nested", GOOD + b',"x":' + b"[" * half + b"]" * half + b"}"
    yield "a number of many digits", GOOD.replace(b"1,", b"1" + b"0" * SIZE + b",", 1) + b"}"
    yield "a fraction of many digits", GOOD.replace(b"1,", b"0." + b"3" * SIZE + b",", 1) + b"}"
    yield "an exponent of many digits", GOOD.replace(b"1,", b"1e" + b"9" * SIZE + b",", 1) + b"}"
    yield "a step of many digits", GOOD + b',"step":' + b"9" * SIZE + b"}"
    yield "a long sequence", GOOD + b',"sequence":"' + b"x" * SIZE + b'"}'
    yield "a long sequence of escapes", GOOD + b',"sequence":"' + rb"\u00e4" * (SIZE // 6) + b'"}'
    yield "a long name of a field", GOOD + b',"' + b"x" * SIZE + b'":1}'
    yield "many surplus fields", GOOD + b',"a":1' * (SIZE // 6) + b"}"
    yield "a vector of many numbers", GOOD[:-1] + b",0" * half + b"]}"
    yield "nothing but spaces", b" " * SIZE
    yield "no text", b"\xff" * SIZE


def objects() -> Iterator[tuple[str, bytes]]:
    """MessagePack of 10 MB, or of a few bytes that promise more."""
    yield "arrays in arrays", b"\x91" * SIZE
    yield "maps in maps", b"\x81\xa1a" * (SIZE // 3)
    yield "an array of 2^32", b"\xdd" + b"\xff" * 4
    yield "a map of 2^32", b"\xdf" + b"\xff" * 4 + PACKED
    yield "a vector of 2^32", b"\x82\xb0condition_vector\xdd" + b"\xff" * 4
    yield "a sequence of 2^32", b"\x83" + PACKED + b"\xa8sequence\xdb" + b"\xff" * 4
    yield "bytes of 2^32", b"\x83" + PACKED + b"\xa1x\xc6" + b"\xff" * 4
    yield "a surplus field of small maps", b"\x83" + PACKED + b"\xa1x\xdd" + SIZE.to_bytes(4) + b"\x80" * SIZE
    # One number out of range: what else there is is looked at, for NaN.
    yield "small maps beside a number out of range", _out_of_range(b"\x80")
    yield "small lists beside a number out of range", _out_of_range(b"\x90")
    yield "floats beside a number out of range", _out_of_range(b"\xca\x00\x00\x00\x00")
    names = b"".join(b"\xa4" + number.to_bytes(4) + b"\xc0" for number in range(0x20202020, 0x20202020 + SIZE // 6))
    yield "names beside a number out of range", b"\xdf" + (SIZE // 6 + 2).to_bytes(4) + names + _BEYOND


_BEYOND = PACKED.replace(msgspec.msgpack.encode(1.0), msgspec.msgpack.encode(1e7), 1)


def _out_of_range(piece: bytes) -> bytes:
    count = SIZE // len(piece)
    return b"\x83\xa1x\xdd" + count.to_bytes(4) + piece * count + _BEYOND


def fetches() -> Iterator[tuple[str, bytes]]:
    """Parts of fetches: lies, and compressed batches of a few KB that stand for gigabytes."""
    record = bytes(1) + varint(0) * 2 + varint(1) + b"k" + varint(SIZE) + bytes(SIZE) + varint(0)
    yield "a record of 10 MB", batch_of(varint(len(record)) + record, 1)
    yield "2^31 records", batch_of(b"\x00", 2**31 - 1)
    yield "2^31 headers", batch_of(varint(12) + bytes(1) + varint(0) * 2 + varint(-1) * 2 + varint(2**31) + bytes(2), 1)
    yield (
        "a value of 2^31 bytes",
        batch_of(varint(12) + bytes(1) + varint(0) * 2 + varint(-1) + varint(2**31) + b"x", 1),
    )
    small = varint(6) + bytes(3) + varint(-1) * 2 + varint(0)
    most = MAX_UNCOMPRESSED_BYTES // (7 + RECORD_BYTES)
    yield "many small records", batch_of(small * (SIZE // 7), SIZE // 7)
    for codec, name in ((1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")):
        yield f"{name}: a gigabyte of zeros", batch_of(bytes(2**30), 1, codec)
        yield f"{name}: small records up to the limit, again and again", batch_of(small * most, most, codec) * 8
    lie = b"\xff\xff\xff\xff\x0f" + b"\x00a"
    yield "snappy: a length of 2^32", batch_of(b"", 1, 0)[:61] + lie


def cases() -> Iterator[Case]:
    """All of them, made one by one."""
    yield from (Case(f"JSON: {name}", value, _json) for name, value in texts())
    yield from (Case(f"MessagePack: {name}", value, _msgpack) for name, value in objects())
    yield from (Case(f"fetch: {name}", value, _fetch) for name, value in fetches())


def main() -> None:
    for case in cases():
        child = os.fork()
        if child == 0:
            _measure(case)
        _, status = os.waitpid(child, 0)
        if status:
            sys.stdout.write(json.dumps({"name": case.name, "status": status}) + "\n")


def _measure(case: Case) -> None:
    """In the child: its peak begins at what it had when it was forked."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    faulthandler.dump_traceback_later(MOST_S, exit=True)
    before = _peak_bytes()
    try:
        case.run(case.value)
        found: dict[str, Any] = {"bytes": len(case.value), "grown": _peak_bytes() - before}
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    used = resource.getrusage(resource.RUSAGE_SELF)
    found |= {"name": case.name, "seconds": round(used.ru_utime + used.ru_stime, 3)}
    os.write(1, json.dumps(found).encode() + b"\n")
    os._exit(0)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
