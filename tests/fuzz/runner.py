"""Runs targets: blocks of inputs by seed, a watchdog, and the line that runs a failed block again."""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

BLOCK = 32  # inputs that share a random sequence, and an engine where the target has one
NOTE = Path(tempfile.gettempdir()) / f"caststream-fuzz-{os.getpid()}"
"""The block at hand: what is left of a process that hangs or is ended by a signal."""
SECONDS_PER_BLOCK = 30.0  # a block takes milliseconds: only a hang needs so long, of whatever input it be


@dataclass(frozen=True)
class Target:
    """What is fuzzed: functions of a module of `tests.fuzz`, loaded late, as some need torch.

    Args:
        make: the function that makes an input.
        check: the one that checks an input, or a list of them: then the block shares an engine.
        share: of all inputs.
    """

    module: str
    make: str
    check: str
    share: float
    whole_blocks: bool = False

    def load(self) -> tuple[Callable[[Random], bytes], Callable[[Any, Random], None]]:
        """Both functions."""
        module = importlib.import_module(f"tests.fuzz.{self.module}")
        return getattr(module, self.make), getattr(module, self.check)


TARGETS = {
    "json": Target("codecs", "json_value", "check_json", 0.15),
    "msgpack": Target("codecs", "msgpack_value", "check_msgpack", 0.15),
    "scanner": Target("codecs", "signal_value", "check_scanner", 0.11),
    "fields": Target("fields", "sample", "check_sample", 0.03),
    "declared": Target("declared", "sample", "check_sample", 0.1),
    "batches": Target("batches", "fetched", "check_batches", 0.15),
    "states": Target("states", "stored", "check_states", 0.1),
    "tasks": Target("tasks", "task_file", "check_task", 0.1),
    "signals": Target("engines", "signal_value", "check_signals", 0.06, whole_blocks=True),
    "casts": Target("engines", "cast_value", "check_casts", 0.01, whole_blocks=True),
    "tables": Target("engines", "stored", "check_tables", 0.04, whole_blocks=True),
}


class Failure(AssertionError):  # noqa: N818 - a finding, as pytest calls it
    """An input or a block that failed; the message says how to run it again."""


def run(name: str, inputs: int, seed: int, first_block: int = 0) -> None:
    """Make and check so many inputs of a target.

    Raises:
        Failure: naming the block, and the input where it was a single one.
    """
    target = TARGETS[name]
    make, check = target.load()
    for first in range(0, inputs, BLOCK):
        block = first_block + first // BLOCK
        random = Random(f"{name}/{seed}/{block}")
        made = [make(random) for _ in range(min(BLOCK, inputs - first))]
        again = f"python -m tests.fuzz --target {name} --seed {seed} --block {block}"
        with watched(again):
            for value in [made] if target.whole_blocks else made:
                _check(check, value, random, again)


def _check(check: Callable[[Any, Random], None], value: Any, random: Random, again: str) -> None:
    try:
        check(value, random)
    except Exception as error:
        shown = repr(value)
        raise Failure(
            f"{type(error).__name__}: {str(error)[:2_000]}; again: {again}; input: {shown[:2_000]}"
        ) from error


@contextmanager
def watched(title: str) -> Iterator[None]:
    """Dump all stacks and end the process when the block does not end; `NOTE` says which one it was."""
    NOTE.write_text(title)
    faulthandler.dump_traceback_later(SECONDS_PER_BLOCK, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def peak_mib() -> float:
    """The most memory that this process has ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
