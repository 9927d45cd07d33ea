"""The dashboards' pictures in docs/images, from a real run: Kafka, a worker, a Prometheus, replays, odd records.

    .venv/bin/python benchmarks/dashboard_pictures.py [--minutes 4]

Needs the program prometheus (Debian: prometheus).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confluent_kafka import Producer
from harness import bench_broker
from live_worker import LiveWorker
from reporting import say, status_of
from watch import Background

from core.errors import StartupError
from stream_app.local.child import Child
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

sys.path.append(str(Path(__file__).resolve().parent.parent))

from dashboards.draw import IMAGES, MetricsSource, draw, picture_of
from dashboards.local import LocalPrometheus
from dashboards.pages import PAGES

ROOT = Path(__file__).resolve().parent.parent
SCRAPE_EVERY = "2s"
WINDOW = "20s"
STREAMS = 10
ROUND_S = 0.1
# Beside 5 signals at 1 kHz, 20 strands at 50 times their pace.
REPLAYS = (
    (ROOT / "data" / "signals.h5", "--streams", "5", "--loop"),
    (ROOT / "data" / "castings.h5", "--streams", "20", "--speed", "50", "--loop"),
)


class OddRecords(Background):
    """Sends the faults of a plant, ten times a second: duplicates, gaps, late and bad records."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._producer = Producer(settings.client_config() | {"partitioner": "murmur2_random"})
        self._topic = settings.topic(SIGNAL_SAMPLES)

    def work(self) -> None:
        number = 0
        while not self.over.wait(ROUND_S):
            number += 1
            self._send_round(number)
            self._producer.poll(0)
        self._producer.flush(10)

    def _send_round(self, number: int) -> None:
        sequence, turn = divmod(number, 20)
        for stream in range(STREAMS):
            sample = self._sample(f"run-{sequence}", 12 * turn + stream)  # two steps are left out each time
            for _ in range(2 if stream % 3 == 0 else 1):
                self._send(stream, sample)
        if number % 2:
            self._send(1, {"signal": "no number"})
        if number % 5 == 0:
            self._send(2, b"\x00\x01")
        if number % 7 == 0:
            self._send(4, self._sample(f"run-{sequence - 1}", 0))

    def _sample(self, sequence: str, step: int) -> dict[str, Any]:
        return {"signal": 0.3, "condition_vector": [1, 0, 0, 0], "sequence": sequence, "step": step}

    def _send(self, stream: int, sample: dict[str, Any] | bytes) -> None:
        value = sample if isinstance(sample, bytes) else json.dumps(sample).encode()
        self._producer.produce(self._topic, value, key=f"odd-{stream}")


def find_prometheus() -> str:
    """Return the path of the program.

    Raises:
        StartupError: it is not on this machine.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise StartupError("the program prometheus is not on this machine; on Debian: apt install prometheus")
    return program


def run(minutes: float) -> None:
    """Run all of it and write the pictures."""
    program = find_prometheus()
    with ExitStack() as stack:
        settings = stack.enter_context(bench_broker(say))
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="caststream-pictures-")))
        create_topics(settings)
        worker = stack.enter_context(LiveWorker(settings, directory))
        worker.start()
        target = f"{worker.settings.metrics_host}:{worker.settings.metrics_port}"
        prometheus = stack.enter_context(LocalPrometheus(program, directory, [target], SCRAPE_EVERY))
        for number, words in enumerate(REPLAYS):
            environment = settings.process_environment()
            command = [str(Path(sys.executable).parent / "caststream"), "replay", *map(str, words)]
            replay = Child(command, output=directory / f"replay-{number}.log", environment=environment)
            stack.callback(replay.stop, 10)
        stack.enter_context(OddRecords(settings))
        end_s = time.monotonic() + 60 * minutes
        while (left_s := end_s - time.monotonic()) > 0:
            worker.require_running()
            say(f"{left_s:.0f} s to go")
            time.sleep(min(30.0, left_s))
        source = MetricsSource(prometheus.address, minutes, WINDOW)
        for page in PAGES:
            draw(page, source, IMAGES / picture_of(page))
            say(f"wrote {IMAGES / picture_of(page)}")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4, help="default %(default)s")
    options = parser.parse_args()
    return status_of(lambda: run(options.minutes))


if __name__ == "__main__":
    sys.exit(main())
