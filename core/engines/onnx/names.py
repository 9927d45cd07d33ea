"""Pairs of an input of a graph and the output that is its next value, told by their names."""

from __future__ import annotations

from collections.abc import Iterable

_BEFORE = ("0", "in", "prev", "old", "")  # h0, h_in, h_prev, h: h before the step
_AFTER = ("{}n", "{}next", "{}new", "{}out", "new{}", "next{}", "out{}")  # and after it


def pairs(inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, str]:
    """Input -> output, for every input with exactly one output of a fitting name, where no two inputs have the same."""
    plain = {output: _plain(output) for output in outputs}
    found = {name: fits for name in inputs if (fits := _fitting(_plain(name), plain))}
    taken = [output for fits in found.values() for output in fits]
    return {name: fits[0] for name, fits in found.items() if len(fits) == 1 and taken.count(fits[0]) == 1}


def _fitting(name: str, outputs: dict[str, str]) -> list[str]:
    stems = {name.removesuffix(ending) for ending in _BEFORE if name.endswith(ending)} - {""}
    wanted = {form.format(stem) for stem in stems for form in _AFTER}
    if name.endswith("0"):
        wanted.add(f"{name[:-1]}1")
    return [output for output, plain in outputs.items() if plain in wanted]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
