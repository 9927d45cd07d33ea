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
from types import TracebackType
from typing import Any, Self

import pytest
import yaml
from broker import wait_until

from stream_app.broker import free_port
from stream_app.child import Child
from stream_app.metrics import Metrics

PROGRAM = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
READY_S = 30.0
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


class Prometheus:
    """A context manager: ready inside, gone after.

    Args:
        targets: ``host:port`` of workers, scraped as the job ``caststream``.
        rules: a file of rules.
    """

    def __init__(self, directory: Path, targets: Sequence[str], rules: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "caststream",
                    "static_configs": [{"targets": list(targets), "labels": {"namespace": NAMESPACE}}],
                }
            ],
        }
        self._config = directory / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        options = [
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._child = Child([PROGRAM, *options], output=self._directory / "prometheus.log")
        try:
            wait_until(self._is_ready, READY_S, "Prometheus")
        except BaseException:
            self._child.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            assert self._child.running, (self._directory / "prometheus.log").read_text()
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of the HTTP API."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """What an expression gives now, by series; without NaN, which stands for no data."""
        found = (float(series["value"][1]) for series in self.get("query", query=expression)["result"])
        return [value for value in found if not math.isnan(value)]
