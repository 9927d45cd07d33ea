"""One real broker per run, a set of topics of its own per test, and no settings from the environment."""

from __future__ import annotations

import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from stream_app.cli import main as cli
from stream_app.cli.options import Debug
from stream_app.local.broker import LocalBroker
from stream_app.settings import PREFIX, Settings, load_settings
from tests import worker as workers
from tests.broker import JARS_DIR, delete_topics
from tests.commands import Done, Run
from tests.feeds import Feed, casting_feed, signal_feed
from tests.letters import Resend
from tests.shared_broker import JoinedBroker, SharedBroker

MakeSettings = Callable[..., Settings]

LOG_END_CHARACTERS = 6000

# Machines that run tests are shared, and slow by turns.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=60
)
hypothesis.settings.load_profile("untimed")

LONGEST = [
    "test_faults",
    "test_strangers",
    "test_defect_training",
    "test_wheel",
    "test_training_commands",
    "test_bench",
    "test_workers",
    "test_verify",
    "test_security",
    "test_broker",
    "test_rollout",
    "test_strangers",
    "test_grow",
    "test_cli",
    "test_kept_letters",
    "test_worker",
    "test_refusals",
    "test_cuts",
    "test_sink",
    "test_pump",
    "test_task_check",
    "test_task_findings",
    "test_topics",
    "test_dead_letters",
    "test_crash_points",
    "test_signals_native",
    "test_ownership",
    "test_tokens",
    "test_cases",
    "test_replay",
    "test_scorer",
    "test_eviction",
    "test_own_model",
    "test_readme",
    "test_stream_machine",
    "test_logs",
    "test_record_table",
    "test_restored_states",
    "test_damaged_checkpoints",
    "test_bad_files",
    "test_docs",
    "test_stepper",
    "test_tail",
    "test_batches",
    "test_training_loop",
    "test_hidden_cuda",
    "test_audit",
    "test_fencing",
    "test_imports",
    "test_supervisor",
    "test_csv_lines",
    "test_training_logs",
]
"""Files that take more than ten seconds, the longest first. A lane takes the next file when it is through with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, those on the broker before the others, so that the lanes end at about the same time."""
    on_broker = {item.path for item in items if item.get_closest_marker("kafka")}

    def rank(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.stem
        return LONGEST.index(name) if name in LONGEST else len(LONGEST), item.path not in on_broker

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """The thousands of tests and the packages that they import stay to the end: no collection need look at them."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    workers.forget_ended()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the workers that ran beside it had to say."""
    report = yield
    if report.failed:
        report.sections.extend((title, log[-LOG_END_CHARACTERS:]) for title, log in workers.logs())
    return report


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX) and name != f"{PREFIX}DATA_DIR":
            monkeypatch.delenv(name)


SHARED = pytest.StashKey[SharedBroker]()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        config.stash[SHARED] = SharedBroker()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["broker"] = str(node.config.stash[SHARED].directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    if shared := config.stash.get(SHARED, None):
        shared.stop()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """The Kafka of this run and all its lanes. Leave it running; a test that stops a broker starts one of its own."""
    if directory := getattr(request.config, "workerinput", {}).get("broker"):
        yield JoinedBroker(Path(directory))
        return
    with LocalBroker(tmp_path_factory.mktemp("kafka"), jars_dir=JARS_DIR) as running:
        yield running


@pytest.fixture
def make_settings(broker: LocalBroker, tmp_path: Path) -> Iterator[MakeSettings]:
    """`make_settings(**changes)`: settings with an application id and a topic prefix of their own, topics created."""
    from stream_app.topics.administration import create_topics

    made: list[Settings] = []

    def make(**changes: Any) -> Settings:
        name = f"t{uuid.uuid4().hex[:10]}"
        given = {"app_id": name, "topic_prefix": f"{name}-", "data_dir": tmp_path, "metrics_port": 0} | changes
        settings = load_settings(broker=broker.address, **given)
        create_topics(settings)
        made.append(settings)
        return settings

    yield make
    for settings in made:
        delete_topics(settings)


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """Settings as the defaults are, with topics of the test's own."""
    return make_settings()


@pytest.fixture(scope="session")
def worker(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[workers.WorkerProcess]:
    """A worker with the default settings, for tests that bring streams of their own and leave it running."""
    name = f"tests-worker-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    with workers.own_worker(broker, tmp_path_factory.mktemp("worker"), name) as running:
        yield running


@pytest.fixture
def signals(worker: workers.WorkerProcess) -> Feed:
    """A new signal stream of the module's worker."""
    return signal_feed(worker.settings)


@pytest.fixture
def casts(worker: workers.WorkerProcess) -> Feed:
    """A new strand of the module's worker."""
    return casting_feed(worker.settings)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """`run(arguments...)`: the command in this process, in an empty directory."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["caststream", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)
    Debug.wanted = False


@pytest.fixture
def resend(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Resend:
    """`resend(arguments...)`: the command, without a question, on the test's own topics."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: run("dead-letters", "resend", "--yes", *arguments)
