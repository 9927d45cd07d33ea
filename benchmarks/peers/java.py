"""Prepares the peers in Java: jars, their own classes, and the model as an ONNX file.

Everything goes into the virtual environment's folder ``peers-java``: jars once, classes when their source has changed.
A JDK is needed, for the benchmark alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reporting import say
from task_files import export_signal

from core.errors import StartupError
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from stream_app.local.jars import fetched, pinned_jars

SOURCES = Path(__file__).resolve().parent / "streams"
JARS = SOURCES / "jars.txt"
FOLDER = Path(sys.prefix) / "peers-java"
OLDEST_JDK = 17
JVM_OPTIONS = (
    "-Xms32m",
    "-Xmx256m",
    "-XX:+UseSerialGC",  # on two cores less processor time and memory than G1, and no slower
    "-Djava.io.tmpdir=.",  # native libraries are unpacked there; a killed process leaves them
)


@dataclass(frozen=True)
class Built:
    """A program ready to start: ``command`` up to the name of its form, the model's file and name."""

    command: list[str]
    model: Path
    model_name: str


def find_javac() -> Path | None:
    """The compiler of JAVA_HOME or of the PATH, None where there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = Path(home) / "bin" / "javac" if home else Path(shutil.which("javac") or "javac")
    try:
        done = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = done.stdout.removeprefix("javac ").partition(".")[0].strip()
    return found.resolve() if version.isdigit() and int(version) >= OLDEST_JDK else None


@cache
def built() -> Built:
    """Fetch, compile and export what is missing.

    Raises:
        StartupError: there is no JDK, a jar cannot be fetched, or the source cannot be compiled.
    """
    javac = find_javac()
    if javac is None:
        raise StartupError(
            f"the peers kafka_streams_* need a JDK {OLDEST_JDK} or newer (javac), for the benchmark alone: "
            "install one, or name other peers with --peers"
        )
    jars = [str(path) for path in fetched(pinned_jars(JARS), FOLDER / "jars", "Kafka Streams and ONNX Runtime", say)]
    classes = _compiled(javac, jars)
    model = load_model(checkpoint_path("signal"), "signal")
    file = FOLDER / f"signal-{fingerprint(model)}.onnx"
    if not file.exists():
        fresh = file.with_suffix(".new")
        export_signal(fresh)
        fresh.replace(file)
    class_path = os.pathsep.join((str(classes), *jars))
    return Built([str(javac.parent / "java"), *JVM_OPTIONS, "-cp", class_path, "Main"], file, fingerprint(model))


def version() -> str:
    """The versions of the two that matter, from the list of jars."""
    versions = {jar.artifact: jar.version for jar in pinned_jars(JARS)}
    return f"Kafka Streams {versions['kafka-streams']}, ONNX Runtime {versions['onnxruntime']}"


def _compiled(javac: Path, jars: list[str]) -> Path:
    """The folder of the classes, named by the sources that they were compiled from."""
    sources = sorted(SOURCES.glob("*.java"))
    sums = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, JARS))).hexdigest()
    classes = FOLDER / f"classes-{sums[:12]}"
    if not classes.exists():
        fresh = classes.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = [javac, "-d", fresh, "-cp", os.pathsep.join(jars), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartupError(f"{SOURCES} cannot be compiled by {javac}: {done.stderr.strip()[:500]}")
        fresh.rename(classes)
    return classes
