"""A real Prometheus for tests (Debian: prometheus): scrapes workers every second, has the alert rules."""

from __future__ import annotations

import json
import math
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from broker import wait_until

from stream_app.broker import free_port
from stream_app.child import Child

PROGRAM = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
READY_S = 30.0


class Prometheus:
    """A context manager: ready inside, gone after.

    Args:
        targets: ``host:port`` of workers, scraped as the job ``caststream``.
        rules: a file of rules.
    """

    def __init__(self, directory: Path, targets: Sequence[str], rules: Path) -> None:
        assert PROGRAM is not None
        self._directory = directory
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "caststream", "static_configs": [{"targets": list(targets)}]}],
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
