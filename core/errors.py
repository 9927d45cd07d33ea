"""Errors, grouped by what the shell does with them.

CaststreamError
  RecordError       bad bytes or values in one record         -> dead letter, go on
  StateError        stored state that cannot be used          -> zero state, count, go on
  StartupError      wrong setting, checkpoint, topic, broker  -> refuse to start (exit 2)
    DataError       a file that is not what it should be      -> names file and dataset
    LostRecordsError  processed records are gone from a source  -> exit 2, of a running system too
    UnreachableError  no broker answers: later it may           -> exit 1; a running system tries again
      OutageError     one answers, its cluster is out of order  -> exit 1; a worker tries again from its first start
  RunError          a run that began and could not go on      -> exit 1
"""

from __future__ import annotations

from pathlib import Path


class CaststreamError(Exception):
    """Base of every error that caststream raises on purpose."""


class RecordError(CaststreamError):
    """One record that cannot be used.

    ``reason`` is a short word from a fixed set: it becomes the header ``error.reason`` and a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class StateError(CaststreamError):
    """A stored state that is damaged or does not fit the model.

    ``reason`` is a short word from a fixed set, a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StartupError(CaststreamError):
    """Something that must be put right before anything can run: the message says what, where and how."""


class DataError(StartupError):
    """A data file that cannot be used."""

    def __init__(self, path: Path | str, problem: str, dataset: str | None = None) -> None:
        where = f"{path}: dataset '{dataset}'" if dataset else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.path = Path(path)
        self.problem = problem
        self.dataset = dataset


class LostRecordsError(StartupError):
    """A source ends below the last processed record. A later try might find new records at those offsets and skip them
    silently, so everything stops until an operator has decided.
    """


class UnreachableError(StartupError):
    """No broker answers. At a first start that is a wrong address; later it is an outage, which ends."""


class OutageError(UnreachableError):
    """A broker answers, but a part of the cluster has an outage, which ends by itself."""


class RunError(CaststreamError):
    """A run that had begun and could not go on: a lost broker, a failed send, a missing result."""
