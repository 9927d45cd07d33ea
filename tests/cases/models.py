"""Models that people have on their disks, and values that no model has seen in its training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.wire.records import SENSORS
from stream_app.exits import EXIT_REFUSED
from tests.broker import wait_until
from tests.cases.case import case, expect
from tests.cases.room import Ran, Room

SIGNAL = "599257fda5be"
DEFECT = "2845f72c6c38"


def _content(kind: Any) -> dict[str, Any]:
    """A shipped checkpoint's content, without the fingerprint that would tell of a change."""
    from core.models.checkpoint import read_checkpoint
    from core.models.shipped import checkpoint_path

    content = read_checkpoint(checkpoint_path(kind))
    del content["fingerprint"]
    return content


def _signals(room: Room) -> Path:
    """A small file of signals."""
    path = room.folder() / "s.h5"
    done = room.caststream("generate", "signals", path, "--samples", "1", "--steps", "5")
    expect(done.status == 0, done.said)
    return path


def _save(room: Room, content: Any, **options: Any) -> Path:
    import torch

    path = room.folder() / "m.pt"
    torch.save(content, path, **options)
    return path


def _predict(room: Room, file: Path, model: Path) -> Ran:
    return room.caststream("predict", file, "--output", "-", signal_checkpoint=model)


def _refused(ran: Ran, *words: str) -> None:
    lines = ran.err.strip().splitlines()
    right = ran.status == 2 and lines and all(word in lines[-1] for word in words) and "Traceback" not in ran.err
    expect(right, ran.said)


@case(
    "ops-07",
    tried="a model with NaN in a weight, a std of 0 in its statistics, in predict and evaluate",
    before="accepted everywhere; every prediction null, and no metric told",
    slow=True,
)
def model_with_nan(room: Room) -> str:
    import torch

    content, file = _content("signal"), _signals(room)
    weights = content["model_state_dict"]
    bad = torch.full_like(weights["lstm.weight_hh_l0"], float("nan"))
    of_nan = _save(room, content | {"model_state_dict": weights | {"lstm.weight_hh_l0": bad}})
    std = {"mean": [0.0] * 5, "std": [1.0, 1.0, 0.0, 1.0, 1.0]}
    _refused(_predict(room, file, of_nan), "tensor 'lstm.weight_hh_l0' at [0, 0] is nan")
    _refused(_predict(room, file, _save(room, content | {"input_statistics": std})), "'std' at [2] is 0: must be above")
    evaluated = room.caststream("evaluate", "signal", file, "--checkpoint", of_nan)
    _refused(evaluated, "is nan")
    return "refused by all, " + evaluated.said


@case(
    "ops-07b",
    tried="a worker with a model whose weights hold NaN",
    before="ready, every prediction null",
    slow=True,
)
def worker_with_nan(room: Room) -> str:
    import torch

    content = _content("signal")
    content["model_state_dict"]["fc.bias"] = torch.tensor([float("nan")])
    settings = room.settings(signal_checkpoint=_save(room, content))
    with room.worker(settings) as worker:
        child = worker.launch()
        wait_until(lambda: not child.running, 120, "the end of the worker")
        status = child.exit_status
        expect(
            status == EXIT_REFUSED and "'fc.bias' at [0] is nan" in worker.log, f"status {status}: {worker.log[-300:]}"
        )
        return f"status {status}: {worker.log.strip().splitlines()[-1][-200:]}"


def _taken(room: Room, name: Callable[[str], str]) -> str:
    """What the first prediction says of its model, whose weights have other names."""
    import json

    content = _content("signal")
    weights = {name(old): value for old, value in content["model_state_dict"].items()}
    ran = _predict(room, _signals(room), _save(room, content | {"model_state_dict": weights}))
    expect(ran.status == 0, ran.said)
    model = json.loads(ran.out.splitlines()[0])["model"]
    expect(model == SIGNAL, f"the model is {model}")
    return f"taken: model {model}"


@case(
    "ops-15",
    tried="weights saved under DataParallel: each name begins with module.",
    before="neither a SignalExtractionLSTM's nor a SteelDefectLSTM's",
)
def data_parallel(room: Room) -> str:
    return _taken(room, lambda name: f"module.{name}")


@case(
    "ops-16",
    tried="weights saved from torch.compile: each name begins with _orig_mod. or _orig_mod.module.",
    before="neither a SignalExtractionLSTM's nor a SteelDefectLSTM's",
)
def compiled(room: Room) -> str:
    _taken(room, lambda name: f"_orig_mod.{name}")
    return _taken(room, lambda name: f"_orig_mod.module.{name}")


