"""Grafana dashboards and alert rules of caststream, as code."""
