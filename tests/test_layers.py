"""Imports point one way: core <- replay, core <- stream_app; only the command line and the demo meet replay."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"cli.py": {"replay"}, "demo.py": {"replay"}}  # the two places where everything meets
FORBIDDEN = {
    "core": {"stream_app", "replay", "dashboards", "faust", "aiokafka", "confluent_kafka", "prometheus_client"},
    "replay": {"stream_app", "dashboards", "faust", "torch"},
    "stream_app": {"replay", "dashboards", "h5py"},
    "dashboards": {"core", "replay", "faust", "torch"},
}


def imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    paths = list((ROOT / package).rglob("*.py"))

    assert paths
    for path in paths:
        assert not imported_packages(path) & FORBIDDEN[package] - ALLOWED.get(path.name, set()), path


def test_the_wire_codecs_load_without_torch() -> None:
    import subprocess
    import sys

    code = "import core.records, sys; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
