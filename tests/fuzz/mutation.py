"""Inputs for fuzzing: good ones damaged by chance. The same random numbers give the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

BYTES = (0x00, 0x01, 0x7F, 0x80, 0x81, 0xFE, 0xFF, 0x20, 0x22, 0x2C, 0x5B, 0x5C, 0x5D, 0x7B, 0x7D)
INTEGERS = (
    *(0, 1, -1, 2, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, -(2**31), -(2**31) - 1),
    *(2**53 - 1, 2**53, 2**62, 2**63 - 1, -(2**63), -(2**53), 10**6, 10**6 + 1),
)
CHANGES = (0, 1, 1, 1, 2, 2, 3, 5)  # in one input
LARGEST = 16_384  # of an input that grew by copying; a hostile size is a case of its own (`tests.fuzz.hostile`)


class Mutator:
    """Makes inputs of good ones.

    Args:
        seeds: good inputs.
        tokens: pieces that mean something to the reader.
    """

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        self._seeds = list(seeds)
        self._tokens = [*tokens, *(number.to_bytes(size, order, signed=True) for number, size, order in _layouts())]

    def input(self, random: Random) -> bytes:
        """One input: a good one with some changes; now and then nothing but noise, or as it was."""
        if random.random() < 0.02:
            return random.randbytes(random.randrange(80))
        raw = bytearray(random.choice(self._seeds))
        for _ in range(random.choice(CHANGES)):
            random.choice(_CHANGES)(self, raw, random)
            del raw[LARGEST:]
        return bytes(raw)

    def _flip(self, raw: bytearray, random: Random) -> None:
        if raw:
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)

    def _set(self, raw: bytearray, random: Random) -> None:
        if raw:
            raw[random.randrange(len(raw))] = random.choice(BYTES)

    def _overwrite(self, raw: bytearray, random: Random) -> None:
        token, at = random.choice(self._tokens), random.randint(0, len(raw))
        raw[at : at + len(token)] = token

    def _insert(self, raw: bytearray, random: Random) -> None:
        at = random.randint(0, len(raw))
        raw[at:at] = random.choice(self._tokens)

    def _remove(self, raw: bytearray, random: Random) -> None:
        at = random.randint(0, len(raw))
        del raw[at : at + random.choice((1, 1, 2, 3, 4, 8, 30))]

    def _repeat(self, raw: bytearray, random: Random) -> None:
        at, to = random.randint(0, len(raw)), random.randint(0, len(raw))
        raw[to:to] = raw[at : at + random.randint(1, 60)] * random.choice((1, 1, 1, 2, 9))

    def _cut(self, raw: bytearray, random: Random) -> None:
        if random.random() < 0.3:  # most of what is cut ends the same way
            del raw[random.randint(0, len(raw)) :]

    def _splice(self, raw: bytearray, random: Random) -> None:
        other = random.choice(self._seeds)
        raw[random.randint(0, len(raw)) :] = other[random.randint(0, len(other)) :]

    def _nest(self, raw: bytearray, random: Random) -> None:
        """Brackets around a piece, few or many, closed or not."""
        opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b"")))
        depth, at = random.choice((1, 2, 50, 1_500)), random.randint(0, len(raw))
        end = min(len(raw), at + random.randint(0, 8))
        raw[at:end] = opening * depth + raw[at:end] + closing * random.choice((depth, depth, 0))


_CHANGES: tuple[Callable[[Mutator, bytearray, Random], None], ...] = (
    *(Mutator._flip, Mutator._flip, Mutator._set, Mutator._set, Mutator._overwrite, Mutator._overwrite),
    *(Mutator._insert, Mutator._insert, Mutator._remove, Mutator._repeat, Mutator._cut, Mutator._splice, Mutator._nest),
)


def _layouts() -> list[tuple[int, int, str]]:
    fits = []
    for number in INTEGERS:
        for size in (1, 2, 4, 8):
            if -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
                fits += [(number, size, "big"), (number, size, "little")]
    return fits
