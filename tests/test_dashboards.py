"""The dashboards: the JSON is what the code gives, and every panel shows data of a real worker in a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import yaml

from core.models.shipped import checkpoint_path
from core.tasks import declaration
from dashboards import panels
from dashboards.generate import FOLDER, write_all
from dashboards.pages import PAGES
from dashboards.panels import THRESHOLDS, USUAL_THRESHOLD, fill_variables
from stream_app.flow.metrics import LATENCY_BUCKETS
from stream_app.local.broker import LocalBroker
from stream_app.routes import SIGNAL_PREDICTIONS, SIGNAL_SAMPLES
from stream_app.settings import Settings
from tests.broker import Received, consume_all, consume_until, wait_until
from tests.commands import ROOT
from tests.feeds import Feed, casting_feed, signal_feed
from tests.offline import casting_samples, signal_samples
from tests.prometheus import NAMESPACE, PROGRAM, Prometheus, names_in, names_of_a_worker
from tests.worker import WorkerProcess, own_worker

DATA_S = 60.0
STEPS = 40  # of each signal stream in a round
CAST_STEPS = 130
WINDOW = "5s"  # of rates


def queries() -> list[str]:
    """Every query of every panel of the dashboards in the repository."""
    pages: list[Any] = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return [target["expr"] for page in pages for panel in page["panels"] for target in panel["targets"]]


class Traffic:
    """Samples of three tasks, good and bad ones: every round something of everything that a panel shows."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._signals = [signal_feed(worker.settings) for _ in range(8)]
        self._casts = casting_feed(worker.settings)
        self._pump = Feed(worker.settings, "pump-1", "pump-samples", "pump-outputs", 0)
        self._round = self.predictions = 0

    def round(self) -> None:
        """Send it: to each stream a sequence with duplicates and a gap; a bad record, a late one; a value that is
        unknown to the model; two casts; of a pump a value that is not normal, and a sample without load.
        """
        self._round += 1
        for feed in self._signals:
            samples = [sample | {"sequence": f"run-{self._round}"} for sample in signal_samples(STEPS)]
            feed.send(*samples[:20], *samples[18:30], *samples[33:])
            self.predictions += STEPS - 3
        late = [signal_samples(1)[0] | {"sequence": f"run-{self._round - 1}"}] if self._round > 1 else []
        self._signals[0].send({"signal": "no number"}, *late)
        self._signals[1].send({**signal_samples(1)[0], "sequence": f"strange-{self._round}", "signal": 1000.0})
        self.predictions += 1
        self._pump.send({"vibration": [0.1, 0.2], "load": 5.0}, {"vibration": [9.0, 0.2]})
        for length in (CAST_STEPS, 20):
            cast = [sample | {"sequence": f"cast-{self._round}-{length}"} for sample in casting_samples(length)]
            self._casts.send(*cast[:-1], cast[-1] | {"end": True})


class Watched(NamedTuple):
    """A worker with some traffic of every kind behind it, and the Prometheus that has seen it."""

    settings: Settings
    prometheus: Prometheus
    traffic: Traffic
    without_data: list[str]
    """Queries that had nothing to show within a minute."""


