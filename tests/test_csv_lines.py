"""Bytes into lines: in whatever pieces they come, and however their lines end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.csv.lines import MAX_LINE_BYTES, LineSplitter


def split(*pieces: bytes) -> list[bytes | None]:
    splitter = LineSplitter()
    return [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.end())


def lines_of(whole: bytes) -> list[bytes]:
    """The slow version: the whole input is there."""
    ends = [place for place in (whole.find(b"\r"), whole.find(b"\n")) if place >= 0]
    behind = whole[min(ends) :].lstrip(b"\r") if ends else b""
    if behind and not behind.startswith(b"\n"):
        return whole.splitlines()
    lines = [line.rstrip(b"\r") for line in whole.split(b"\n")]
    return lines if lines[-1] else lines[:-1]


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b",", b"\0", b"\xff", b"\xef\xbb\xbf"]), max_size=20),
    st.data(),
)
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))

    found = split(*(whole[first:end] for first, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)))

    assert found == lines_of(whole)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_lines_end_with_lf_crlf_or_cr(end: bytes) -> None:
    assert split(end.join([b"a", b"b", b"c"])) == [b"a", b"b", b"c"]


def test_a_crlf_may_be_cut_in_two_and_nothing_come_in_between() -> None:
    assert split(b"a\rb\r", b"", b"\n", b"c") == [b"a", b"b", b"c"]


def test_a_cr_inside_a_line_is_content_where_lines_end_with_lf() -> None:
    assert split(b"a\nb\rc\nd\n") == [b"a", b"b\rc", b"d"]


def test_a_crlf_that_is_cut_in_two_ends_one_line_among_cr() -> None:
    assert split(b"a\rb\r", b"\nc\r", b"d") == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=4), max_size=5
    ),
    st.data(),
)
def test_utf_16_becomes_utf_8(encoding: str, lines: list[str], data: st.DataObject) -> None:
    text = "".join(f"{line}\r\n" for line in ["header", *lines])
    whole = ("\ufeff" + text).encode(encoding)
    cut = data.draw(st.integers(0, len(whole)))

    assert split(whole[:cut], whole[cut:]) == [line.encode() for line in ["header", *lines]]


def test_half_a_character_of_utf_16_costs_its_line() -> None:
    whole = "\ufeffheader\nbad\n".encode("utf-16-le") + b"\x3d\xd8" + "bad\ngood\n".encode("utf-16-le") + b"x"

    header, bad, half, good, last = split(whole)

    assert (header, bad, good) == (b"header", b"bad", b"good")
    for line in (half, last):
        with pytest.raises(UnicodeDecodeError):
            line.decode()  # type: ignore[union-attr]


def test_a_line_that_is_too_long_costs_itself() -> None:
    assert split(b"a\n", b"x" * (MAX_LINE_BYTES + 1) + b"\nb\n") == [b"a", None, b"b"]
    assert split(b"a\n", *[b"x" * 1000] * (MAX_LINE_BYTES // 1000 + 2), b"\nb") == [b"a", None, b"b"]
