"""Tables of a task file -> their keys, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from core.nearest import did_you_mean
from core.tasks.keys import K, Key, fits, keys_of
from core.tasks.toml_file import Place, shown

WhyNot = Callable[[str], str | None]


def anything(_: str) -> None:
    """Nothing speaks against any name."""


def read_keys(place: Place, values: Any, table: type[K]) -> K:
    """Read the keys of a table.

    Raises:
        StartupError: an unknown key, one that is missing, or a value that is not accepted.
    """
    known = {key.name: key for key in keys_of(table)}
    refuse_unknown(place, values, known)
    for key in known.values():
        if key.default is None and key.name not in values:
            raise place.error(f"{key.name} is missing: it must be {key.accepted}")
    return table(**{name: _value(place, known[name], value) for name, value in values.items()})


def refuse_unknown(place: Place, values: Any, known: Mapping[str, Any]) -> None:
    """Raise StartupError: this is no table, or has a key that is not known."""
    if not isinstance(values, dict):
        raise place.error(f"is {shown(values)}: must be a table")
    for name in values:
        if name not in known:
            raise place.error(f"unknown key {shown(name)}{did_you_mean(name, known, 'the keys')}")


def _value(place: Place, key: Key, value: Any) -> Any:
    if not fits(value, key.type):
        place.refuse(key.name, value, key.accepted)
    return msgspec.convert(value, key.type)


class Once:
    """Holds names that each may stand for one thing only, by the table that has taken them."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def take(self, place: Place, what: str, names: Iterable[str], why_not: WhyNot = anything) -> None:
        """Take the names of a table; raises StartupError: one has a meaning already, or is taken."""
        for name in names:
            if why := why_not(name):
                raise place.error(f"{what} {name!r} cannot be used: {why}; choose another name")
            if name in self._owners:
                other = self._owners[name]
                whose = "is there twice" if other == place.table else f"is taken by [{other}]"
                raise place.error(f"{what} {name!r} {whose}: each must be another")
            self._owners[name] = place.table
