"""The progress of a replay in a file, so that another replay can continue from there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import msgspec

from core.errors import StartupError
from core.whole_file import whole_file

VERSION = 1


class ReplayProgress(msgspec.Struct):
    """One replay of one file into one topic.

    ``sent`` are the acknowledged records of each stream, over all passes. ``file_bytes`` and ``changed_ns`` tell
    whether the file is still the same. ``named``: sequences have the names in the file, after ``prefix``; else they are
    numbered after ``run``.
    """

    file: str
    file_bytes: int
    changed_ns: int
    topic: str
    run: str
    start_ms: int
    streams: int
    loop: bool
    sent: list[int]
    version: int = VERSION
    named: bool = False
    prefix: str = ""

    @classmethod
    def load(cls, place: Path) -> Self | None:
        """Return the progress at ``place``; None if there is none.

        Raises:
            StartupError: it cannot be read.
        """
        try:
            found = msgspec.json.decode(place.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StartupError(f"{place}: cannot be read as the progress of a replay ({error}): delete it") from error
        if found.version != VERSION:
            raise StartupError(f"{place}: written by another version of caststream: delete it to start again")
        return found

    def save(self, place: Path) -> None:
        """Write to ``place``, whole or not at all.

        Raises:
            StartupError: the place cannot be written.
        """
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(place) as partial, partial.open("xb") as file:
                file.write(msgspec.json.encode(self))
        except OSError as error:
            raise StartupError(f"{place}: cannot be written: {error.strerror}; see the setting data_dir") from error


def progress_place(data_dir: Path, file: Path, broker: str, topic: str) -> Path:
    """Return the place of the progress of replaying ``file`` into ``topic`` of ``broker``."""
    name = hashlib.sha256("\n".join((str(file.resolve()), broker, topic)).encode()).hexdigest()[:16]
    return data_dir / "replay" / f"{file.stem[:50]}-{name}.json"
