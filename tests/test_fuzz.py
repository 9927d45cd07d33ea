"""A short run of every fuzz target, and hostile inputs in little memory; `make fuzz` is the long run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stream_app.kafka.fetching import MAX_UNCOMPRESSED_BYTES
from tests.fuzz import runner
from tests.fuzz.codecs import json_value

ROOT = Path(__file__).resolve().parent.parent
INPUTS = 30_000
MIB = 2**20


@pytest.fixture(autouse=True)
def leave_no_note() -> Any:
    yield
    runner.NOTE.unlink(missing_ok=True)


@pytest.mark.parametrize("name", runner.TARGETS)
def test_whatever_comes_is_read_or_refused(name: str) -> None:
    runner.run(name, round(INPUTS * runner.TARGETS[name].share), seed=1)


def test_all_inputs_are_given_out() -> None:
    assert sum(target.share for target in runner.TARGETS.values()) == pytest.approx(1)


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second, other = ([json_value(Random(seed)) for _ in range(20)] for seed in (1, 1, 2))

    assert first == second != other


def test_a_finding_is_told_with_its_input_and_with_what_runs_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(value: bytes, random: Random) -> None:
        assert value != "the 70th", "found"

    made = iter(range(1, 1_000))
    monkeypatch.setattr(runner.Target, "load", lambda self: (lambda random: f"the {next(made)}th", check))

    with pytest.raises(
        runner.Failure,
        match=r"(?s)found.*; again: python -m tests.fuzz --target json --seed 5 --block 2; input: 'the 70th'",
    ):
        runner.run("json", 100, seed=5)


def test_an_input_that_never_ends_ends_the_process_with_its_stack() -> None:
    program = (
        "import tests.fuzz.runner as runner\n"
        "runner.SECONDS_PER_BLOCK = 0.1\n"
        "print(runner.NOTE, flush=True)\n"
        "with runner.watched('block 7'):\n"
        "    while True: pass\n"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    note = Path(done.stdout.strip())

    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "line 5 in <module>" in done.stderr
    assert note.read_text() == "block 7"
    note.unlink()


COMPRESSED = ("fetch: gzip", "fetch: snappy", "fetch: lz4", "fetch: zstd")


@pytest.mark.slow
def test_hostile_inputs_take_little_memory() -> None:
    """A value takes three times its size, many small records twelve times theirs; a compressed batch, whatever it
    stands for, four times what is read of one.
    """
    command = [sys.executable, "-m", "tests.fuzz.hostile"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "")
    assert len(found) > 35
    for case in found:
        assert case.keys() >= {"bytes", "grown"}, case
        times = 12 if case["name"].startswith("fetch") else 3
        most = 4 * MAX_UNCOMPRESSED_BYTES if case["name"].startswith(COMPRESSED) else times * case["bytes"]
        assert case["grown"] < 16 * MIB + most, case
