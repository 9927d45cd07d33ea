"""A C++ compiler for the compiled parts: the machine's own, or the one in the package ziglang.

`python -m tools.compiler COMMAND...` runs a command with it, such as ``python setup.py build_ext --inplace``.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# What the compiled parts need of a compiler: C++17 with from_chars for numbers with a fraction (GCC 11 and newer).
TRIAL = """
#include <charconv>
#include <vector>
extern "C" double trial(const char* text) {
    double value = 0;
    std::from_chars(text, text + 1, value);
    return std::vector<double>{value}.front();
}
"""
PROGRAM = "zig-c++"
OLDEST_GLIBC = "2.28"


def own_compiler_works() -> bool:
    """True if the compiler that setuptools would take compiles what we need."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "c++", "clang++")), None)
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "trial.cpp"
        source.write_text(TRIAL)
        command = [
            *compiler.split(),
            "-std=c++17",
            "-shared",
            "-fPIC",
            str(source),
            "-o",
            str(source.with_suffix(".so")),
        ]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def write_zig_program(programs: Path) -> None:
    """Put a program into the virtual environment that compiles for any processor of this kind, as GCC does.

    Left alone, zig compiles for the very processor it runs on, where products and sums would be fused.
    """
    # Debian's Python.h includes headers beside its own folder; with a target, zig looks in none of the system's places.
    headers = Path(sysconfig.get_config_var("INCLUDEPY")).parent
    target = f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}"
    program = programs / PROGRAM
    program.write_text(
        "#!/bin/sh\n"
        "# A C++ compiler for machines without one: clang, from the package ziglang.\n"
        'here=$(dirname "$0")\n'
        'export ZIG_LOCAL_CACHE_DIR="$here/../zig" ZIG_GLOBAL_CACHE_DIR="$here/../zig"\n'
        f'exec "$here/python" -m ziglang c++ -target {target} -idirafter {shlex.quote(str(headers))} "$@"\n'
    )
    program.chmod(0o755)


def environment() -> dict[str, str]:
    """The environment in which setuptools finds the compiler."""
    programs = str(Path(sys.prefix) / "bin")
    variables = dict(os.environ)
    if (Path(programs) / PROGRAM).exists():
        variables |= {
            "CC": PROGRAM,
            "CXX": PROGRAM,
            "LDSHARED": f"{PROGRAM} -shared",
            "LDCXXSHARED": f"{PROGRAM} -shared",
        }
        variables["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", "")])
    return variables


if __name__ == "__main__":
    sys.exit(subprocess.run(sys.argv[1:], env=environment(), check=False).returncode)
