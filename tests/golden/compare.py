"""Compare what a worker writes with what was recorded: byte for byte, but for the numbers that a model computes.

The compiled LSTM gives the same bits with AVX-512 and with AVX2, not without both; torch's scores may differ between
machines. So these may differ by `TOLERANCE`: ``prediction`` in outputs of signals, ``probability`` in scores, and h and
c in the states of signals (with the checksum over them). The layout of a state is written out here once more, so that
a change of the code that packs states cannot hide itself.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import zip_longest

from msgspec.structs import replace

from tests.golden.scenarios import Found, Written

TOLERANCE = 1e-6
"""Of a number; relative above 1, as float32 is."""

_JSON = re.compile(rb'(?<!\\)"(?:prediction|probability)":(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=[,}])')
_MSGPACK = re.compile(rb"(?:\xaaprediction|\xabprobability)(\xca.{4}|\xcb.{8})", re.DOTALL)
_HEAD_BYTES, _EXTENSION_BYTES, _CRC_BYTES = 68, 40, 4

Numbers = tuple[float, ...]
Parts = Callable[[bytes], tuple[bytes, Numbers]]
"""A value's bytes without the numbers that may differ, and these numbers."""


def differences(task: str, expected: Found, found: Found, restored: bool = False) -> list[str]:
    """Lines that say what differs.

    Args:
        restored: the worker has read its states at the stage's beginning. Then it counts otherwise, evicts streams in
            another order, and deletes the segments that are no longer needed one commit later.
    """
    if restored:
        expected, found = _by_stream(expected), _by_stream(found)
    lines = [
        *_listed("output", expected.outputs, found.outputs, output_parts),
        *_listed("dead letter", expected.letters, found.letters, _whole),
        *_listed("state", expected.states, found.states, signal_state_parts if task == "signal" else _whole),
    ]
    if expected.counts != found.counts and not restored:
        lines.append(f"counts: {found.counts}, recorded: {expected.counts}")
    return lines


def _by_stream(found: Found) -> Found:
    """Outputs stream by stream, and no tombstones."""
    outputs = sorted(found.outputs, key=lambda one: (one.partition, one.key or b""))
    return replace(found, outputs=outputs, states=[one for one in found.states if one.value is not None])


def _listed(what: str, expected: list[Written], found: list[Written], parts: Parts) -> Iterator[str]:
    for number, (want, got) in enumerate(zip_longest(expected, found)):
        if want is None or got is None or not _same(want, got, parts):
            yield f"{what} {number}: {got}, recorded: {want}"


def _same(want: Written, got: Written, parts: Parts) -> bool:
    if (want.partition, want.key, want.headers) != (got.partition, got.key, got.headers):
        return False
    if want.value is None or got.value is None:
        return want.value is got.value
    (want_bytes, want_numbers), (got_bytes, got_numbers) = parts(want.value), parts(got.value)
    return want_bytes == got_bytes and are_close(want_numbers, got_numbers)


def are_close(want: Numbers, got: Numbers) -> bool:
    """True for as many numbers, each within the tolerance; NaN is close to nothing."""
    return len(want) == len(got) and all(
        abs(a - b) <= TOLERANCE * max(1, abs(a)) for a, b in zip(want, got, strict=True)
    )


def output_parts(value: bytes) -> tuple[bytes, Numbers]:
    """The bytes of an output without its number, and the number; none where it is null."""
    match = (_JSON if value[:1] == b"{" else _MSGPACK).search(value)
    if match is None:
        return value, ()
    begin, end = match.span(1)
    text = match[1]
    if value[:1] == b"{":
        return value[:begin] + b"#" + value[end:], (float(text),)
    (number,) = struct.unpack(">f" if text[:1] == b"\xca" else ">d", text[1:])
    return value[:begin] + text[:1] + value[end:], (number,)


def _whole(value: bytes) -> tuple[bytes, Numbers]:
    return value, ()


def signal_state_parts(blob: bytes) -> tuple[bytes, Numbers]:
    """The head of a state of a signal, and its h and c; its checksum must fit."""
    payload, crc = blob[:-_CRC_BYTES], blob[-_CRC_BYTES:]
    assert crc == zlib.crc32(payload).to_bytes(_CRC_BYTES, "little"), "a state with a wrong checksum"
    version, _, sequence_bytes, previous_bytes = payload[:4]
    begin = _HEAD_BYTES + (_EXTENSION_BYTES if version == 2 else 0) + sequence_bytes + previous_bytes
    if (len(payload) - begin) % 4:
        return payload, ()
    return payload[:begin], tuple(number for (number,) in struct.iter_unpack("<f", payload[begin:]))
