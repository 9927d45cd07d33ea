"""Numbers in headers, which anybody may have written."""

from __future__ import annotations

import pytest

from stream_app.headers import number, signed_number

NONE = [None, b"", b"-", b"--1", b"+1", b" 1", b"1_0", b"0x1", b"1.0", "\u0661".encode(), b"9" * 20, b"9" * 5_000]


@pytest.mark.parametrize("held", [*NONE, b"-1"])
def test_what_is_no_offset_is_none(held: bytes | None) -> None:
    assert number(held) is None


@pytest.mark.parametrize("held", NONE)
def test_what_is_no_number_is_none(held: bytes | None) -> None:
    assert signed_number(held) is None


def test_numbers_are_read_up_to_the_highest_offset() -> None:
    highest = 2**63 - 1

    assert [number(b"0"), number(b"007"), number(b"%d" % highest)] == [0, 7, highest]
    assert [signed_number(b"-1"), signed_number(b"0"), signed_number(b"%d" % -highest)] == [-1, 0, -highest]
