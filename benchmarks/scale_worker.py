"""The worker's program, with its requests to the broker counted by name.

    python benchmarks/scale_worker.py FILE [OPTIONS OF THE WORKER PROCESS]

A thread writes the counts so far into FILE five times a second, as JSON. All else is the worker as it is.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from pathlib import Path

from reporting import write_whole
from scale_light import Requests

EVERY_S = 0.2


def keep(requests: Requests, file: Path) -> None:
    """Write the counts again and again."""
    while True:
        time.sleep(EVERY_S)
        write_whole(file, json.dumps(dict(requests.counts)))


def main() -> None:
    """Entry point; never returns."""
    requests, file = Requests(), Path(sys.argv.pop(1))
    threading.Thread(target=keep, args=(requests, file), name="requests", daemon=True).start()
    runpy.run_module("stream_app.worker.process", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
