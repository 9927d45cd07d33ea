"""The same bits on ARM: kernels and compiled parts built for aarch64, and run by an emulator beside this machine's."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT
from tests.kernel_program import (
    ARM_COMPILER,
    Floats,
    KernelProgram,
    Sizes,
    WindowSizes,
    compiled_for_arm,
    compiled_here,
    gates_case,
    lacking_for_arm,
    step_case,
    windows_case,
)
from tests.recurrent_files import GATES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(lacking_for_arm()), reason=f"not installed: apt-get install {lacking_for_arm()}"),
]

ARM_SUFFIX = ".cpython-arm.so"
ELF_MACHINE_AT, ELF_ARM = 18, 183
SMALLEST = np.float32(2.0**-126)  # of the numbers that do not count as zero

STEP_CASES = {
    "the size of the shipped model": (Sizes(5, 64, 2, 1, (40,) * 30), {}),
    "odd sizes and lengths": (Sizes(3, 19, 3, 4, (5, 9, 3, 1, 7) * 8), {}),
    "one of everything": (Sizes(1, 1, 1, 1, (200,)), {}),
    "weights and samples of all sizes": (Sizes(6, 33, 2, 3, (20,) * 10), {"spread": 12.0}),
    "numbers that count as zero": (Sizes(4, 24, 2, 2, (20,) * 10), {"spread": 44.0, "width": 1e-18}),
    "short numbers, whose sums are half way between others": (Sizes(5, 32, 2, 2, (20,) * 10), {"bits": 6}),
}

WINDOW_CASES = {
    "the size of the shipped model": WindowSizes(
        5, 64, 2, 2, 32, readout=2, activation=0, lengths=(60, 13, 25, 60, 7, 24)
    ),
    "odd sizes, both ends, tanh": WindowSizes(3, 19, 2, 2, 8, readout=1, activation=1, lengths=(5, 30, 49, 1)),
    "one way, the last step, sigmoid": WindowSizes(4, 17, 1, 1, 3, readout=0, activation=2, lengths=(9, 25, 9, 9)),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> KernelProgram:
    return compiled_here(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> KernelProgram:
    return compiled_for_arm(tmp_path_factory.mktemp("arm"))


def assert_same_everywhere(programs: list[KernelProgram], kernel: str, case: bytes, expected: Floats) -> None:
    """What is not a number may differ in its bits, but must be none everywhere."""
    numbers = ~np.isnan(expected)
    for program in programs:
        for instructions in program.sets():
            found = program.run(kernel, instructions, case)
            wrong = np.isnan(found) == numbers
            wrong |= numbers & (found.view(np.int32) != expected.view(np.int32))
            assert not wrong.any(), f"{instructions}: {wrong.sum()} of {found.size} numbers differ"


def test_the_sets_that_are_compared_are_those_that_kernels_have(here: KernelProgram, arm: KernelProgram) -> None:
    assert arm.sets() == ["neon", "plain", "single"]
    assert {"plain", "single"} < set(here.sets())


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("name", STEP_CASES)
def test_a_step_gives_the_same_bits_on_arm_and_in_every_set(
    here: KernelProgram, arm: KernelProgram, name: str, cell: str
) -> None:
    sizes, options = STEP_CASES[name]
    sizes = replace(sizes, cell=cell)
    case = step_case(sizes, 7, **options)

    expected = here.run(cell, "single", case)

    assert expected.size == sizes.numbers()
    assert np.unique(expected).size > expected.size / 3
    assert_same_everywhere([here, arm], cell, case, expected)


@pytest.mark.parametrize("name", WINDOW_CASES)
def test_windows_give_the_same_bits_on_arm_and_in_every_set(here: KernelProgram, arm: KernelProgram, name: str) -> None:
    sizes = WINDOW_CASES[name]
    case = windows_case(sizes, 7)

    expected = here.run("windows", "single", case)

    assert expected.size == sizes.numbers()
    assert np.unique(expected).size > expected.size / 2
    assert_same_everywhere([here, arm], "windows", case, expected)


def test_the_functions_of_gates_give_the_same_bits_on_arm_and_in_every_set(
    here: KernelProgram, arm: KernelProgram
) -> None:
    """All over their range, at the ends of numbers, and where there is none. 0 * infinity is no number either."""
    random = np.random.default_rng(3)
    ends = np.array([0.0, 1e-45, 1e-40, SMALLEST, 87, 88, 20, 18.1, 0.5625, 3e38, np.inf, np.nan], np.float32)
    ends = np.concatenate((ends, -ends))
    gates = np.concatenate((np.repeat(ends, 24), random.uniform(-90, 90, 200_000))).astype(np.float32)
    values = np.concatenate((np.tile(ends, 24), random.normal(0, 3, 200_000))).astype(np.float32)

    case = gates_case(gates, values)

    assert_same_everywhere([here, arm], "gates", case, here.run("gates", "single", case))


def test_a_product_that_rounds_up_to_the_smallest_number_is_zero_on_arm_alone(
    here: KernelProgram, arm: KernelProgram
) -> None:
    """The one difference that is left, of 1.2e-38: ARM tells tiny numbers before it rounds them, x86 afterwards."""
    gates = np.linspace(0.1, 3, 1600, dtype=np.float32)
    halves = 1 / (1 + np.exp(-gates.astype(np.float64)))
    values = (float(SMALLEST) / halves).astype(np.float32)
    case = gates_case(gates, values)

    x86, on_arm = here.run("gates", "single", case), arm.run("gates", "neon", case)

    differs = x86 != on_arm
    assert 0 < differs.sum() < gates.size / 2
    assert (x86[differs] == SMALLEST).all()
    assert (on_arm[differs] == 0).all()


@pytest.fixture(scope="module")
def arm_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every compiled part for ARM, as setup.py builds it with nothing but another compiler."""
    folder = tmp_path_factory.mktemp("parts")
    variables = {
        "CC": ARM_COMPILER,
        "CXX": ARM_COMPILER,
        "LDSHARED": f"{ARM_COMPILER} -shared",
        "LDCXXSHARED": f"{ARM_COMPILER} -shared",
        "SETUPTOOLS_EXT_SUFFIX": ARM_SUFFIX,
    }
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", folder, "--build-temp", folder / "o"]
    subprocess.run(list(map(str, command)), cwd=ROOT, env=os.environ | variables, check=True)
    return folder


def test_every_compiled_part_builds_for_arm(arm_parts: Path) -> None:
    sources = [path.relative_to(ROOT) for path in ROOT.glob("*/native/*.pyx")]

    assert sources
    for source in sources:
        head = (arm_parts / source.with_suffix(ARM_SUFFIX)).read_bytes()[: ELF_MACHINE_AT + 2]
        assert struct.unpack_from("<H", head, ELF_MACHINE_AT) == (ELF_ARM,), source
