"""A worker process for tests of the supervisor: it does what the file says that its environment names.

Its lines are "INDEX WORD": ready, refuse, lost, unreachable or fail; without a line it waits, as one that is starting.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from stream_app.exits import EXIT_REFUSED, EXIT_UNREACHABLE
from stream_app.worker.report import Reporter

SCRIPT = "SCRIPT_OF_WORKERS"


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--index")
    arguments.add_argument("--report", type=int)
    options = arguments.parse_args()
    reporter = Reporter(options.report)
    words = dict(line.split(maxsplit=1) for line in Path(os.environ[SCRIPT]).read_text().splitlines())
    word = words.get(options.index, "wait")
    if word == "refuse":
        reporter.ends("the checkpoint is half\na file")
        return EXIT_REFUSED
    if word == "lost":
        reporter.ready()
        reporter.ends("signal-samples[0] ends at offset 3", for_good=True)
        return EXIT_REFUSED
    if word == "unreachable":
        return EXIT_UNREACHABLE
    if word == "fail":
        return 1
    if word == "ready":
        reporter.ready()
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
