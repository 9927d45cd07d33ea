"""`python -m core.tasks.check.child`: one check, in a process with limits of its own. JSON in, JSON out.

A model is somebody's program: it may loop without end or ask for all memory. Here that ends this process alone.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import RunError, StartupError


def main() -> None:
    """Read a request from standard input; write the findings, or why the model is refused."""
    request = json.load(sys.stdin)
    _limit(request["memory_bytes"], request["cpu_seconds"])
    try:
        answer: dict[str, Any] = {"checked": asdict(_examine(request))}
    except (StartupError, RunError) as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": f"{request['task']}: the model wants more memory than a check may have"}
    json.dump(answer, sys.stdout)


def _examine(request: dict[str, Any]) -> Any:
    from core.tasks.check.examine import examine
    from core.tasks.reading import read_declaration

    declaration = read_declaration(request["task"])
    data = None if request["data"] is None else Path(request["data"])
    return examine(declaration, declaration.model.file.read_bytes(), data, request["most_state_bytes"])


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Limit what this process may take; it writes no file and leaves none behind."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main()
