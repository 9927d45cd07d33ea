"""dashboards/alerts.yml: rules that Prometheus takes, of metrics that there are, each tested and explained."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import yaml

from core.tasks.declaration import Kind
from stream_app.flow.metrics import LATENCY_BUCKETS, Metrics
from tests.commands import ROOT
from tests.prometheus import names_in, names_of_a_worker, promtool

DASHBOARDS = ROOT / "dashboards"
GROUPS: dict[str, list[dict[str, Any]]] = {
    group["name"]: group["rules"] for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"]
}
RULES = [rule for rules in GROUPS.values() for rule in rules]
ALERTS = [rule for rule in RULES if "alert" in rule]
OF_TASKS = [
    rule for rule in ALERTS if rule not in GROUPS["caststream-workers"] or rule["alert"] == "CaststreamLagGrows"
]
OBJECTIVES_S = {"step": 0.1, "window": 1}
SHOWN = {"step": "100 ms", "window": "1 s"}


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
    recorded = [rule for rule in RULES if "record" in rule]
    for kind, bound_s in OBJECTIVES_S.items():
        for_kind = [rule for rule in recorded if f'kind="{kind}"' in rule["expr"]]
        assert len(for_kind) == len(recorded) / len(OBJECTIVES_S)
        for rule in for_kind:
            (asked,) = re.findall(r'le="([^"]+)"', rule["expr"])
            assert asked in written
            assert (float(asked), rule["labels"]["objective"]) == (bound_s, SHOWN[kind])


def test_the_kinds_that_rules_ask_for_are_those_of_tasks() -> None:
    asked = {kind for rule in RULES for kind in re.findall(r'kind="([^"]+)"', rule["expr"])}

    assert asked == set(get_args(Kind))


def test_no_rule_names_a_task() -> None:
    for rule in RULES:
        told = " ".join([rule["expr"], *rule.get("labels", {}).values(), *rule.get("annotations", {}).values()])
        assert not re.search(r"signal|casting|predictions", told)


@pytest.mark.parametrize("alert", OF_TASKS, ids=lambda alert: alert["alert"])
def test_an_alert_about_data_names_the_task(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["summary"].startswith("{{ $labels.task }}: ")


@pytest.mark.parametrize(
    "command",
    [("check", "rules", "alerts.yml"), pytest.param(("test", "rules", "alerts_test.yml"), marks=pytest.mark.slow)],
)
def test_promtool_accepts_the_rules_and_their_tests(command: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*command, directory=DASHBOARDS)
