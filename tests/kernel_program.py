"""The kernels as a program without Python (`tests/native`), compiled for this machine or for ARM, and what it is fed with."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.commands import ROOT

Floats = NDArray[np.float32]

SOURCE = ROOT / "tests" / "native" / "kernels.cpp"
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=off", "-Wall", "-Wno-psabi", "-Werror")
ARM_COMPILER = "aarch64-linux-gnu-g++"
ARM_LIBRARIES = "/usr/aarch64-linux-gnu"
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
PATIENCE_S = 300.0


@dataclass(frozen=True)
class KernelProgram:
    """A compiled program, and the words before it that run it here."""

    path: Path
    runner: tuple[str, ...] = ()

    def sets(self) -> list[str]:
        """The sets of instructions that it can use."""
        return self._output("sets").decode().split()

    def run(self, kernel: str, instructions: str, case: bytes) -> Floats:
        """The numbers that a kernel makes of a case."""
        return np.frombuffer(self._output(kernel, instructions, given=case), np.float32)

    def _output(self, *words: str, given: bytes = b"") -> bytes:
        command = [*self.runner, str(self.path), *words]
        done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def compiled_here(folder: Path) -> KernelProgram:
    """The program for this machine."""
    return KernelProgram(_compile("g++", folder / "kernels"))


def compiled_for_arm(folder: Path) -> KernelProgram:
    """The program for ARM, run by an emulator."""
    return KernelProgram(_compile(ARM_COMPILER, folder / "kernels-arm"), (emulator(), "-L", ARM_LIBRARIES))


def lacking_for_arm() -> str:
    """What has to be installed before anything can be compiled for ARM and run here; empty: nothing."""
    lacking = [] if shutil.which(ARM_COMPILER) else ["g++-aarch64-linux-gnu"]
    return " ".join(lacking + ([] if any(map(shutil.which, EMULATORS)) else ["qemu-user"]))


def emulator() -> str:
    """The program that runs programs for ARM."""
    return next(filter(shutil.which, EMULATORS))


def _compile(compiler: str, program: Path) -> Path:
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(program)], check=True)
    return program


@dataclass(frozen=True)
class LstmSizes:
    """Of a model, and the lengths of the runs that it steps."""

    features: int
    hidden: int
    layers: int
    outputs: int
    lengths: tuple[int, ...]

    def numbers(self) -> int:
        """That the program writes: predictions, then states."""
        return sum(self.lengths) * self.outputs + len(self.lengths) * 2 * self.layers * self.hidden


def lstm_case(sizes: LstmSizes, seed: int, spread: float = 0.0) -> bytes:
    """Weights, states and samples; with ``spread``, of sizes from 10**-spread on, and some of them are no normal numbers."""
    random = np.random.default_rng(seed)
    hidden, width = sizes.hidden, 2 / np.sqrt(sizes.hidden)
    parts = []
    for layer in range(sizes.layers):
        inputs = hidden if layer else sizes.features
        parts += [_draw(random, 4 * hidden * count, width, spread) for count in (inputs, hidden, 1, 1)]
    parts += [_draw(random, sizes.outputs * count, width, spread) for count in (hidden, 1)]
    parts += [_draw(random, sizes.features, 1.0, 0.0), np.abs(_draw(random, sizes.features, 1.0, 0.0)) + np.float32(0.5)]
    parts += [_draw(random, len(sizes.lengths) * 2 * sizes.layers * hidden, 1.0, spread)]
    samples = _draw(random, sum(sizes.lengths) * sizes.features, 3.0, spread)
    head = np.array([sizes.features, hidden, sizes.layers, sizes.outputs, len(sizes.lengths), *sizes.lengths], np.int64)
    return head.tobytes() + b"".join(part.tobytes() for part in (*parts, samples))


def gates_case(gates: Floats, values: Floats) -> bytes:
    """Two arrays of one size, a multiple of 16."""
    assert gates.size == values.size and gates.size % 16 == 0
    return np.int64(gates.size).tobytes() + gates.tobytes() + values.tobytes()


def _draw(random: np.random.Generator, size: int, width: float, spread: float) -> Floats:
    """Numbers within ``width`` around 0, evenly, or evenly in their logarithms over that many powers of ten."""
    drawn = random.uniform(-width, width, size)
    if spread:
        drawn *= 10 ** random.uniform(-spread, 0, size)
        drawn[random.uniform(size=size) < 0.02] = 0.0
        drawn[random.uniform(size=size) < 0.01] = -0.0
    return drawn.astype(np.float32)
