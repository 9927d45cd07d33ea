"""The page of all alerts, from dashboards/alerts.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tools.docs.tables import code, page, table

RULES = Path(__file__).resolve().parent.parent.parent / "dashboards" / "alerts.yml"
INTRODUCTION = """
The rules stand in [dashboards/alerts.yml](../../dashboards/alerts.yml). How Prometheus takes them, and what each
alert asks of you: [operations](../operations.md#alerts). Send `critical` to a person at once, `warning` to whoever
looks during the day, and keep `info` for the record.
"""


def alerts_page() -> str:
    """Every alert with its severity, how long its cause must last, and what it says."""
    rows = [
        (
            f"[{alert['alert']}](../{alert['annotations']['runbook_url'].removeprefix('docs/')})",
            alert["labels"]["severity"],
            str(alert.get("for", "at once")),
            _text(alert["annotations"]["description"]),
        )
        for alert in alerts()
    ]
    return page("Alerts", INTRODUCTION, table(("alert", "severity", "after", "meaning"), rows))


def alerts() -> list[dict[str, Any]]:
    """The rules that are alerts, in order."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _text(template: str) -> str:
    """The text of a rule, with the name of each label in place of its value."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: code(label[1]), template)
