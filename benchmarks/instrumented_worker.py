"""The worker's program with a look from inside: how many asyncio tasks it has, once a second, in a file.

    python benchmarks/watched_worker.py FILE [OPTIONS OF THE WORKER PROCESS]

A thread counts them; all else is the worker as it is. Memory, file descriptors and threads are seen from outside.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading
import time
from typing import IO, Any

EVERY_S = 1.0
WIDTH = 12


def count_tasks(loop: Any, file: IO[bytes]) -> None:
    """Write their number again and again. The file stays open: it costs one descriptor, always the same."""
    while True:
        time.sleep(EVERY_S)
        try:
            count = len(asyncio.all_tasks(loop))
        except RuntimeError:  # tasks came and went at each try: the next look will do
            continue
        file.seek(0)
        file.write(f"{count:>{WIDTH}}\n".encode())


def main() -> None:
    """Entry point; never returns. The file is open for as long as the process lives."""
    file = open(sys.argv.pop(1), "wb", buffering=0)  # noqa: SIM115
    made = asyncio.new_event_loop

    def watched() -> Any:
        loop = made()
        threading.Thread(target=count_tasks, args=(loop, file), name="tasks", daemon=True).start()
        return loop

    asyncio.new_event_loop = watched
    runpy.run_module("stream_app.worker.process", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
