"""Turn Kafka's own log into plain words: the names of its properties, and its errors without Java around them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.nearest import nearest

# Where a line begins with these, what follows is what Kafka means to say.
_JAVA = re.compile(r'^(Exception in thread "[^"]*" |Caused by: )?((?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error): )')
_KNOWN = re.compile(r"^\t([a-z][a-z0-9.]*) = ", re.MULTILINE)
# Names that a listener, or a part that somebody adds to Kafka, makes up.
_FREE = re.compile(r"listener\.name\..+|super\.users|.*\.(class|classes|reporters)\..+")
_NEAR = 0.85


def plain(line: str) -> str:
    """A line of Kafka's or Java's without its class names and time."""
    return _JAVA.sub("", re.sub(r"^\d{4}-\S+ +[A-Z]+ +", "", line.strip()))


def misspelt(names: Iterable[str], log: str) -> dict[str, str]:
    """Return the properties that Kafka does not know and silently ignores, each with the one that was probably meant.

    Args:
        log: of a broker that has started; it lists all properties that there are.
    """
    known = set(_KNOWN.findall(log))
    found = {name: nearest(name, known, _NEAR) for name in names if name not in known and not _FREE.fullmatch(name)}
    return {name: near for name, near in found.items() if near}
