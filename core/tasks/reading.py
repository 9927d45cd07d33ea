"""A task file -> its `Declaration`. Every error says which file, table and key, and what is accepted there."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import StartupError
from core.nearest import did_you_mean
from core.tasks.declaration import Declaration, Kind, TaskRules, Topics, Window
from core.tasks.fields import read_fields
from core.tasks.keys import RuleKeys, TaskKeys, TopicKeys, WindowKeys, keys_of
from core.tasks.models import read_model
from core.tasks.outputs import DEFAULT, read_outputs
from core.tasks.tables import Once, read_keys, refuse_unknown
from core.tasks.toml_file import Place, read_tables
from core.tasks.training import read_training

SHIPPED = ("signal", "casting")
"""The tasks that ship with the package."""
NEEDED_TABLES = ("fields", "model")
_TABLES = ("topics", "fields", "rules", "window", "model", "outputs", "train")
_HERE = Path(__file__).resolve().parent
_FIRST = 100
_SHARED_TOPIC = "dead-letters"


def read_declaration(path: Path | str, need_files: bool = True) -> Declaration:
    """Read a task file.

    Args:
        path: the file; names of files in it are relative to its folder.
        need_files: also look whether the model's files are there.

    Raises:
        StartupError: it cannot be used: file, table, key, value, and what is accepted.
    """
    path = Path(path)
    return declare(path, read_tables(path), need_files)


def declare(path: Path, values: dict[str, Any], need_files: bool = True) -> Declaration:
    """Make the declaration of the tables of a file; raises StartupError as `read_declaration`."""
    place = Place(path)
    keys = _task_keys(place, values)
    if keys.name in SHIPPED and path.resolve().parent != _HERE:
        place.refuse("name", keys.name, f"another one: {' and '.join(SHIPPED)} ship with caststream")
    fields = read_fields(place.under("fields"), values["fields"])
    model = read_model(place.under("model"), values["model"], need_files)
    outputs = read_outputs(place.under("outputs"), values.get("outputs", {DEFAULT: {}}), keys.kind, fields)
    return Declaration(
        keys.name,
        keys.kind,
        _topics(place.under("topics"), values.get("topics", {}), keys.name),
        fields,
        model,
        outputs,
        _window(place.under("window"), values.get("window"), keys.kind),
        _rules(place.under("rules"), values.get("rules", {})),
        path,
        read_training(place.under("train"), values.get("train", {}), keys.kind),
    )


def read_to_train(path: Path, model: Path) -> Declaration:
    """Read a task file whose model is still to be made: its tables of model and outputs may be missing, or wrong.

    Args:
        path: the task file.
        model: where the model will be.

    Raises:
        StartupError: as `read_declaration`, of the other tables.
    """
    tables = {name: table for name, table in read_tables(path).items() if name not in ("model", "outputs")}
    return declare(path, tables | {"model": {"file": str(model.absolute())}}, need_files=False)


@lru_cache
def shipped(name: str) -> Declaration:
    """The declaration of a task that ships with the package; raises StartupError: there is no such task."""
    if name not in SHIPPED:
        raise StartupError(f"there is no task {name!r}{did_you_mean(name, SHIPPED, 'those that ship with caststream')}")
    return read_declaration(_HERE / f"{name}.toml")


def find_declaration(text: str, need_files: bool = True) -> Declaration:
    """The declaration that a name on the command line means: a task that ships with the package, or a file.

    Raises:
        StartupError: neither; or a file that cannot be used.
    """
    if text in SHIPPED:
        return shipped(text)
    if not text.endswith(".toml") and not os.path.exists(text):  # Path.exists raises for names that are too long
        hint = did_you_mean(text, SHIPPED, "those that ship with caststream")
        raise StartupError(
            f"there is no task {text!r}{hint}; a task of your own is the name of its file, which ends in .toml"
        )
    return read_declaration(text, need_files)


def _task_keys(place: Place, values: dict[str, Any]) -> TaskKeys:
    own = [key.name for key in keys_of(TaskKeys)]
    refuse_unknown(place, values, dict.fromkeys((*own, *_TABLES)))
    keys = read_keys(place, {name: value for name, value in values.items() if name in own}, TaskKeys)
    for table in NEEDED_TABLES:
        if table not in values:
            raise place.error(f"the table [{table}] is missing")
    return keys


def _topics(place: Place, values: Any, name: str) -> Topics:
    keys = read_keys(place, values, TopicKeys)
    topics = Topics(keys.source or f"{name}-samples", keys.output or f"{name}-outputs", keys.table or f"{name}-states")
    taken = Once()
    for key in ("source", "output", "table"):
        taken.take(place, key, [getattr(topics, key)], _why_not_a_topic)
    return topics


def _why_not_a_topic(name: str) -> str | None:
    return "dead letters go there" if name == _SHARED_TOPIC else None


def _window(place: Place, values: Any, kind: Kind) -> Window | None:
    if kind == "step":
        if values is not None:
            raise place.error('a task of the kind step has no windows: leave the table out, or say kind = "window"')
        return None
    keys = read_keys(place, {} if values is None else values, WindowKeys)
    first = min(_FIRST, keys.length) if keys.first is None else keys.first
    if first > keys.length:
        place.refuse("first", first, f"at most length, which is {keys.length}")
    return Window(keys.length, first, keys.hop)


def _rules(place: Place, values: Any) -> TaskRules:
    keys = read_keys(place, values, RuleKeys)
    return TaskRules(keys.gap_policy, keys.max_gap, keys.idle_timeout, keys.max_step_jump)
