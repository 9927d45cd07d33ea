"""A check in a child process, with limits on memory and time, whose findings are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from core.engines.onnx.session import read_model
from core.engines.own_weights import is_like_shipped
from core.errors import StartupError
from core.tasks.check import kept
from core.tasks.check.findings import Checked
from core.tasks.reading import read_declaration
from core.tasks.sizes import STATE_BYTES


@dataclass(frozen=True)
class CheckLimits:
    """The most that a check may take, besides what the model's file needs."""

    cpu_seconds: int = 60
    memory_bytes: int = 4 << 30


def check_task(
    path: Path,
    folder: Path | None,
    data: Path | None = None,
    *,
    state_bytes: int = STATE_BYTES,
    limits: CheckLimits = CheckLimits(),
) -> Checked:
    """Check the model of a task.

    Args:
        path: the task's file; its model is an ONNX file, or weights of its own.
        folder: where findings are kept; None: nowhere.
        data: an HDF5 file of samples to try it with, in place of noise; such findings are not kept.
        state_bytes: the most that a stream's state may have.
        limits: of the child process.

    Raises:
        StartupError: the declaration or the model cannot be used: what, where, and what to do.
    """
    declaration = read_declaration(path)
    if is_like_shipped(declaration):
        raise StartupError(
            f"{declaration.model.file}: is a checkpoint of caststream, which is checked where it is loaded; this check "
            "is for ONNX models, and for the weights of a task of your own"
        )
    model = read_model(declaration.model.file)
    key = kept.key_of(declaration, model, state_bytes)
    if folder is not None and data is None and (found := kept.find(folder, key)) is not None:
        return found
    checked = _run(path, data, state_bytes, len(model), limits)
    if folder is not None and data is None:
        kept.keep(folder, key, checked)
    return checked


def _run(path: Path, data: Path | None, state_bytes: int, model_bytes: int, limits: CheckLimits) -> Checked:
    request = {
        "task": str(path.absolute()),
        "data": None if data is None else str(data.absolute()),
        "most_state_bytes": state_bytes,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes + 16 * model_bytes,
    }
    command = [sys.executable, "-P", "-m", "core.tasks.check.child"]  # -P: no module of the folder that it stands in
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a thread has 8 MiB of stack
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            env=environment,
            timeout=4 * limits.cpu_seconds + 30,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StartupError(f"{path}: {_too_long(limits)}") from error
    return _answer(path, limits, done)


def _answer(path: Path, limits: CheckLimits, done: subprocess.CompletedProcess[bytes]) -> Checked:
    if done.returncode == -signal.SIGXCPU:
        raise StartupError(f"{path}: {_too_long(limits)}")
    if done.returncode != 0:
        ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise StartupError(
            f"{path}: the check of its model ended by {ended}{f' ({told[-1][:300]})' if told else ''}: ONNX Runtime "
            f"cannot run it within {limits.memory_bytes / 2**30:.3g} GiB; export it again, with operators of ONNX alone"
        )
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise StartupError(answer["refused"])
    return kept.checked_of(answer["checked"])


def _too_long(limits: CheckLimits) -> str:
    return (
        f"the check of its model took more than {limits.cpu_seconds} s: a step has to take microseconds; look for "
        "a loop in the graph, or train a smaller model"
    )
