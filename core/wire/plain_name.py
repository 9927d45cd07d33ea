"""Names of fields as people write them, made comparable."""

from __future__ import annotations

import re

_WRITTEN_IN_DIFFERENT_WAYS = re.compile(r"[\s_.-]+")


def plain_name(name: str) -> str:
    """A name without capitals, blanks, underscores, dashes and dots."""
    return _WRITTEN_IN_DIFFERENT_WAYS.sub("", name).casefold()
