"""A Prometheus of our own on this machine, scraping workers: for pictures and tests."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stream_app.local.broker import free_port
from stream_app.local.child import Child

READY_S = 30.0
LOOK_S = 0.05


class LocalPrometheus:
    """A context manager: ready inside, gone after.

    Args:
        program: the path of Prometheus.
        directory: for its configuration, data and log.
        targets: ``host:port`` of workers, scraped as the job ``caststream``.
        every: between two scrapes, and two evaluations of rules; a PromQL duration.
        rules: files of rules.
        labels: of all targets.

    Raises:
        RuntimeError: on entering, when it ends or is not ready in time; with its log.
    """

    def __init__(
        self,
        program: str,
        directory: Path,
        targets: Sequence[str],
        every: str,
        rules: Sequence[Path] = (),
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._program = program
        self._directory = directory
        self._listen = f"127.0.0.1:{free_port()}"
        self._config: dict[str, Any] = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": list(map(str, rules)),
            "scrape_configs": [
                {
                    "job_name": "caststream",
                    "static_configs": [{"targets": list(targets), "labels": dict(labels or {})}],
                }
            ],
        }
        self.address = f"http://{self._listen}"

    def __enter__(self) -> Self:
        config, self._log = self._directory / "prometheus.yml", self._directory / "prometheus.log"
        config.write_text(json.dumps(self._config))  # JSON is YAML too
        options = (f"--config.file={config}", f"--storage.tsdb.path={self._directory / 'tsdb'}")
        self._child = Child([self._program, *options, f"--web.listen-address={self._listen}"], output=self._log)
        try:
            self._wait_until_ready()
        except BaseException:
            self._child.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()

    def _wait_until_ready(self) -> None:
        end_s = time.monotonic() + READY_S
        while not self._is_ready():
            if not self._child.running or time.monotonic() > end_s:
                raise RuntimeError(f"Prometheus is not ready:\n{self._log.read_text()}")
            time.sleep(LOOK_S)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False
