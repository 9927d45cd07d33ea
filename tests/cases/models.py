"""Models that people have on their disks, and values that no model has seen in its training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker import wait_until

from cases.case import case, expect
from cases.room import Ran, Room

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
        status = child.exit_status  # 3 tells the supervisor, which ends with 2, that it was refused
        expect(status == 3 and "'fc.bias' at [0] is nan" in worker.log, f"status {status}: {worker.log[-300:]}")
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
