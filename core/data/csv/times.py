"""Cells -> instants: ISO 8601, with or without a zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ISO = re.compile(r"\d{4}([-/])\d\d\1\d\d([T ].*)?")
_GERMAN = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})([T ]+(\d\d?:.*))?")


class Times:
    """Reads the times of one file, as microseconds since 1970. ``without_zone``: one had none, and counted as UTC."""

    def __init__(self) -> None:
        self.without_zone = False

    def microseconds(self, text: str) -> int | None:
        """The instant that a text names; None where it is no ISO 8601 (nor 2026/12/31 or 31.12.2026 with a time)."""
        if not text:
            return None
        text = text.strip()
        if (german := _GERMAN.fullmatch(text)) is not None:
            day, month, year, _, clock = german.groups()
            text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{'0' * (clock[1] == ':')}{clock}" if clock else "")
        elif not _ISO.fullmatch(text):
            return None
        try:
            time = datetime.fromisoformat(text.replace("/", "-"))
        except ValueError:
            return None
        if time.tzinfo is None:
            self.without_zone = True
            time = time.replace(tzinfo=UTC)
        return (time - _EPOCH) // _MICROSECOND
