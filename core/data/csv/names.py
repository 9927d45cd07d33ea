"""Names that people write -> the names of fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from core.callbacks import OnNote
from core.errors import StartupError
from core.native.names import near_field_of
from core.nearest import nearest
from core.wire.plain_name import LONGEST_NAME, plain_name

Renamed = Mapping[str, str]  # field -> its name in the file

MAX_NOTICED = 20  # names; a stranger's feed could hold any number of them
SHOWN = 60  # characters of a name in a message
# Besides those that a worker counts as near misses, see `core.wire.near_names`.
_OTHER_WORDS = {
    "heat": "sequence",
    "heatnumber": "sequence",
    "index": "step",
    "streamid": "stream",
    "conditions": "condition_vector",
    "last": "end",
}


def meant(name: str, known: Iterable[str], alike: float = 0.8) -> str | None:
    """The known name that ``name`` is a near miss of, ``alike`` from 0 to 1; None where it resembles none."""
    if len(name) > LONGEST_NAME:
        return None
    by_plain = {plain_name(each): each for each in known}
    short = plain_name(re.sub(r"[\[(].*", "", name))  # without a unit in brackets
    if short in by_plain:
        return by_plain[short]
    other = near_field_of(short.encode("utf-8", "replace")) or _OTHER_WORDS.get(short)
    if other in by_plain.values():
        return other
    near = nearest(short, by_plain, alike)
    return None if near is None else by_plain[near]


def shown(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    more = f" and {len(names) - MAX_NOTICED:,} more" if len(names) > MAX_NOTICED else ""
    return ", ".join(name[:SHOWN] for name in names[:MAX_NOTICED]) + more


def parse_renamed(texts: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Read ``--column FIELD=NAME``: each field with its name in the file.

    Raises:
        StartupError: a text of another form, an unknown field, or one that is there twice.
    """
    renamed: dict[str, str] = {}
    for text in texts:
        field, equals, name = (part.strip() for part in text.partition("="))
        if not (equals and name):
            raise StartupError(f"--column {text!r} is not FIELD=NAME")
        if field not in known:
            raise StartupError(f"--column {text!r}: there is no field {field!r}; the fields are {', '.join(known)}")
        if field in renamed:
            raise StartupError(f"--column names the field {field} twice")
        renamed[field] = name
    return renamed


class IgnoredFields:
    """Reports each ignored field once, with the right name if it is a near miss."""

    def __init__(self, known: Sequence[str], notice: OnNote) -> None:
        self._known = known
        self._notice = notice
        self._seen = {*known}

    def look(self, names: Iterable[str]) -> None:
        """Look at the names of one record."""
        new = [name for name in names if name not in self._seen]
        for name in new:
            if len(self._seen) - len(self._known) == MAX_NOTICED:
                return
            self._seen.add(name)
            right = meant(name, self._known)
            hint = f": is it meant as {right!r}?" if right else ""
            self._notice(f"the field {name[:SHOWN]!r} is not used{hint}")
