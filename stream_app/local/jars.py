"""Apache Kafka's jars: fetched once by jgo into the data directory, checked against the sums in ``kafka-jars.txt``.

The list names every jar, so nothing is resolved at run time: what runs is what was reviewed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.callbacks import OnNote, unheard
from core.errors import StartupError

KAFKA_VERSION = "4.3.0"
KAFKA_JARS = Path(__file__).parent / "kafka-jars.txt"
FETCH_ATTEMPTS = 3
TIMEOUT_S = 30


@dataclass(frozen=True)
class Jar:
    """One pinned jar: the SHA-256 of its file, in hex, and its Maven coordinate."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars(listed: Path = KAFKA_JARS) -> list[Jar]:
    """The jars in the order of a list, by default of Kafka's own, which ships with the package."""
    lines = listed.read_text().splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return [Jar(sha256, *coordinate.split(":")) for sha256, coordinate in pairs]


def ensure_jars(data_dir: Path, on_progress: OnNote = unheard) -> list[Path]:
    """Make sure that every pinned jar is under ``data_dir``, checked; fetch the missing ones.

    Args:
        data_dir: made if missing. Processes that fetch into the same one wait for each other.
        on_progress: called with one line of text per jar fetched.

    Returns:
        The paths of the jars, a class path in order.

    Raises:
        StartupError: a sum differs, a jar cannot be fetched, or the directory cannot be written.
    """
    return fetched(pinned_jars(), data_dir / f"kafka-{KAFKA_VERSION}", f"Apache Kafka {KAFKA_VERSION}", on_progress)


def fetched(jars: list[Jar], directory: Path, whose: str, on_progress: OnNote) -> list[Path]:
    """The same as `ensure_jars` for other jars, in a directory of their own; ``whose`` they are, in words."""
    for jar in jars:
        _check_sum(jar, directory / jar.file_name, remedy="delete it and it is fetched again")
    if any(not (directory / jar.file_name).exists() for jar in jars):
        with writing(directory), _only_one(directory):
            _fetch_missing(jars, directory, whose, on_progress)
    return [directory / jar.file_name for jar in jars]


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Make ``directory`` and turn what goes wrong with the disk inside the block into a StartupError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        yield
    except OSError as error:
        if error.errno is None:  # an error of the network library, which is an OSError too
            raise
        advice = "free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise StartupError(
            f"cannot write in {directory}: {error.strerror}; {advice} or choose another with --data-dir"
        ) from error


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_missing(jars: list[Jar], directory: Path, whose: str, on_progress: OnNote) -> None:
    # Looked up again under the lock: another process may have fetched them meanwhile.
    missing = [jar for jar in jars if not (directory / jar.file_name).exists()]
    # On the file system of the target, so that a jar appears whole or not at all. What a killed run left goes first.
    scratch = directory / ".fetch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        context = _maven(scratch) if missing else None
        for number, jar in enumerate(missing, 1):
            on_progress(f"fetching {whose}: jar {number} of {len(missing)}, {jar.file_name}")
            fetched = _fetch(context, jar)
            _check_sum(jar, fetched, remedy="nothing of it was kept; a proxy or mirror may have changed it")
            os.replace(fetched, directory / jar.file_name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _maven(cache: Path) -> Any:
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise StartupError(
            "the local broker needs the package jgo to fetch Kafka: pip install 'caststream[local]'"
        ) from error
    # A mirror in the user's own jgo configuration comes first; the sums hold whoever serves the file.
    repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=cache, remote_repos=repositories, timeout=TIMEOUT_S)


def _fetch(context: Any, jar: Jar) -> Path:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, FETCH_ATTEMPTS + 1):
        try:
            return Path(artifact.resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors without an errno
            if isinstance(error, OSError) and error.errno is not None:
                raise
            if attempt == FETCH_ATTEMPTS:
                raise StartupError(
                    f"cannot fetch {jar.file_name} from {', '.join(context.remote_repos)}: {_brief(error)}; "
                    "a connection to Maven Central is needed once (a mirror goes into jgo's configuration file)"
                ) from error
            # A download that broke off leaves a part behind, which jgo would take for the whole.
            shutil.rmtree(artifact.cached_path.parent, ignore_errors=True)
    raise AssertionError("unreachable")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _check_sum(jar: Jar, path: Path, remedy: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}") from error
    if found != jar.sha256:
        raise StartupError(
            f"{path} is not the file that was pinned: its SHA-256 is {found}, expected {jar.sha256}; {remedy}"
        )


def main() -> int:
    """`python -m stream_app.local.jars`: what `make setup` runs, so that the first broker starts without a download."""
    from stream_app.settings import load_settings

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    try:
        jars = ensure_jars(load_settings().need_data_dir(), say)
    except StartupError as error:
        say(f"caststream: {error}")
        return 2
    say(f"Apache Kafka {KAFKA_VERSION}: {len(jars)} jars in {jars[0].parent}, sums checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
