"""Outputs that are made of a forecast: which may be made of which, and the names of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.tasks.declaration import Field, Output
from core.tasks.keys import DEFAULT_HORIZON, OutputKeys
from core.tasks.toml_file import Place, shown

NEEDS = {
    "expected": "forecast",
    "surprise": "forecast",
    "likelihood_ratio": "forecast",
    "leading": "likelihood_ratio",
}
"""By function, the one that the output must have which it is made of."""
_TAKEN_BY = {
    "argmax_step": (),
    "forecast": ("expected", "surprise", "likelihood_ratio"),
    "expected": (),
    "surprise": ("above",),
    "likelihood_ratio": ("leading", "above"),
    "leading": (),
}
"""By function, those that can be applied to its output; to that of any other function all can."""


def check_source_of_apply(place: Place, keys: OutputKeys, above: Mapping[str, Output]) -> None:
    """Raise StartupError: an output cannot be made of the one that it names, or needs to name one."""
    source = None if keys.of is None else above[keys.of].apply
    needed = NEEDS.get(keys.apply or "")
    if needed is not None and source != needed:
        what = "of is missing" if keys.of is None else f"of is {shown(keys.of)}"
        raise place.error(
            f"apply is {shown(keys.apply)}, and {what}: name an output above with apply = {shown(needed)} by of"
        )
    can = _TAKEN_BY.get(source or "")
    if can is not None and keys.apply not in can:
        raise place.error(
            f"of is {shown(keys.of)}, whose apply is {shown(source)}: {_listed(can)} can be applied to it, not "
            f"{shown(keys.apply)}"
        )


def with_names(place: Place, output: Output, above: Mapping[str, Output], fields: tuple[Field, ...]) -> Output:
    """The output with the names that the fields' columns or its forecast give its numbers; raises StartupError."""
    if output.apply == "forecast":
        return _forecast(place, output, fields)
    if output.apply == "expected":
        return replace(output, names=_source(output, above).names)
    if output.apply == "leading":
        return replace(output, labels=_source(_source(output, above), above).names)
    if output.apply == "likelihood_ratio":
        return replace(output, horizon=output.horizon or DEFAULT_HORIZON)
    return output


def _forecast(place: Place, output: Output, fields: tuple[Field, ...]) -> Output:
    if not output.names and any(field.overlap for field in fields):
        raise place.error("names are missing: with an overlap of a field, name the numbers that are forecast")
    names = output.names or tuple(column for field in fields for column in field.columns)
    if output.least and len(output.least) != len(names):
        raise place.error(
            f"least has {len(output.least)} numbers: {len(names)} are needed, one for each that is forecast"
        )
    return replace(output, names=names, least=output.least or (0.0,) * len(names))


def _source(output: Output, above: Mapping[str, Output]) -> Output:
    return above[output.of or ""]


def _listed(applies: tuple[str, ...]) -> str:
    return " and ".join(applies) if applies else "nothing"
