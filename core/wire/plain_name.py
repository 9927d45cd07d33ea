"""Names of fields as people write them, made comparable."""

from __future__ import annotations

import re

LONGEST_NAME = 256
"""Characters. Whatever is longer is no name, and may have a million of them."""

_WRITTEN_IN_DIFFERENT_WAYS = re.compile(r"[\s_.-]+")


def plain_name(name: str) -> str:
    """A name without capitals, blanks, underscores, dashes and dots; one above `LONGEST_NAME` as it is."""
    if len(name) > LONGEST_NAME:
        return name
    return _WRITTEN_IN_DIFFERENT_WAYS.sub("", name).casefold()
