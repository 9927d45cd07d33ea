"""`caststream worker --workers 2`: two processes share the work, each with metrics of its own on a port of its own."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream_app.local.broker import _can_listen, _claim, free_port
from stream_app.local.child import Child
from stream_app.settings import Settings
from tests.broker import wait_until
from tests.feeds import signal_feed
from tests.offline import signal_samples

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WORKERS = 2
SAMPLES = 20
FEEDS = 8
LAG = "caststream_consumer_lag_records"  # of the partitions that a process has: half of both sources


def get(port: int, path: str) -> str:
    """What a worker answers; "" where there is none, or none that is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return str(response.read().decode())
    except urllib.error.URLError:
        return ""


def metric(port: int, name: str) -> dict[tuple[str, ...], float]:
    """By label values."""
    families = text_string_to_metric_families(get(port, "/metrics"))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in samples}


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two free ones beside each other, which nobody else is given."""
    while True:
        first = free_port()
        claim = _claim(first + 1)
        if claim is not None:
            with claim:
                if _can_listen(first + 1):
                    yield [first, first + 1]
                    return


def test_each_process_counts_its_own_on_a_port_of_its_own(settings: Settings, ports: list[int], tmp_path: Path) -> None:
    environment = settings.replace(metrics_port=ports[0]).process_environment()
    command = [str(Path(sys.executable).parent / "caststream"), "worker", "--workers", str(WORKERS)]
    supervisor = Child(command, output=tmp_path / "log", environment=environment)
    try:
        wait_until(lambda: all(get(port, "/readyz") for port in ports), 90, "both to be ready")
        wait_until(lambda: all(len(metric(port, LAG)) == settings.partitions for port in ports), 60, "half for each")
        feeds = [signal_feed(settings, number % settings.partitions) for number in range(FEEDS)]
        for feed in feeds:
            feed.send(*signal_samples(SAMPLES))
        for feed in feeds:
            feed.predictions(SAMPLES)

        counted = [sum(metric(port, "caststream_records_total").values()) for port in ports]
        owned = [set(metric(port, LAG)) for port in ports]
    finally:
        supervisor.stop(60)

    assert sum(counted) == FEEDS * SAMPLES
    assert all(counted)
    assert not owned[0] & owned[1]
    assert supervisor.exit_status == 0