@pytest.fixture(scope="module")
def watched(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if PROGRAM is None:
        pytest.skip("Prometheus is not on this machine (Debian: prometheus; or its path in PROMETHEUS)")
    directory = tmp_path_factory.mktemp("prometheus")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from tests.pump import write_pump  # ONNX Runtime is an extra

    tasks = f"signal,casting,{write_pump(directory)}"
    with own_worker(broker, directory, "dashboards", tasks=tasks) as worker:
        target = f"{worker.settings.metrics_host}:{worker.settings.metrics_port}"
        with Prometheus(directory, [target], ROOT / "dashboards" / "alerts.yml") as prometheus:
            traffic, open_queries = Traffic(worker), [fill_variables(query, WINDOW) for query in queries()]

            def all_have_data() -> bool:
                traffic.round()
                open_queries[:] = [query for query in open_queries if not prometheus.values(query)]
                return not open_queries

            with contextlib.suppress(AssertionError):  # a test names the queries
                wait_until(all_have_data, DATA_S)
            yield Watched(worker.settings, prometheus, traffic, open_queries)


def test_the_files_are_what_the_code_gives(tmp_path: Path) -> None:
    written = {path.name: path.read_text() for path in write_all(tmp_path)}

    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == written, "run `make dashboards`"


def test_panels_do_not_overlap_and_have_a_title_of_their_own() -> None:
    for path in FOLDER.glob("*.json"):
        page = json.loads(path.read_text())
        cells = [
            (x, y)
            for at in (panel["gridPos"] for panel in page["panels"])
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
    titles = [(page.name, panel.title) for page in PAGES for panel in page.panels]
    assert len(titles) == len(set(titles))


def test_the_usual_threshold_is_the_bound_next_to_that_of_the_shipped_model() -> None:
    card = checkpoint_path("defect").with_suffix(".md").read_text()
    shipped = float(re.findall(r"reaches the threshold ([\d.]+):", card)[0])

    assert min(THRESHOLDS, key=lambda bound: abs(float(bound) - shipped)) == USUAL_THRESHOLD


def test_every_panel_asks_for_metrics_that_there_are() -> None:
    for query in queries():
        assert names_in(query)
        assert names_in(query) <= names_of_a_worker()


def test_panels_know_the_kinds_of_tasks() -> None:
    assert get_args(panels.TaskKind) == get_args(declaration.Kind)


def test_every_panel_is_of_the_chosen_tasks_whatever_their_names() -> None:
    without_task = re.compile(r"caststream_(ready|commit_age_seconds)|process_|python_")
    for query in queries():
        selectors = re.findall(r"\b((?:caststream|process|python|up)\w*)\{([^}]*)\}", query)
        assert selectors
        for name, selector in selectors:
            of_no_task = without_task.match(name) or name == "up" or 'stage="commit"' in selector
            assert ('task=~"$task' in selector) == (not of_no_task)
        assert not re.search(r"signal|casting|predictions", query)


@pytest.mark.slow
@pytest.mark.kafka
def test_every_panel_shows_data(watched: Watched) -> None:
    assert len(queries()) > 30
    assert watched.without_data == []


@pytest.mark.slow
@pytest.mark.kafka
def test_a_page_can_be_drawn(watched: Watched, tmp_path: Path) -> None:
    from dashboards.draw import MetricsSource, draw  # matplotlib is loaded where something is drawn

    for page in PAGES:
        picture = tmp_path / f"{page.name}.png"
        draw(page, MetricsSource(watched.prometheus.address, minutes=0.5, window=WINDOW), picture)

        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.kafka
def test_the_alert_rules_are_evaluated_and_none_fires_of_a_healthy_worker(watched: Watched) -> None:
    rules = [rule for group in watched.prometheus.get("rules")["groups"] for rule in group["rules"]]
    alerts = [rule for rule in rules if rule["type"] == "alerting"]

    assert len(alerts) > 10
    assert {rule["name"]: rule["health"] for rule in rules} == {rule["name"]: "ok" for rule in rules}
    # A pending one would fire later. Of the records some are bad or strange, on purpose; and on a machine that is busy
    # with other tests outputs are slow in truth (what wakes these two alerts is tested by promtool, in test_alerts.py).
    awake = {rule["name"] for rule in alerts if rule["state"] != "inactive"}
    busy = {"CaststreamLatencyBudgetBurnsFast", "CaststreamLatencyBudgetBurnsSlowly"}
    assert awake - busy <= {"CaststreamDeadLetters", "CaststreamOutOfTrainingRange", "CaststreamOutsideNormal"}


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize(("number", "low", "high"), [(0, 0, 10), (1, 1, 1e6)])
def test_the_figures_that_kubernetes_scales_by_are_there(
    watched: Watched, number: int, low: float, high: float
) -> None:
    rule = yaml.safe_load((ROOT / "deploy/kubernetes/prometheus-adapter.yml").read_text())["externalRules"][number]
    series, found = rule["seriesQuery"].partition("{")[0], f'namespace="{NAMESPACE}"'  # as the adapter fills them in
    query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", found)

    assert watched.prometheus.values(rule["seriesQuery"])
    # No more samples come: soon nothing waits, while the rate over two minutes is still there.
    wait_until(lambda: [value for value in watched.prometheus.values(query) if low <= value < high], DATA_S, query)


@pytest.mark.slow
@pytest.mark.kafka
def test_latency_is_that_of_the_brokers_clock_and_counts_every_sample(watched: Watched) -> None:
    settings, prometheus, count = watched.settings, watched.prometheus, watched.traffic.predictions
    histogram = f'caststream_latency_seconds_%s{{topic="{settings.topic(SIGNAL_PREDICTIONS)}"}}'

    def counted() -> list[float]:
        return prometheus.values(f"sum({histogram % 'count'})")

    outputs = consume_until(settings, settings.topic(SIGNAL_PREDICTIONS), count)
    wait_until(lambda: counted() == [len(outputs)] == [count], what=f"{count} samples in Prometheus")

    (measured,) = prometheus.values(f"histogram_quantile(0.99, sum by (le) ({histogram % 'bucket'}))")
    true = float(np.quantile(latencies_s(settings, outputs), 0.99))
    assert abs(bucket(measured) - bucket(true)) <= 2, f"{measured} s by Prometheus, {true} s by the log"


def latencies_s(settings: Settings, outputs: list[Received]) -> list[float]:
    """From the append of each sample to that of its prediction, as the demo has them."""
    samples = consume_all(settings, settings.topic(SIGNAL_SAMPLES))
    appended = {(record.partition, record.offset): record.timestamp for record in samples}
    return [
        (output.timestamp - appended[output.partition, int(output.header("source-offset") or -1)]) / 1000
        for output in outputs
    ]


def bucket(seconds: float) -> int:
    return bisect_left(LATENCY_BUCKETS, seconds)
