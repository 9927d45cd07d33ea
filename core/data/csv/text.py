"""A line's bytes -> its text."""

from __future__ import annotations

from core.data.csv.lines import MAX_LINE_BYTES
from core.errors import RecordError

BOM = b"\xef\xbb\xbf"
UTF_8, WINDOWS = "utf-8", "cp1252"


def text_of(line: bytes | None, encoding: str = UTF_8) -> str:
    """The text of a line, without byte order marks at its beginning; None is a line that was too long.

    Raises:
        RecordError: the line is too long, or no text.
    """
    if line is None:
        raise RecordError("not_decodable", f"is longer than {MAX_LINE_BYTES:,} bytes")
    while line.startswith(BOM):
        line = line[len(BOM) :]
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecordError("not_decodable", f"is not UTF-8: {error.reason} at byte {error.start}") from error


def refuse_nul(text: str) -> None:
    """Raise RecordError where a line of a CSV holds NUL bytes: what stands before them may be cut off."""
    if "\0" in text:
        only = " only" if not text.strip("\0") else ""
        raise RecordError("not_decodable", f"holds NUL bytes{only}: its writer was interrupted, or it is no text")
