"""A fresh quick run of the pipeline against the stored one: fails where caststream has fallen behind a peer.

    .venv/bin/python benchmarks/check.py [--against FILE] [--fresh FILE]

Behind `make bench-check`, for a person before a release. Only ratios of one run are compared, never absolute times:
those belong to the machine. The exit status is 1 where a ratio fell by more than 25 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import at, figure, markdown, say

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
MOST_LOST = 0.25


@dataclass(frozen=True)
class Compared:
    """How many times faster than a peer caststream is, then and now."""

    peer: str
    stored: float
    fresh: float | None

    @property
    def fell(self) -> bool:
        """By more than a quarter, or the peer is gone."""
        return self.fresh is None or self.fresh < (1 - MOST_LOST) * self.stored


def compare(stored: Mapping[str, float], fresh: Mapping[str, float]) -> list[Compared]:
    """Every peer that was measured then."""
    return [Compared(peer, ratio, fresh.get(peer)) for peer, ratio in stored.items()]


def stored_ratios(path: Path) -> dict[str, float]:
    """The ratios of the stored run.

    Raises:
        SystemExit: there are none.
    """
    try:
        ratios = at(json.loads(path.read_text()), "parts", "pipeline", "ratios")
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path}: cannot be read ({error}); `make bench` makes it") from error
    if not ratios:
        raise SystemExit(f"error: {path}: holds no ratios of the pipeline; `make bench` measures them")
    return dict(ratios)


def fresh_report() -> dict[str, Any]:
    """A quick run of the pipeline, its progress on our stderr.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, str(HERE / "bench_pipeline.py"), "--quick", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: the pipeline benchmark ended with status {done.returncode}")
    return dict(json.loads(done.stdout))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, default=LATEST, help="the stored run, written by `make bench`")
    parser.add_argument("--fresh", type=Path, help="the JSON of a pipeline run, instead of a new run")
    options = parser.parse_args()
    stored = stored_ratios(options.against)
    fresh = json.loads(options.fresh.read_text()) if options.fresh else fresh_report()
    compared = compare(stored, fresh["ratios"])
    print(
        markdown(
            ("caststream_1 beside", "stored ratio", "fresh ratio", "verdict"),
            [(each.peer, each.stored, each.fresh, "FELL" if each.fell else "ok") for each in compared],
        )
    )
    for each in compared:
        if each.fell:
            say(
                f"error: {each.peer}: the ratio was {figure(each.stored)} and is {figure(each.fresh)}; "
                f"more than {100 * MOST_LOST:.0f} % are lost"
            )
    return 1 if any(each.fell for each in compared) else 0


if __name__ == "__main__":
    sys.exit(main())
