"""Models that were not made for caststream: the examples of tasks, made as their readers make them, and played live."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from core.arrays import Float32s
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration
from stream_app.settings import Settings
from tests.broker import ToSend, produce
from tests.commands import ROOT

PATIENCE_S = 240
BEGIN_MS = 1_700_000_000_000
Outputs = dict[str, list[dict[str, Any]]]
"""The outputs of each stream, in the order of their steps."""


@dataclass(frozen=True)
class Example:
    """A folder of `examples`, copied and made."""

    folder: Path

    @property
    def task(self) -> Path:
        return next(self.folder.glob("*.toml"))

    @property
    def recordings(self) -> Path:
        return next(self.folder.glob("*.h5"))

    @cached_property
    def declaration(self) -> Declaration:
        return read_declaration(self.task)

    @cached_property
    def streams(self) -> dict[str, Mapping[str, Float32s]]:
        """Of each stream its fields: (steps, numbers)."""
        with h5py.File(self.recordings) as file:
            fields = {field.name: file[field.name][:] for field in self.declaration.fields}
            rows = zip(file["stream_name"].asstr(), file["sequence_start"], file["sequence_length"], strict=True)
            return {name: {each: fields[each][at : at + count] for each in fields} for name, at, count in rows}

    @property
    def steps(self) -> int:
        return max(len(values) for fields in self.streams.values() for values in fields.values())

    def samples(self, name: str, steps: range) -> list[dict[str, Any]]:
        """The samples of a stream as a producer sends them; the last one of a sequence that is scored says so."""
        columns = {field: values[steps.start : steps.stop] for field, values in self.streams[name].items()}
        return [
            {"sequence": "a", "step": step, "timestamp_ms": BEGIN_MS + step}
            | {field: values[row].astype(np.float64).round(6).tolist() for field, values in columns.items()}
            | ({"end": True} if self.declaration.kind == "window" and step == self.steps - 1 else {})
            for row, step in enumerate(steps)
        ]

    def predicted(self) -> list[dict[str, Any]]:
        """The outputs of all recordings as `caststream predict` makes them."""
        lines = self.folder / "offline.jsonl"
        run("-m", "stream_app.cli.main", "predict", self.recordings, "--task", self.task, "--output", lines)
        return [json.loads(line) for line in lines.read_text().splitlines()]

    def send(self, settings: Settings, steps: range) -> None:
        """These steps of all streams."""
        records = (ToSend(name, sample) for name in self.streams for sample in self.samples(name, steps))
        produce(settings, settings.topic(self.declaration.topics.source), records)


def made(name: str, folder: Path) -> Example:
    """Copy an example and run its script, as its reader does."""
    copy = folder / name
    shutil.copytree(ROOT / "examples" / name, copy)
    [script] = copy.glob("make_*.py")
    run(script)
    return Example(copy)


def run(*arguments: str | Path) -> None:
    """A program of Python in a process of its own; it must succeed."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr


def numbers_of(outputs: Sequence[Mapping[str, Any]], name: str) -> Float32s:
    """One output of all steps: (steps, numbers)."""
    return np.array(
        [[*each[name].values()] if isinstance(each[name], dict) else np.atleast_1d(each[name]) for each in outputs],
        np.float32,
    )
