"""The examples do what they say: they are run as a reader would run them, against a real broker and a real worker."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engines.infer import advance_sequences
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.tasks.reading import read_declaration
from stream_app.local.broker import LocalBroker
from stream_app.local.jars import KAFKA_VERSION
from tests.broker import Received, ToSend, consume_until, produce
from tests.commands import ROOT, commands_in, parse
from tests.conftest import JARS_DIR
from tests.worker import WorkerProcess, own_worker

EXAMPLES = sorted([*(ROOT / "examples").glob("*.*"), *(ROOT / "examples").glob("*/make_*.py")])
MOST_LINES = 110
PATIENCE_S = 90


@pytest.fixture(scope="module")
def worker(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with own_worker(broker, tmp_path_factory.mktemp("examples"), "examples") as running:
        yield running


def run(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def send(worker: WorkerProcess, stream: str, samples: int) -> None:
    settings = worker.settings
    place = ("--broker", settings.broker, "--topic", settings.topic("signal-samples"))
    printed = run(sys.executable, "examples/send_samples.py", *place, "--stream", stream, "--samples", str(samples))
    assert printed.startswith(f"sent {samples:,} samples of {stream}")


def read(worker: WorkerProcess, count: int) -> list[dict[str, Any]]:
    settings = worker.settings
    place = ("--broker", settings.broker, "--topic", settings.topic("signal-predictions"))
    printed = run(sys.executable, "examples/read_predictions.py", *place, "--count", str(count))
    return [json.loads(line) for line in printed.splitlines()]


def offline(records: list[Received]) -> list[float]:
    """The shipped model over one sequence, without Kafka."""
    model: Any = load_model(checkpoint_path("signal"), "signal")
    values = [[record.json["signal"], *record.json["condition_vector"]] for record in records]
    predictions, _ = advance_sequences(model, [np.array(values, np.float32)])
    return predictions[0].tolist()


@pytest.mark.slow
@pytest.mark.kafka
def test_what_the_sending_example_sends_comes_back_to_the_reading_example_once_and_as_offline(
    worker: WorkerProcess,
) -> None:
    settings = worker.settings
    source, output = settings.topic("signal-samples"), settings.topic("signal-predictions")
    send(worker, "press-7", 300)
    published = consume_until(settings, output, 300)
    again = [ToSend(one.key, one.value, one.headers, one.partition) for one in published[250:]]
    produce(settings, output, again)  # as after a crash
    send(worker, "press-7", 100)

    found = read(worker, 400)

    samples = consume_until(settings, source, 400)
    assert [(one["stream"], one["step"]) for one in found] == [("press-7", step) for step in [*range(300), *range(100)]]
    expected = offline(samples[:300]) + offline(samples[300:])
    np.testing.assert_allclose([one["prediction"] for one in found], expected, rtol=0, atol=1e-5)


def test_the_reading_example_knows_a_repeat_and_keeps_a_final_score_of_the_same_sample() -> None:
    repeats = runpy.run_path(str(ROOT / "examples" / "read_predictions.py"))["Repeats"]()

    assert not repeats.seen(0, b"strand-1", 130, False)
    assert not repeats.seen(0, b"strand-1", 130, True)
    assert repeats.seen(0, b"strand-1", 130, False)
    assert repeats.seen(0, b"strand-1", 130, True)
    assert repeats.seen(0, b"strand-1", 99, False)
    assert not repeats.seen(0, b"strand-2", 99, False)
    assert not repeats.seen(1, b"strand-1", 99, False)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK: a runtime alone does not compile")
def test_the_java_example_sends_a_cast_that_is_scored_in_the_partition_that_other_producers_use(
    worker: WorkerProcess,
) -> None:
    settings = worker.settings
    class_path = str(JARS_DIR / f"kafka-{KAFKA_VERSION}" / "*")
    topic = settings.topic("casting-samples")

    printed = run(
        "java", "-cp", class_path, "examples/SendSamples.java", settings.broker, "strand-1", "130", "1000", topic
    )

    assert printed.startswith("sent 130 samples of strand-1, sequence heat-")
    scores = consume_until(settings, settings.topic("casting-scores"), 2)
    assert [(one.json["step"], one.json["final"]) for one in scores] == [(99, False), (129, True)]
    [(partition, _)] = produce(settings, topic, [ToSend("strand-1", b"")], {"partitioner": "murmur2_random"})
    assert {one.partition for one in scores} == {partition}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_opens_with_commands_that_exist(path: Path) -> None:
    text = path.read_text()
    opening = "\n".join(line.strip(" /") for line in text.splitlines()[:12])
    commands = commands_in("\n".join(line for line in opening.splitlines() if line.startswith("caststream ")))

    assert len(text.splitlines()) < MOST_LINES
    assert str(path.relative_to(ROOT)) in opening
    for words in commands:
        parse(words)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/*.toml")), ids=lambda path: path.name)
def test_the_task_file_of_an_example_is_accepted_and_named_as_its_folder(path: Path) -> None:
    task = read_declaration(path, need_files=False)

    assert task.name == path.stem == path.parent.name
    assert task.model.example == path.with_suffix(".example.npz")
