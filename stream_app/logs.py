"""Logging of a process: one line per change of state, as text or JSON, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

# Faust and aiokafka tell every phase of a rebalance at INFO. Their own levels are set, not only the root's: with the
# root's alone they build debug records that are then thrown away, 10 % of a worker's time at 5,000 samples/s.
FAUST = logging.getLogger("faust")
"""The logger of our subclasses of Faust's services: what Faust says of them is as quiet as the rest of Faust."""
QUIET = ("faust", "aiokafka", "mode", "asyncio", "aiohttp")


# Said by aiokafka at every start of a group or arrival of a worker, and tried again by it at once.
RETRIED = (
    "Group Coordinator Request failed",
    "Marking the coordinator dead",
    "Heartbeat failed for group %s because it is rebalancing",
)
REPEAT_S = 30.0
SELDOM = {"seldom": True}
"""``extra`` of our own lines that an outage would repeat with every try."""


class Seldom(logging.Filter):
    """Lets the same line of a library, or of ours with `SELDOM`, pass once per `REPEAT_S`: without a broker aiokafka
    writes hundreds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(QUIET) and not getattr(record, "seldom", False):
            return True
        if record.msg.startswith(RETRIED):
            return False
        said, now = (record.name, record.msg), record.created
        if now - self._last.get(said, float("-inf")) < REPEAT_S:
            return False
        self._last[said] = now
        return True


class InOneLine(logging.Filter):
    """Makes aiokafka log an error in one line without a traceback: the worker itself reports why it ends."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("aiokafka") and record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", ()
            record.exc_info = record.exc_text = None
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(log_format: str, process: str, debug: bool = False) -> None:
    """Send this process's logs to stderr, Python's warnings too.

    Args:
        log_format: "text" or "json".
        process: its name, to tell the lines of several processes apart.
        debug: our own debug lines, and the libraries' INFO.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter(f"%(asctime)s %(levelname)-7s {process}: %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else text)
    logging.captureWarnings(True)
    if not debug:
        handler.addFilter(Seldom())
        handler.addFilter(InOneLine())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for library in QUIET:
        logging.getLogger(library).setLevel(logging.INFO if debug else logging.WARNING)
