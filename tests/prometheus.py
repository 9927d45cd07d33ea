"""A real Prometheus for tests (Debian: prometheus): scrapes workers every second, has the alert rules."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dashboards.local import LocalPrometheus
from stream_app.flow.metrics import Metrics

PROGRAM = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
NAMESPACE = "plant"
"""A label of all targets, as the scrape configuration for Kubernetes sets it."""


def promtool(*words: str | Path, directory: Path | None = None) -> str:
    """What promtool says of what it accepts; skipped where it is not on this machine."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not on this machine (Debian: prometheus)")
    done = subprocess.run([program, *words], cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_in(expression: str) -> set[str]:
    """The metrics in a PromQL expression."""
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:caststream[:_]|process_|python_|up\b)[\w:]*", plain))


def names_of_a_worker() -> set[str]:
    """The metrics that Prometheus has of a worker."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    families = Metrics().registry.collect()
    found = {f"{family.name}{suffix}" for family in families for suffix in suffixes.get(family.type, ("",))}
    return found | {"up"}


class Prometheus(LocalPrometheus):
    """One that scrapes every second and evaluates a file of rules, and can be asked.

    Args:
        targets: ``host:port`` of workers.
    """

    def __init__(self, directory: Path, targets: Sequence[str], rules: Path) -> None:
        assert PROGRAM is not None
        super().__init__(PROGRAM, directory, targets, "1s", [rules], {"namespace": NAMESPACE})

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the HTTP API."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """What an expression gives now, by series; without NaN, which stands for no data."""
        found = (float(series["value"][1]) for series in self.get("query", query=expression)["result"])
        return [value for value in found if not math.isnan(value)]
