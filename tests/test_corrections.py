"""Lines of corrected dead letters, and times, as a command takes them."""

from __future__ import annotations

import json

import pytest

from core.errors import StartupError
from stream_app.cli.since import since_ms
from stream_app.letters.corrections import read_corrections


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "line 1: "),
        (b'{"topic": "t", "partition": true, "offset": 1, "value": ""}', "topic, partition and offset"),
        (b'{"topic": "t", "partition": 1, "offset": 1, "value": null}', "there is no value"),
        (b'{"topic": "t", "partition": 1, "offset": 1, "value": [1]}', "value is neither text nor an object"),
        (b'{"topic": "t", "partition": 1, "offset": 1, "value": "", "headers": ["a"]}', "headers must be a list of"),
        (b'{"topic": "t", "partition": 1, "offset": 1, "value_base64": "?"}', "value_base64 is not base64"),
        (b'{"topic": "t", "partition": 1, "offset": 1, "value": "", "value_base64": ""}', "are both there"),
    ],
)
def test_a_line_that_is_no_correction_is_named(line: bytes, why: str) -> None:
    with pytest.raises(StartupError, match=f"^c.jsonl, line 1: .*{why}" if "line 1" not in why else "^c.jsonl, line 1"):
        read_corrections([line], "c.jsonl")


def test_headers_of_a_correction_are_a_list_or_an_object_and_may_be_none() -> None:
    place = {"topic": "t", "partition": 1, "value": ""}
    pair, packed = {"name": "a", "value": "1"}, {"name": "b", "value_base64": "/wA="}
    forms = [[pair, packed], {"a": "1"}, [], None]
    lines = [json.dumps(place | {"offset": number, "headers": form}).encode() for number, form in enumerate(forms)]

    found = read_corrections([*lines, json.dumps(place | {"offset": 9}).encode()], "c.jsonl").values()

    assert [each.headers for each in found] == [[("a", b"1"), ("b", b"\xff\0")], [("a", b"1")], [], [], None]


def test_corrections_are_bytes_text_or_the_object_itself() -> None:
    lines = [
        b'{"topic": "t", "partition": 1, "offset": 1, "value_base64": "/wA="}',
        b"",
        b'{"topic": "t", "partition": 1, "offset": 2, "value": "text", "key": "k"}',
        b'{"topic": "t", "partition": 1, "offset": 3, "value": {"step": 1}}',
    ]

    found = read_corrections(lines, "c.jsonl")

    assert [(place, each.line, each.value, each.key) for place, each in found.items()] == [
        ((("t", 1), 1), 1, b"\xff\x00", None),
        ((("t", 1), 2), 3, b"text", b"k"),
        ((("t", 1), 3), 4, b'{"step":1}', None),
    ]
    with pytest.raises(StartupError, match="lines 1 and 5: two corrections of one record"):
        read_corrections([*lines, lines[0]], "c.jsonl")


def test_a_time_is_a_date_or_so_long_ago() -> None:
    assert since_ms("2026-11-30T14:00") == since_ms("2026-11-30T15:00+01:00") == 1_796_047_200_000
    assert since_ms("90s", now_ms=100_000) == 10_000
    assert since_ms("3d", now_ms=3 * 86_400_000) == 0
    assert since_ms("4d", now_ms=3 * 86_400_000) == since_ms("1960-01-01") == 0
    with pytest.raises(StartupError, match="'yesterday' is no time"):
        since_ms("yesterday")
