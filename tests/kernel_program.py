"""The kernels as a program without Python (`tests/native`), for this machine or for ARM, and the cases it reads."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.commands import ROOT
from tests.recurrent_files import GATES

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
class Sizes:
    """Of a model, and the lengths of the runs that it steps. ``cell`` is lstm or gru."""

    features: int
    hidden: int
    layers: int
    outputs: int
    lengths: tuple[int, ...]
    cell: str = "lstm"

    def states(self) -> int:
        """Numbers of all states."""
        return len(self.lengths) * {"lstm": 2, "gru": 1}[self.cell] * self.layers * self.hidden

    def samples(self) -> int:
        """Numbers of all samples."""
        return sum(self.lengths) * self.features

    def numbers(self) -> int:
        """That the program writes: predictions, then states."""
        return sum(self.lengths) * self.outputs + self.states()


def step_case(sizes: Sizes, seed: int, spread: float = 0.0, width: float = 1.0, bits: int = 0) -> bytes:
    """Weights, states and samples.

    Args:
        sizes: of the model and its runs.
        seed: of the numbers.
        spread: they are of sizes over that many powers of ten, evenly in their logarithms.
        width: how large states, samples and biases are; weights are so that gates move.
        bits: of the mantissas; 0: all.
    """

    def draw(size: int, width: float) -> bytes:
        drawn = random.uniform(-width, width, size) * 10 ** random.uniform(-spread, 0, size)
        drawn[random.uniform(size=size) < 0.01] = -0.0
        if bits:
            part, exponent = np.frexp(drawn)
            drawn = np.ldexp(np.round(np.ldexp(part, bits)), exponent - bits)
        return drawn.astype(np.float32).tobytes()

    random, hidden, slope = np.random.default_rng(seed), sizes.hidden, 2 / np.sqrt(sizes.hidden)
    head = np.array([sizes.features, hidden, sizes.layers, sizes.outputs, len(sizes.lengths), *sizes.lengths], np.int64)
    parts, rows = [head.tobytes()], GATES[sizes.cell] * hidden
    for layer in range(sizes.layers):
        inputs = hidden if layer else sizes.features
        parts += [draw(rows * inputs, slope), draw(rows * hidden, slope)]
        parts += [draw(rows, slope * width), draw(rows, slope * width)]
    parts += [draw(sizes.outputs * hidden, slope), draw(sizes.outputs, slope * width)]
    mean, std = random.uniform(-width, width, sizes.features), random.uniform(0.5, 2, sizes.features)
    parts += [mean.astype(np.float32).tobytes(), std.astype(np.float32).tobytes()]
    parts += [draw(sizes.states(), width), draw(sizes.samples(), 3 * width)]
    return b"".join(parts)


@dataclass(frozen=True)
class WindowSizes:
    """Of a window model, and the lengths of the windows. Readout and activation are the numbers of C++."""

    features: int
    hidden: int
    layers: int
    ways: int
    units: int
    readout: int
    activation: int
    lengths: tuple[int, ...]

    def numbers(self) -> int:
        """That the program writes: logits, then attention."""
        return len(self.lengths) + sum(self.lengths)


def windows_case(sizes: WindowSizes, seed: int) -> bytes:
    """Weights and samples of windows."""

    def draw(size: int, low: float, high: float, kind: type[np.floating] = np.float32) -> bytes:
        return random.uniform(low, high, size).astype(kind).tobytes()

    random, width, slope = np.random.default_rng(seed), sizes.ways * sizes.hidden, 2 / np.sqrt(sizes.hidden)
    numbers = (sizes.features, sizes.hidden, sizes.layers, sizes.ways, len(sizes.lengths), sizes.units)
    parts = [np.array([*numbers, sizes.readout, sizes.activation, *sizes.lengths], np.int64).tobytes()]
    for layer in range(sizes.layers):
        for inputs in (width if layer else sizes.features, sizes.hidden, 1, 1) * sizes.ways:
            parts.append(draw(4 * sizes.hidden * inputs, -slope, slope))
    parts += [draw(sizes.features, *bounds) for bounds in ((-1, 1), (0.5, 2), (0.5, 2), (-1, 1))]
    parts += [draw(width, *bounds, np.float64) for bounds in ((0.5, 2), (-1, 1), (0.5, 2), (-1, 1))]
    parts += [draw(count, -1, 1) for count in (width * sizes.units, sizes.units, sizes.units, 1)]
    return b"".join([*parts, draw(sum(sizes.lengths) * sizes.features, -3, 3)])


def gates_case(gates: Floats, values: Floats) -> bytes:
    """Two arrays of one size, a multiple of 16."""
    assert gates.size == values.size
    assert gates.size % 16 == 0
    return np.int64(gates.size).tobytes() + gates.tobytes() + values.tobytes()
