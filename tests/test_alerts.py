"""dashboards/alerts.yml: rules that Prometheus takes, of metrics that there are, each tested and explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from commands import ROOT
from prometheus import names_in, names_of_a_worker, promtool

from stream_app.metrics import LATENCY_BUCKETS

DASHBOARDS = ROOT / "dashboards"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
OBJECTIVE_S = 0.1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_of_metrics_that_there_are(rule: dict[str, Any]) -> None:
    recorded = {each["record"] for each in RULES if "record" in each}

    found = names_in(rule["expr"])

    assert found
    assert found <= names_of_a_worker() | recorded


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_is_tested_and_says_what_to_do(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    tests = yaml.safe_load((DASHBOARDS / "alerts_test.yml").read_text())["tests"]
    expected = [case["exp_alerts"] for test in tests for case in test["alert_rule_test"] if case["alertname"] == name]
    page, anchor = alert["annotations"]["runbook_url"].split("#")

    assert any(expected), "no test has it fire"
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert anchor == name.lower()
    assert f"\n### {name}\n" in (ROOT / page).read_text()


def test_the_objective_is_a_bucket_of_the_latency() -> None:
    assert OBJECTIVE_S in LATENCY_BUCKETS
    buckets = {bound for rule in RULES for bound in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert buckets == {str(OBJECTIVE_S)}


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_rules_and_their_tests(command: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*command, directory=DASHBOARDS)
