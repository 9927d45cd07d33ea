"""Compiled parts: everything else of the package is declared in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent

extensions = [
    Extension(
        ".".join(source.relative_to(HERE).with_suffix("").parts),
        [str(source.relative_to(HERE))],
        language="c++",
        depends=[str(header.relative_to(HERE)) for header in sorted(source.parent.glob("*.hpp"))],
        # Contracted, products and sums would be fused as the compiler likes: on ARM other numbers than on x86.
        extra_compile_args=["-O3", "-std=c++17", "-g0", "-ffp-contract=off"],
    )
    for source in sorted(HERE.glob("*/native/*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
