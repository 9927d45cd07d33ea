"""Cases of machines: no home directory, a home directory that cannot be written, users without a name."""

from __future__ import annotations

import os
import subprocess

from stream_app.settings import PREFIX
from tests.cases.case import case, expect
from tests.cases.room import COMMAND, PATIENCE_S, Ran, Room
from tests.worker import ROOT

# Python is started as we are, as it may lie where only root can read. The number has no entry.
AS_NOBODY = """
import os, runpy
import stream_app.local.broker, stream_app.cli.main, stream_app.settings, stream_app.topics.administration
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(0)
    os.setuid(1_000_770)
runpy.run_module("stream_app.cli.main", {}, "__main__")
"""


def without_home(room: Room, *arguments: str, **settings: str) -> Ran:
    """A command without HOME, where we may as a user without an entry."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
    folder = room.folder()
    folder.chmod(0o777)
    if os.getuid():  # our own entry would give a home directory
        environment["HOME"] = "~"
    command = [COMMAND[0], "-c", AS_NOBODY, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=PATIENCE_S)
    return Ran(done)


@case(
    "ops-26",
    tried="user number without an entry, no HOME, as a container platform starts it: topics, worker settings, broker",
    before="every command: setting data_dir: PosixPath('~/.local/share/caststream') is not accepted; accepted: a path",
    slow=True,
)
def no_home_directory(room: Room) -> str:
    asked = without_home(room, "topics", "describe", broker="127.0.0.1:1")
    expect("home" not in asked.err and asked.status != 0, f"a command that writes nothing: {asked.said}")
    broker = without_home(room, "broker", "--port", "0")
    expect(broker.status == 2 and "no home directory for ~" in broker.err, f"broker: {broker.said}")
    expect("DATA_DIR" in broker.err, f"broker names no way: {broker.said}")
    given = without_home(room, "broker", "--port", "0", data_dir="~/kafka")
    expect(given.status == 2 and "no home directory for ~" in given.err, f"data_dir ~/kafka: {given.said}")
    return f"what writes nothing does not ask for it; broker: {broker.said}"


@case(
    "ops-26b",
    tried="the data directory lies where nothing can be written",
    before="one line that names the directory and --data-dir",
)
def home_that_cannot_be_written(room: Room) -> str:
    done = room.caststream("broker", "--port", "0", data_dir="/proc/caststream")
    expect(done.status == 2 and "/proc/caststream" in done.err and "--data-dir" in done.err, done.said)
    return done.said
