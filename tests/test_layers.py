"""Imports point down: rooms stand on floors, and each may import from the floors below it alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tools.import_graph import Graph, circles, module_graph, packages_of, room_graph

ROOT = Path(__file__).resolve().parent.parent
FLOORS: tuple[set[str], ...] = (
    {"core", "core.native", "replay.native", "stream_app.native"},
    {"core.judging", "core.tasks"},
    {"core.wire"},
    {"core.data", "core.models"},
    {"core.engines"},
    {"core.engines.onnx"},
    {"core.engines.declared"},
    {"core.audit", "core.data.csv", "core.data.pump", "core.offline", "core.tasks.check"},
    {"core.drafts", "core.training", "replay"},
    {"core.training.tasks"},
    {"core.reports"},
    {"stream_app"},
    {"stream_app.clients", "stream_app.local"},
    {"stream_app.kafka", "stream_app.topics"},
    {"stream_app.demo", "stream_app.flow", "stream_app.letters"},
    {"stream_app.verify", "stream_app.worker"},
    {"dashboards", "stream_app.cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Beside the floors: what a package may not import from outside, and who may look over the fence.
FORBIDDEN = {
    "core": {"faust", "aiokafka", "confluent_kafka", "prometheus_client"},
    "replay": {"stream_app", "faust", "torch"},
    "stream_app": {"replay", "h5py"},
    "dashboards": {"core", "replay", "faust", "torch"},
}
ALLOWED = {
    "stream_app/cli/main.py": {"replay"},
    "stream_app/cli/record_commands.py": {"replay"},
    "stream_app/demo/run.py": {"replay"},
}


def imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.fixture(scope="module")
def modules() -> Graph:
    return module_graph(ROOT)


@pytest.fixture(scope="module")
def rooms(modules: Graph) -> Graph:
    return room_graph(modules, packages_of(ROOT))


def test_every_room_stands_on_a_floor(rooms: Graph) -> None:
    assert FLOOR.keys() == rooms.keys()


@pytest.mark.parametrize("room", sorted(FLOOR))  # the same order on every lane
def test_a_room_imports_from_the_floors_below_alone(rooms: Graph, room: str) -> None:
    assert {other for other in rooms[room] if FLOOR[other] >= FLOOR[room]} == set()


def test_no_two_modules_import_each_other(modules: Graph) -> None:
    assert circles(modules) == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_of_others_stay_where_they_belong(package: str) -> None:
    paths = list((ROOT / package).rglob("*.py"))

    assert paths
    for path in paths:
        allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
        assert not imported_packages(path) & FORBIDDEN[package] - allowed, path


@pytest.mark.parametrize("module", ["core.wire.records", "core.engines.infer", "core.engines.hidden"])
def test_what_a_worker_on_a_processor_needs_loads_without_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
