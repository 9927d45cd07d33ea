"""Findings that are kept, so that a model that has not changed is not checked again at the next start.

A finding holds for one machine's instructions and one ONNX Runtime: both decide which bits a row has.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.tasks.check.findings import CarriedState, Checked
from core.tasks.declaration import Declaration
from core.whole_file import whole_file

_LONGEST = 1_000_000  # bytes


def key_of(declaration: Declaration, model: bytes, most_state_bytes: int) -> str:
    """The name under which findings are kept: a hash of all that they depend on."""
    example = declaration.model.example
    told = (_check(), _runtime(), _machine(), repr(declaration), most_state_bytes)
    digest = hashlib.sha256(repr(told).encode())
    for part in (model, b"" if example is None else example.read_bytes()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def find(folder: Path, key: str) -> Checked | None:
    """The findings of an earlier check; None where there are none that can be read."""
    path = folder / f"{key}.json"
    try:
        if path.stat().st_size > _LONGEST:
            return None
        return checked_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(folder: Path, key: str, checked: Checked) -> None:
    """Write findings; a folder that cannot be written to costs a check at the next start, nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / f"{key}.json") as partial, partial.open("x") as file:
            json.dump(asdict(checked), file)
    except OSError:
        return


def checked_of(told: dict[str, Any]) -> Checked:
    """The findings that were written as JSON."""
    states = tuple(CarriedState(each["before"], each["after"], tuple(each["shape"])) for each in told["states"])
    example = told["example"]
    return Checked(
        **told
        | {
            "states": states,
            "outputs": {name: tuple(shape) for name, shape in told["outputs"].items()},
            "microseconds": {int(rows): float(each) for rows, each in told["microseconds"].items()},
            "example": None if example is None else (int(example[0]), float(example[1])),
            "notes": tuple(told["notes"]),
        }
    )


@cache
def _check() -> str:
    """The check itself, and the code that it tries a model with: other code checks again.

    Whole rooms, compiled parts too, because a list of files would miss the next one: 2 MB, read once at a start.
    """
    digest = hashlib.sha256()
    for source in sources():
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def sources() -> list[Path]:
    """The files of code on which findings depend."""
    core = Path(__file__).resolve().parents[2]
    found = (core / room for room in ("engines", "models", "native", "tasks"))
    return sorted(path for room in found for path in room.rglob("*") if path.suffix in (".py", ".so"))


def _runtime() -> str:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return ""


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("flags")), platform.machine())
