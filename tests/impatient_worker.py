"""`caststream worker` that waits for a broker for one second instead of thirty: `python -m tests.impatient_worker`."""

from __future__ import annotations

import logging
import os
import sys

from stream_app.worker import process, supervisor

PATIENCE_S = 1.0


def main() -> int:
    """Be the command or, where the supervisor asks, one of its processes."""
    process.BROKER_PATIENCE_S = PATIENCE_S
    if "--index" in sys.argv:
        return process.main()

    from stream_app.cli.main import main as command

    supervisor.Supervisor.program = "tests.impatient_worker"
    sys.argv = ["caststream", "worker"]
    command()
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)  # as `stream_app.worker.process` does
