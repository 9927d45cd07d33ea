"""A task file to begin with: its text, with a comment for each thing that somebody has to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import StartupError
from core.tasks.keys import TopicPart, accepted, fits
from core.tasks.reading import SHIPPED, declare
from core.tasks.toml_file import parse_tables

IDLE_FROM_S, IDLE_PERIODS = 30.0, 10
LONGEST_IDLE_S = 31_536_000
"""A period from which on a worker's own idle timeout would end sequences, and the periods that end one then."""


@dataclass(frozen=True)
class DraftField:
    """A field; ``columns`` are given where they differ from the default."""

    name: str
    length: int | None = None
    columns: tuple[str, ...] = ()
    unit: str = ""
    comment: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Draft:
    """The facts about a task that its source tells.

    ``model`` is the model's file, ``example`` the one beside it to compare with. ``states`` are the pairs of the graph
    that are known, ``outputs`` the outputs and their tensors. ``window`` is the number of samples in a window, None for
    a model that makes steps. ``notes`` are written above everything. Of a file of samples, ``history`` is its name,
    ``renamed`` the columns that say when and of which stream a sample is, where their names are not known, and
    ``period_s`` the seconds between two samples, where their times tell it.
    """

    fields: tuple[DraftField, ...]
    model: str | None = None
    input: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    example: str | None = None
    window: int | None = None
    history: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    period_s: float | None = None


def write_draft(name: str, draft: Draft, path: Path) -> None:
    """Write the file of a task; raises StartupError: it is there already, or cannot be written."""
    text = draft_text(name, draft)
    declare(path, parse_tables(path, text.encode()), need_files=False)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise StartupError(f"{path} is there already: choose another name, or move it away") from error
    except OSError as error:
        raise StartupError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_task_name(name: str) -> None:
    """Raise StartupError: a task cannot have this name."""
    if not fits(name, TopicPart):
        raise StartupError(f"{name!r} is no name of a task: it must be {accepted(TopicPart)}")
    if name in SHIPPED:
        raise StartupError(f"the task {name!r} ships with caststream: choose another name")


def draft_text(name: str, draft: Draft) -> str:
    """The text of the file."""
    parts = (
        _head(name, draft),
        _fields(draft),
        _window(draft),
        _model(name, draft),
        _outputs(draft),
        _train(draft),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(name: str, draft: Draft) -> Iterator[str]:
    yield from (f"# {note}" for note in draft.notes)
    yield f"name = {quoted(name)}"
    if draft.window is None:
        yield 'kind = "step"        # or "window": the model looks at a window of samples; [window] says of how many'
    else:
        yield 'kind = "window"      # the model looks at a window of samples and carries no state'
    yield ""
    yield f"# [topics]           # by default {name}-samples and {name}-outputs"
    yield from _rules(draft)
    yield ""


def _fields(draft: Draft) -> Iterator[str]:
    yield "# Their order is the order of the model's input. Further keys: range = [low, high] (a value outside of it"
    yield '# is refused), normal = [low, high] (outside of it: counted), alias = ["other name"], missing = "hold".'
    yield "[fields]"
    yield from map(_field, draft.fields)
    yield ""


def _field(field: DraftField) -> str:
    keys = []
    if field.length is not None:
        keys.append(f"length = {field.length}")
    if field.columns:
        keys.append(f"columns = [{', '.join(map(quoted, field.columns))}]")
    if field.unit:
        keys.append(f"unit = {quoted(field.unit)}")
    if field.missing:
        keys.append(f"missing = {quoted(field.missing)}")
    held = f"{{ {', '.join(keys)} }}" if keys else "{}"
    return f"{field.name} = {held}" + (f"    # {field.comment}" if field.comment else "")


def _window(draft: Draft) -> Iterator[str]:
    if draft.window is not None:
        yield "[window]             # all three count samples"
        yield f"length = {draft.window}    # the most that an output looks at"
        yield f"# first = {draft.window}    # before the first output of a sequence"
        yield "# hop = 30           # between two outputs"
        yield ""


def _model(name: str, draft: Draft) -> Iterator[str]:
    yield "[model]"
    if draft.history is None:
        yield f"file = {quoted(draft.model or f'{name}.onnx')}    # relative to this file"
    else:
        yield f"# `caststream train {name}.toml {draft.history}` writes it; or name a model of your own, an .onnx file"
        yield f"file = {quoted(f'{name}.safetensors')}    # relative to this file"
    if draft.input is None:
        yield '# input = "x"         # the input of the graph that takes the fields'
    else:
        yield f"input = {quoted(draft.input)}"
    if draft.states:
        yield f"states = {{ {', '.join(f'{quoted(old)} = {quoted(new)}' for old, new in draft.states.items())} }}"
    elif draft.window is None:
        yield '# states = { h0 = "hn" }    # the input of the graph = the output that is its next value'
    for constant in draft.constants:
        yield f"# constants = {{ {quoted(constant)} = 0 }}    # say its value"
    shown = "example = " + quoted(draft.example or "example.npz")
    yield f"{'' if draft.example else '# '}{shown}    # what your framework makes of some 200 steps, to compare with"
    yield ""


def _outputs(draft: Draft) -> Iterator[str]:
    yield '# Further keys: names = ["a", "b"], unit, apply = "sigmoid", "above", "forecast_error" and others.'
    yield "[outputs]"
    for name, tensor in (draft.outputs or {"prediction": "prediction"}).items():
        yield f"{name} = {'{}' if tensor == name else f'{{ tensor = {quoted(tensor)} }}'}"


def _rules(draft: Draft) -> Iterator[str]:
    if draft.period_s is None or draft.period_s < IDLE_FROM_S:
        yield "# [rules]            # gap_policy, max_gap, idle_timeout, max_step_jump of this task alone"
        return
    idle_s = min(IDLE_PERIODS * draft.period_s, LONGEST_IDLE_S)
    yield f"# A sample comes every {draft.period_s:g} s. Further keys: gap_policy, max_gap, max_step_jump."
    yield "[rules]"
    yield f"idle_timeout = {idle_s:g}    # seconds of silence that end a sequence"


def _train(draft: Draft) -> Iterator[str]:
    """The table of the training, for a draft of a history."""
    if draft.history is None:
        return
    yield ""
    if draft.renamed:
        names = ", ".join(f"{what} = {quoted(name)}" for what, name in draft.renamed.items())
        yield "[train]              # what caststream train should know"
        yield f"columns = {{ {names} }}"
    else:
        yield "# [train]            # what caststream train should know; all of it has a default"
    yield "# horizon = 30              # samples over which the score is averaged"
    yield '# false_alarms = "1/week"   # of a stream, for which the threshold of the alarm is chosen'


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False)
