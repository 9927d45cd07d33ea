"""dashboards/alerts.yml: rules that Prometheus takes, of metrics that there are, each tested and explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from stream_app.flow.metrics import LATENCY_BUCKETS, Metrics
from stream_app.routes import CASTING_SAMPLES, CASTING_SCORES, SIGNAL_PREDICTIONS
from tests.commands import ROOT
from tests.prometheus import names_in, names_of_a_worker, promtool

DASHBOARDS = ROOT / "dashboards"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
OBJECTIVES_S = {SIGNAL_PREDICTIONS: 0.1, CASTING_SCORES: 1}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_of_metrics_that_there_are(rule: dict[str, Any]) -> None:
    recorded = {each["record"] for each in RULES if "record" in each}

    found = names_in(rule["expr"])

    assert found
    assert found <= names_of_a_worker() | recorded


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_of_the_workers_alone(rule: dict[str, Any]) -> None:
    selectors = re.findall(r"\b(?:caststream_|process_|up\b)\w*(.{0,18})", rule["expr"])

    assert all(selector.startswith('{job="caststream"') for selector in selectors)
    assert selectors or "caststream:" in rule["expr"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_is_tested_and_says_what_to_do(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    tests = yaml.safe_load((DASHBOARDS / "alerts_test.yml").read_text())["tests"]
    expected = [case["exp_alerts"] for test in tests for case in test["alert_rule_test"] if case["alertname"] == name]
    page, anchor = alert["annotations"]["runbook_url"].split("#")

    assert any(expected), "no test has it fire"
    assert not all(expected), "no test has it silent"
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert anchor == name.lower()
    assert f"\n### {name}\n" in (ROOT / page).read_text()


def test_the_objectives_are_buckets_of_the_latency() -> None:
    metrics = Metrics()
    metrics.latency.labels("signal", "t").observe(0)
    written = set(re.findall(r'caststream_latency_seconds_bucket{le="([^"]+)"', metrics.exposition().decode()))

    assert set(OBJECTIVES_S.values()) <= set(LATENCY_BUCKETS)
    for rule in RULES:
        if "record" in rule:
            asked = re.findall(r'topic=~"\.\*([^"]+)", le="([^"]+)"', rule["expr"])
            assert {topic: float(bound) for topic, bound in asked} == OBJECTIVES_S
            assert {bound for _, bound in asked} <= written


def test_topics_are_named_as_they_are_with_any_prefix() -> None:
    asked = {name for rule in RULES for name in re.findall(r'topic=~"([^"]+)"', rule["expr"])}

    assert asked == {f".*{name}" for name in (SIGNAL_PREDICTIONS, CASTING_SCORES, CASTING_SAMPLES)}


@pytest.mark.parametrize(
    "command",
    [("check", "rules", "alerts.yml"), pytest.param(("test", "rules", "alerts_test.yml"), marks=pytest.mark.slow)],
)
def test_promtool_accepts_the_rules_and_their_tests(command: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*command, directory=DASHBOARDS)