@case(
    "ops-17",
    tried="safetensors, the format before 1.6, TorchScript, a whole pickled model, a Git LFS pointer, cut short, empty",
    before="all: is not a PyTorch file of plain data",
    slow=True,
)
def other_formats(room: Room) -> str:
    import torch

    from core.models.signal_lstm import SignalExtractionLSTM

    content, file = _content("signal"), _signals(room)

    def given(raw: bytes) -> Path:
        path = room.folder() / "m.pt"
        path.write_bytes(raw)
        return path

    whole = _save(room, content)
    scripted = room.folder() / "m.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), scripted)
    _refused(
        _predict(room, file, _save(room, content, _use_new_zipfile_serialization=False)), "before 1.6", "torch.save"
    )
    _refused(_predict(room, file, scripted), "TorchScript")
    _refused(_predict(room, file, _save(room, SignalExtractionLSTM())), "whole pickled model")
    _refused(_predict(room, file, given(whole.read_bytes()[:-999])), "cut short")
    _refused(_predict(room, file, given(b"")), "empty (0 bytes)")
    pointer = _predict(room, file, given(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"))
    _refused(pointer, "Git LFS pointer", "git lfs pull")
    taken = _predict(room, file, given(_safetensors(content["model_state_dict"])))
    expect(taken.status == 0 and SIGNAL in taken.out, taken.said)
    return f"safetensors taken, others named: {pointer.said}"


def _safetensors(weights: dict[str, Any]) -> bytes:
    import json

    header, body = {}, b""
    for name, tensor in weights.items():
        data = tensor.contiguous().numpy().tobytes()
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        body += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


# Values that the model has not seen.


def _castings(room: Room, change: Callable[[Any], None]) -> Path:
    """Six generated casts, changed."""
    import h5py

    from core.data.castings import generate_castings

    path = room.folder() / "c.h5"
    generate_castings(path, 6, seed=8)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _told(room: Room, file: Path, *expected: str) -> str:
    """What predict says of values far outside: for each field, words of its line."""
    ran = room.caststream("predict", file, "--output", "-")
    lines = [line for line in ran.err.splitlines() if "far outside what the model was trained on" in line]
    expect(ran.status == 0 and ran.out, ran.said)
    expect(len(lines) == len(expected), f"{len(lines)} lines: {lines}")
    for words, line in zip(expected, lines, strict=True):
        expect(all(word in line for word in words.split("|")), line)
    return lines[0]


@case(
    "data-04c",
    tried="-9999, and 999999, in a sensor, without an attribute that says so",
    before="0.0401 in place of 0.0127, without a word",
)
def sentinel(room: Room) -> str:
    def change(file: Any) -> None:
        file["mold_level"][100:110] = -9999.0
        file["superheat"][120] = 999999.0

    return _told(room, _castings(room, change), "mold_level: 10 of|-9999|120 to 180", "superheat: 1 of|15 to 40")


@case(
    "data-21",
    tried="the temperature in K; in degrees Fahrenheit; all sensors 0",
    before="0.0345, 0.039, 0.94; no word and no metric",
)
def units(room: Room) -> str:
    def kelvin(file: Any) -> None:
        file["mold_temperature"][...] = file["mold_temperature"][:] + 273.15

    def fahrenheit(file: Any) -> None:
        file["mold_temperature"][...] = file["mold_temperature"][:] * 1.8 + 32

    def zeros(file: Any) -> None:
        for name in SENSORS:
            file[name][...] = 0.0

    told = _told(room, _castings(room, kelvin), "mold_temperature|expected 1480 to 1580")
    _told(room, _castings(room, fahrenheit), "mold_temperature|expected 1480 to 1580")
    _told(room, _castings(room, zeros), *SENSORS)
    return told


@case(
    "data-35r",
    tried="1.520 meant as 1520: thousands with a point in one column of a CSV",
    before="the mould has 1.52 degrees, without a word",
)
def thousands(room: Room) -> str:
    def change(file: Any) -> None:
        file["mold_temperature"][...] = file["mold_temperature"][:] / 1000

    return _told(room, _castings(room, change), "mold_temperature|1.5|expected 1480 to 1580")


def _conditions(room: Room, *condition: float, signal: float | None = None) -> Path:
    import h5py

    path = _signals(room)
    with h5py.File(path, "r+") as file:
        file["condition_vectors"][0] = condition
        if signal is not None:
            file["mixed_signals"][0] = signal
    return path


@case(
    "data-19r",
    tried="condition vectors of zeros, [1,1,0,0] and [0,0,255,0]",
    before="predictions of nothing, without a word",
)
def condition_vectors(room: Room) -> str:
    for condition in ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 255.0, 0.0)):
        _told(room, _conditions(room, *condition), "condition_vector: 5 of 5|expected one 1 and three 0")
    return _told(room, _conditions(room, 0.0, 0.0, 0.0, 0.0), "condition_vector: 5 of 5|[0, 0, 0, 0]")


@case("data-20", tried="raw counts of an ADC, 30000", before="a prediction of 15.2, without a word")
def counts(room: Room) -> str:
    return _told(room, _conditions(room, 1.0, 0.0, 0.0, 0.0, signal=30000.0), "signal: 5 of 5|30000|-1.99909 to 1.999")


@case(
    "data-21b",
    tried="a worker that is fed degrees Fahrenheit and a condition vector that asks for two",
    before="scored, without a metric or a line",
    slow=True,
)
def strange_samples_live(room: Room) -> str:
    import json
    import urllib.request

    settings = room.settings()
    nominal = {"casting_speed": 1.2, "mold_temperature": 2768.0, "mold_level": 150.0}
    nominal |= {"cooling_water_flow": 200.0, "superheat": 25.0, "stream": "s"}
    signal = {"signal": 0.5, "condition_vector": [1, 1, 0, 0], "stream": "p"}
    given = {"broker": settings.broker, "topic_prefix": settings.topic_prefix}
    with room.worker(settings) as worker:
        worker.start()
        for kind, sample in (("casting", nominal), ("signal", signal)):
            lines = (json.dumps(sample) + "\n").encode() * 10
            ran = room.caststream("send", kind, stdin=lines, **given)
            expect(ran.status == 0, ran.said)
        address = f"http://127.0.0.1:{worker.settings.metrics_port}/metrics"

        def counted() -> list[str]:
            text = urllib.request.urlopen(address, timeout=10).read().decode()
            return [line for line in text.splitlines() if line.startswith("caststream_out_of_training_range_total{")]

        wait_until(lambda: len(counted()) == 2, 60, "the metric")
        wait_until(lambda: all(line.endswith(" 10.0") for line in counted()), 60, "all samples")
        told = [line for line in worker.log.splitlines() if "far outside what the model was trained on" in line]
        expect(len(told) == 2, worker.log[-500:])
        return f"{counted()[0]}; {told[0]}"
