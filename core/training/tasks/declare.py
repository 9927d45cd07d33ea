"""The tables of a task file that a training writes: model, outputs, and what is normal of each field."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from core.arrays import Float64s
from core.tasks.declaration import Declaration
from core.tasks.names import why_not_an_output
from core.training.tasks.statistics import FieldStatistics

_MARGIN = 0.05
"""The share of the width of all values by which what is called normal is wider, on either side."""


@dataclass(frozen=True)
class OutputNames:
    """The names of a forecaster's outputs: those below, but where a field has one of them."""

    forecast: str
    expected: str
    surprise: str
    score: str
    leading: str
    alarm: str


@dataclass(frozen=True)
class FieldLimits:
    """The limits of the alarm: it begins at ``threshold`` and ends below ``clear``."""

    threshold: float
    clear: float


def names_for(declaration: Declaration) -> OutputNames:
    """Names of a forecaster's outputs that no field has."""
    wanted = ("forecast", "expected", "surprise", "score", "leading", "alarm")
    return OutputNames(*(free_name(declaration, name) for name in wanted))


def free_name(declaration: Declaration, name: str) -> str:
    """The name of an output, ``model_NAME`` where a field has it already."""
    taken = {each for field in declaration.fields for each in (field.name, *field.aliases)}
    return f"model_{name}" if name in taken or why_not_an_output(name) else name


def model_lines(path: Path, weights: Path, example: Path) -> list[str]:
    """The table of the model in the task file ``path``."""
    folder = path.absolute().parent
    files = (("file", weights), ("example", example))
    return [f"{key} = {_text(os.path.relpath(file.absolute(), folder))}" for key, file in files]


def output_lines(names: OutputNames, least: Float64s, horizon: int, limits: FieldLimits | None) -> list[str]:
    """The table of the outputs; without limits there is no alarm."""
    numbers = ", ".join(f"{_rounded(each):g}" for each in least.tolist())
    lines = [
        f'{names.forecast} = {{ apply = "forecast", changes = true, least = [{numbers}], publish = false }}',
        f'{names.expected} = {{ of = "{names.forecast}", apply = "expected" }}',
        f'{names.surprise} = {{ of = "{names.forecast}", apply = "surprise" }}',
        f'{names.score} = {{ of = "{names.forecast}", apply = "likelihood_ratio", horizon = {horizon} }}',
        f'{names.leading} = {{ of = "{names.score}", apply = "leading" }}',
    ]
    if limits is not None:
        told = f"threshold = {limits.threshold:.6g}, clear = {limits.clear:.6g}"
        lines.append(f'{names.alarm} = {{ of = "{names.score}", apply = "above", {told} }}')
    return lines


def normal_ranges(declaration: Declaration, statistics: FieldStatistics) -> dict[str, tuple[float, float]]:
    """The range of what was learnt from, a little widened, of each field that declares none and is not constant."""
    found = {}
    for field in declaration.fields:
        place = declaration.places()[field.name]
        low, high = float(statistics.low[place].min()), float(statistics.high[place].max())
        if field.normal is None and high > low:
            margin = _MARGIN * (high - low)
            found[field.name] = (max(field.low, _short(low - margin, -1)), min(field.high, _short(high + margin, 1)))
    return found


def _short(number: float, way: int) -> float:
    """A number of few digits, not far beyond another one: below it with -1, above it with 1."""
    if number == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(number))) - 3)
    return float(f"{(math.ceil(way * number / unit) * way) * unit:.4g}")


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")


def _text(text: str) -> str:
    return json.dumps(text.replace(os.sep, "/"), ensure_ascii=False)
