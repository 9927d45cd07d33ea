"""A pump on the real broker by its commands: a CSV by send, a file by replay, outputs by tail, all as predict says."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.data.task_file import TaskFile
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration
from replay.run import replay
from stream_app.cli.tail import tail, topic_of
from stream_app.offline import predict_file
from stream_app.routes import route_of
from tests.broker import ToSend, produce
from tests.commands import Run
from tests.conftest import MakeSettings
from tests.pump import write_pump
from tests.worker import WorkerProcess

ROOT = Path(__file__).resolve().parent.parent
SEQUENCES, STEPS = 3, 30
START_MS = 1_700_000_000_000


def write_file(path: Path) -> str:
    """Write the samples of three runs as HDF5; returns them as a CSV of streams with other names."""
    random = np.random.default_rng(5)
    total = SEQUENCES * STEPS
    vibration = random.normal(scale=1.5, size=(total, 2)).astype("f4")
    load = random.uniform(0, 100, total).astype("f4")
    load[(random.random(total) < 0.3) & (np.arange(total) % STEPS > 0)] = np.nan
    times = START_MS + 20 * np.arange(total)
    with h5py.File(path, "w") as file:
        file["vibration"], file["load"], file["timestamp_ms"] = vibration, load, times
        file["sequence_start"] = np.arange(0, total, STEPS)
        file["sequence_length"] = np.full(SEQUENCES, STEPS)
        file["sequence_name"] = [f"run-{row}" for row in range(SEQUENCES)]
    rows = ["stream,sequence,step,timestamp_ms,Vib 1,Vib 2,load"]
    for at in range(total):
        numbers = [repr(float(number)) for number in vibration[at]]
        held = "" if np.isnan(load[at]) else repr(float(load[at]))
        row, step = divmod(at, STEPS)
        rows.append(",".join([f"line-{row}", f"run-{row}", str(step), str(times[at]), *numbers, held]))
    return "\n".join(rows) + "\n"


@pytest.mark.kafka
def test_lines_and_files_of_a_pump_give_the_outputs_that_predict_gives(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    pump = write_pump(tmp_path)
    settings = make_settings(tasks=str(pump))
    task = read_declaration(pump)
    text = write_file(tmp_path / "pump.h5")
    predicted = io.BytesIO()
    predict_file(settings, tmp_path / "pump.h5", predicted, task)
    expected = [json.loads(line) for line in predicted.getvalue().splitlines()]
    out = io.StringIO()

    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        renamed = ["--column", "vibration_1=Vib 1", "--column", "vibration_2=Vib 2"]
        place = ["--broker", settings.broker, "--topic-prefix", settings.topic_prefix]
        sender = subprocess.run(
            [sys.executable, "-m", "stream_app.cli.main", "send", str(pump), *place, *renamed],
            input=text,
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        played = replay(
            tmp_path / "pump.h5",
            client_config=settings.client_config(),
            topic_signal="",
            topic_casting="",
            task=task,
            topic=route_of(settings, task).source,
            data_dir=tmp_path,
            speed=math.inf,
        )
        kind, topic = topic_of(settings, str(pump))
        tail(
            kind,
            client_config=settings.client_config(),
            topic=topic,
            out=out,
            as_json=True,
            from_beginning=True,
            count=2 * len(expected),
        )

    assert (sender.returncode, sender.stderr) == (0, f"done: {SEQUENCES * STEPS} records sent, 0 bad lines\n")
    assert played.sent == len(expected) == SEQUENCES * STEPS
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert in_order(expected) == in_order(each for each in found if each["stream"].startswith("pump-"))
    lines = (each for each in found if each["stream"].startswith("line-"))
    sent = [each | {"stream": each["stream"].replace("line-", "pump-000")} for each in lines]
    assert in_order(expected) == in_order(sent)


@pytest.mark.kafka
def test_a_record_out_of_range_that_is_corrected_and_resent_has_the_output_that_predict_gives(
    make_settings: MakeSettings, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = write_pump(tmp_path)
    settings = make_settings(tasks=str(pump))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    write_file(tmp_path / "pump.h5")
    predicted = io.BytesIO()
    predict_file(settings, tmp_path / "pump.h5", predicted, task := read_declaration(pump))
    expected = [line for line in map(json.loads, predicted.getvalue().splitlines()) if line["sequence"] == "run-0"]
    samples = samples_of(tmp_path / "pump.h5", task)
    source, name = route_of(settings, task).source, expected[0]["stream"]
    corrected = tmp_path / "corrected.jsonl"

    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        produce(settings, source, [ToSend(name, sample) for sample in [*samples[:-1], samples[-1] | {"load": 100.5}]])
        told = run("tail", "dead-letters", "--from-beginning", "--json", "--count", 1)
        letter = json.loads(told.out)
        corrected.write_text(json.dumps(letter | {"value": samples[-1]}) + "\n")
        as_it_was = run("dead-letters", "resend", "--yes")
        resent = run("dead-letters", "resend", "--yes", "--corrected", corrected)
        found = run("tail", str(pump), "--from-beginning", "--json", "--count", STEPS)

    assert letter["reason"] == "out_of_range"
    assert "a worker would refuse it again, so correct it (--corrected): load is 100.5" in as_it_was.err
    assert (resent.status, resent.err) == (0, "1 resent\n")
    assert [json.loads(line) for line in found.out.splitlines()] == expected


def samples_of(path: Path, task: Declaration) -> list[dict[str, Any]]:
    """The samples of a file's first sequence as records hold them."""
    with TaskFile(path, task) as file:
        sequence = file.sequences[0]
        times = file.times(sequence.start, sequence.count)
        numbers = file.values(sequence.start, sequence.count).tolist()
    assert times is not None
    return [
        {name: held for name, held in task.by_field(values).items() if not np.isnan(held).any()}
        | {"sequence": sequence.name, "step": step, "timestamp_ms": int(time_ms)}
        for step, (values, time_ms) in enumerate(zip(numbers, times, strict=True))
    ]


def in_order(outputs: Any) -> list[dict[str, Any]]:
    return sorted(outputs, key=lambda output: (output["stream"], output["step"]))
