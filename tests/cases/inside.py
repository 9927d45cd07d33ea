"""The command line inside this process: what a process of its own would show, without the seconds that torch takes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stream_app.cli import main as cli
from stream_app.cli.options import Debug
from stream_app.settings import PREFIX
from tests.cases.room import Ran, Room


class InsideRoom(Room):
    """A room for the quick tests. A traceback that a command would print fails the test here."""

    def caststream(self, *arguments: str | Path, stdin: bytes = b"", **settings: Any) -> Ran:
        """As `Room.caststream`."""
        command = ["caststream", *map(str, arguments)]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(PREFIX)]:
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(f"{PREFIX}{name.upper()}", str(value))
            patch.chdir(self.folder())
            patch.setattr("sys.argv", command)
            streams = {name: io.TextIOWrapper(io.BytesIO(given), "utf-8") for name, given in _files(stdin).items()}
            for name, stream in streams.items():
                patch.setattr(f"sys.{name}", stream)
            status = _status()
            out, err = (_bytes(streams[name]) for name in ("stdout", "stderr"))
        for number, handler in handlers.items():
            signal.signal(number, handler)
        Debug.wanted = False
        return Ran(subprocess.CompletedProcess(command, status, out, err))


def _files(stdin: bytes) -> dict[str, bytes]:
    return {"stdin": stdin, "stdout": b"", "stderr": b""}


def _bytes(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


def _status() -> int:
    try:
        cli.main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
