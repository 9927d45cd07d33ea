"""The table of outputs -> `Output`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.nearest import did_you_mean
from core.tasks.declaration import Field, Kind, Output
from core.tasks.forecasts import check_source_of_apply, with_names
from core.tasks.keys import FieldName, OutputKeys, accepted, fits, keys_of
from core.tasks.names import why_not_an_output
from core.tasks.tables import Once, read_keys
from core.tasks.toml_file import Place, shown

DEFAULT = "prediction"
"""The one output of a task that declares none."""
_ONLY_WITH = {
    "scale": ("sigmoid",),
    "shift": ("sigmoid",),
    "labels": ("softmax", "label"),
    "threshold": ("above",),
    "clear": ("above",),
    "changes": ("forecast",),
    "least": ("forecast",),
    "horizon": ("likelihood_ratio",),
}
_ONLY_OF: dict[str, Kind] = {
    "argmax_step": "window",
    **dict.fromkeys(("forecast_error", "forecast", "expected", "surprise", "likelihood_ratio", "leading"), "step"),
}
_ONE_NUMBER = ("argmax_step", "above", "error", "forecast_error", "label", "surprise", "likelihood_ratio", "leading")
"""Each gives one value, which has no names."""


def read_outputs(place: Place, values: Any, kind: Kind, fields: tuple[Field, ...]) -> tuple[Output, ...]:
    """Read the outputs, in their order; raises StartupError."""
    if not isinstance(values, dict) or not values:
        raise place.error("must be a table of at least one output, for instance prediction = {}")
    above: dict[str, Output] = {}
    for name, held in values.items():
        above[name] = with_names(place.under(name), _output(place, name, held, kind, above, values), above, fields)
    if not any(output.publish for output in above.values()):
        raise place.error("none is published: leave publish = false out of one of them")
    taken = Once()
    for field in fields:
        taken.take(Place(place.path, f"fields.{field.name}"), "field", [field.name])
    for name in above:
        taken.take(place.under(name), "output", [name], why_not_an_output)
    return tuple(above.values())


def _output(
    outputs: Place, name: str, values: Any, kind: Kind, above: Mapping[str, Output], all_outputs: Mapping[str, Any]
) -> Output:
    if not fits(name, FieldName):
        raise outputs.error(f"{shown(name)} is no name of an output: it must be {accepted(FieldName)}")
    place = outputs.under(name)
    keys = read_keys(place, values, OutputKeys)
    _check_source(place, keys, above, all_outputs)
    _check_apply(place, keys, values, kind)
    check_source_of_apply(place, keys, above)
    output = Output(
        name,
        "" if keys.of is not None else keys.tensor or name,
        keys.names,
        keys.unit,
        keys.apply,
        keys.of,
        keys.labels,
        keys.scale,
        keys.shift,
        keys.threshold,
        keys.threshold if keys.clear is None else keys.clear,
        keys.changes,
        keys.least,
        keys.horizon,
        keys.publish,
    )
    return _with_labels(place, output, above)


def _check_source(place: Place, keys: OutputKeys, above: Mapping[str, Output], all_outputs: Mapping[str, Any]) -> None:
    if keys.of is None:
        return
    if keys.tensor is not None:
        raise place.error(f"has both of = {shown(keys.of)} and tensor = {shown(keys.tensor)}: leave one out")
    if keys.apply is None:
        raise place.error(f"has of = {shown(keys.of)} and no apply, so it would be the same again: say what to apply")
    if keys.of in all_outputs and keys.of not in above:
        place.refuse("of", keys.of, "an output that stands above this one")
    if keys.of not in above:
        hint = did_you_mean(keys.of, above, "the outputs above it") if above else "; there is none above it"
        raise place.error(
            f"of is {shown(keys.of)}: there is no such output{hint}; what the model gives is named by tensor"
        )


def _check_apply(place: Place, keys: OutputKeys, values: Mapping[str, Any], kind: Kind) -> None:
    for key, applies in _ONLY_WITH.items():
        if key in values and keys.apply not in applies:
            raise place.error(f"{key} is for apply = {' and '.join(map(shown, applies))} alone: leave it out")
    if _ONLY_OF.get(keys.apply or "", kind) != kind:
        raise place.error(
            f"apply is {shown(keys.apply)}: it is for tasks of the kind {_ONLY_OF[keys.apply or '']} alone"
        )
    if kind == "window" and not keys.publish:
        raise place.error("publish is false: that is for tasks of the kind step alone; leave it out")
    if keys.names and keys.apply in _ONE_NUMBER:
        raise place.error(f"names are there, and apply = {shown(keys.apply)} gives one value without: leave them out")
    if keys.names and keys.labels:
        raise place.error("has both names and labels: leave one out")
    _check_threshold(place, keys, kind)
    for key in ("names", "labels"):
        Once().take(place, key, getattr(keys, key))


def _check_threshold(place: Place, keys: OutputKeys, kind: Kind) -> None:
    if keys.apply == "above" and keys.threshold is None:
        raise place.error(
            f"threshold is missing: it must be {next(k.accepted for k in keys_of(OutputKeys) if k.name == 'threshold')}"
        )
    if kind == "window" and keys.clear is not None:
        raise place.error(
            "clear is there, and it is for tasks of the kind step alone: a window is judged by itself, not by the one "
            "before it; leave it out"
        )
    if keys.clear is not None and keys.threshold is not None and keys.clear > keys.threshold:
        place.refuse("clear", keys.clear, f"at most threshold, which is {shown(keys.threshold)}")


def _with_labels(place: Place, output: Output, above: Mapping[str, Output]) -> Output:
    """A label is one of its own labels, or of those of the output that it is made of."""
    if output.apply != "label" or output.labels:
        return output
    labels = above[output.of].labels if output.of is not None else ()
    if not labels:
        raise place.error("labels are missing: name the classes here, or in the output that it is made of")
    return replace(output, labels=labels)
