"""A window task whose model is a checkpoint: any number of fields and classes in the compiled kernel, without torch."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.windows import WindowAudit
from core.data.task_file import TaskFile
from core.engines.declared.window_model import WindowModel
from core.engines.infer import calibrated, score_windows
from core.engines.results import StreamRules
from core.engines.window_engine import WindowEngine
from core.errors import StartupError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import ModelFactory
from core.models.fingerprint import fingerprint
from core.models.weights_file import read_weights, weights_of
from core.native.records import Record
from core.offline.task_predict import predict_task
from core.offline.windows import WindowModelRun
from core.tasks.check.run import check_task
from core.tasks.reading import read_declaration
from stream_app.verify.audits import declared_windows
from stream_app.verify.outputs import TOLERANCE
from tests.audits import ALL
from tests.motion import DECLARATION, LABELS, WINDOW
from tests.no_torch import hide_torch
from tests.reference import Published, read_outputs
from tests.strategies import MemoryTable, relaxed
from tests.test_native_window_lstm import configs, draw, lengths, net_of, random_model
from tests.test_window_predict import write_samples

Floats = NDArray[np.float32]
START_MS = 1_700_000_000_000
OUTPUTS = f"""
[outputs]
odds = {{ tensor = "logits", apply = "softmax", labels = {list(LABELS)} }}
activity = {{ of = "odds", apply = "label" }}
peak = {{ tensor = "attention", apply = "argmax_step" }}
"""
HEAD = DECLARATION[: DECLARATION.index("[outputs]")].replace("motion.onnx", "motion.safetensors")
RULES = f"\n[window]\nlength = {WINDOW.window_length}\nfirst = {WINDOW.window_min}\nhop = {WINDOW.hop}\n"


def classifier(classes: int = 4, inputs: int = 6, seed: int = 0, **architecture: Any) -> SteelDefectLSTM:
    sections = {
        "architecture": {"input_size": inputs, "hidden_size": 7, "readout": "ends"} | architecture,
        "classifier": {"hidden_dims": [5], "outputs": classes},
        "normalization": {"layer_norm": True, "batch_norm": False, "input_norm": False},
    }
    model = random_model(sections, seed)
    model.input_statistics = {"mean": [0.25] * inputs, "std": [1.5] * inputs}
    return model


def write(folder: Path, model: Any, outputs: str = OUTPUTS, head: str = HEAD) -> Path:
    ModelFactory.save_checkpoint(model, folder / "motion.safetensors")
    path = folder / "motion.toml"
    path.write_text(head + RULES + outputs)
    return path


def by_torch(model: SteelDefectLSTM, window: Floats) -> tuple[Floats, Floats]:
    """The logits (K,) and the attention (T,) of one window alone."""
    x = torch.from_numpy(window)[None]
    if model.input_statistics is not None:
        x = (x - x.new_tensor(model.input_statistics["mean"])) / x.new_tensor(model.input_statistics["std"])
    with torch.no_grad():
        return model(x)[0].numpy(), model.get_attention_weights()[0].numpy()


def softmax(logits: Any) -> list[float]:
    powers = [math.exp(each - max(logits)) for each in logits]
    return [power / sum(powers) for power in powers]


def opened(path: Path) -> WindowModel:
    declaration = read_declaration(path)
    return WindowModel(declaration, declaration.model.file.read_bytes(), "any")


# The kernel.


@relaxed
@given(
    config=configs, classes=st.integers(1, 6), counts=st.lists(lengths, min_size=1, max_size=6), seed=st.integers(0, 99)
)
def test_logits_of_any_number_of_classes_equal_torch(
    config: dict[str, Any], classes: int, counts: list[int], seed: int
) -> None:
    model = random_model(config | {"classifier": config["classifier"] | {"outputs": classes}}, seed)
    windows = draw(model, counts, seed)

    logits, attention = net_of(model).classified(windows)

    assert logits.shape == (len(windows), classes)
    for window, found, weights in zip(windows, logits, attention, strict=True):
        expected, by_step = by_torch(model, window)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(weights, by_step, rtol=2e-6, atol=1e-6)


@relaxed
@given(config=configs, counts=st.lists(lengths, min_size=1, max_size=20), data=st.data())
def test_logits_are_the_same_bits_in_every_batch(config: dict[str, Any], counts: list[int], data: Any) -> None:
    model = random_model(config | {"classifier": config["classifier"] | {"outputs": 3}}, 3)
    windows, net = draw(model, counts), net_of(model)
    mixed = data.draw(st.permutations(range(len(windows))))

    logits, _ = net.classified([windows[place] for place in mixed])

    for found, place in zip(logits, mixed, strict=True):
        np.testing.assert_array_equal(found, net.classified([windows[place]])[0][0])


def test_the_first_of_several_logits_is_that_of_a_model_of_this_one_alone() -> None:
    several = classifier(3)
    one = classifier(1)
    weights = several.state_dict()
    last = max(name for name in weights if name.startswith("classifier.")).rpartition(".")[0]
    one.load_state_dict({name: each[:1] if name.startswith(last) else each for name, each in weights.items()})
    windows = draw(one, [30, 9])

    np.testing.assert_array_equal(net_of(several).classified(windows)[0][:, 0], net_of(one).attended(windows)[0])


# The file.


def test_a_file_of_several_classes_comes_back_as_it_was_written(tmp_path: Path) -> None:
    model = classifier(3)
    ModelFactory.save_checkpoint(model, tmp_path / "m.safetensors")

    again = ModelFactory.create_from_checkpoint(tmp_path / "m.safetensors")

    assert isinstance(again, SteelDefectLSTM)
    assert again.settings == model.settings
    assert fingerprint(again) == fingerprint(model) == weights_of(model).fingerprint


def test_a_model_of_one_logit_does_not_say_so_in_its_file() -> None:
    assert "outputs" not in classifier(1).settings.sections()["classifier"]
    assert classifier(2).settings.sections()["classifier"]["outputs"] == 2


def test_a_model_of_several_classes_is_refused_where_one_logit_is_needed(tmp_path: Path) -> None:
    model = classifier(3, inputs=5)
    ModelFactory.save_checkpoint(model, tmp_path / "m.safetensors")

    with pytest.raises(StartupError, match=r"m\.safetensors: the model has 3 logits"):
        read_weights(tmp_path / "m.safetensors", "defect")
    with pytest.raises(ValueError, match="the model has 3 logits"):
        score_windows(model, draw(model, [9]))


# The task.


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("own"), classifier())


@cache
def model_of(path: Path) -> WindowModel:
    return opened(path)


@relaxed
@given(counts=st.lists(st.integers(4, 9), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_every_output_is_what_torch_and_plain_python_make_of_one_window(
    path: Path, counts: list[int], seed: int
) -> None:
    random, model, torch_model = np.random.default_rng(seed), model_of(path), classifier()
    windows = [random.normal(size=(count, 6)).astype(np.float32) for count in counts]
    steps = [100 + np.arange(count) for count in counts]

    found = model.score(windows, steps)

    for numbers, window, each in zip(found, windows, steps, strict=True):
        logits, attention = by_torch(torch_model, window)
        odds = softmax(logits.tolist())
        np.testing.assert_allclose(numbers[:4], odds, atol=1e-6)
        assert odds[int(numbers[4])] >= max(odds) - 1e-6
        assert attention[int(numbers[5]) - each[0]] >= attention.max() * (1 - 1e-5)


def test_a_calibration_of_the_file_is_part_of_the_logits(tmp_path: Path) -> None:
    model = classifier(1)
    model.calibration = {"a": 0.5, "b": -0.25}
    task = opened(write(tmp_path, model, '[outputs]\nchance = { tensor = "logits", apply = "sigmoid" }\n'))
    (window,) = draw(model, [9])

    ((found,),) = task.score([window])

    assert found == pytest.approx(calibrated(net_of(model).attended([window])[0], model.calibration)[0], abs=1e-7)


def records_of(model: WindowModel, path: Path) -> list[Record]:
    """A file's samples as records; the last of each sequence says so."""
    records: list[Record] = []
    with TaskFile(path, model.declaration) as file:
        for sequence in file.sequences:
            for step, numbers in enumerate(file.values(sequence.start, sequence.count).tolist()):
                fields = model.declaration.by_field(numbers)
                sample = {name: value for name, value in fields.items() if not np.isnan(value).any()}
                sample |= {"sequence": sequence.name, "step": step, "timestamp_ms": START_MS + 20 * len(records)}
                sample |= {"end": True} if step == sequence.count - 1 else {}
                key, value = sequence.stream.encode(), json.dumps(sample).encode()
                records.append(Record(0, len(records), START_MS, key, value))
    return records


def published(model: WindowModel, records: list[Record]) -> list[Published]:
    """What the worker publishes for records that come in chunks of seven."""
    engine = WindowEngine(model.task, StreamRules(), WINDOW, MemoryTable().recovered())
    found: list[Published] = []
    for start in range(0, len(records), 7):
        found += read_outputs(engine.run(records[start : start + 7]).outputs)
    return found


def test_predict_gives_what_the_worker_publishes(path: Path, tmp_path: Path) -> None:
    model = model_of(path)
    file = write_samples(tmp_path / "x.h5", [12, 2, 9, 30], seed=1)
    run = WindowModelRun(model.declaration, model.fingerprint, model.outputs.fields, WINDOW, model.score)
    with (tmp_path / "out.jsonl").open("wb") as out:
        predict_task(file, out, run)

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    found = published(model, records_of(model, file))
    assert lines == [output.fields for output in found]
    assert {None} < {line["activity"] for line in lines} < {*LABELS, None}


@pytest.mark.parametrize("altered", [None, "odds", "activity", "peak"])
def test_verify_finds_an_output_that_was_altered(path: Path, tmp_path: Path, altered: str | None) -> None:
    model = model_of(path)
    records = records_of(model, write_samples(tmp_path / "x.h5", [12, 9, 30], seed=2))
    task = read_declaration(path)
    windows = declared_windows(task, task.model.file.read_bytes(), "any")
    audit = WindowAudit(task, SampleReader.of(task), windows, StreamRules(), WINDOW, Scope(committed=ALL))
    for record in records:
        audit.feed(record.offset, START_MS, record.key, record.value, ())
    audit.finish(START_MS)

    for output in published(model, records):
        fields = dict(output.fields)
        others = {"odds": dict.fromkeys(LABELS, 0.25), "activity": _another(fields["activity"]), "peak": -1}
        fields |= {altered: others[altered]} if altered else {}
        row = audit.row(output.source_offset, fields["final"])
        found = audit.differences(row, msgspec.convert(fields, audit.output_type))
        assert any(apart > TOLERANCE for apart in found.values()) is (altered is not None)


def _another(label: str) -> str:
    return LABELS[LABELS.index(label) - 1]


def test_the_check_passes_and_says_what_was_found(path: Path) -> None:
    checked = check_task(path, None)

    assert (checked.plan, checked.outputs) == ("any", {"logits": (4,), "attention": (9,)})
    assert checked.fingerprint == model_of(path).fingerprint
    assert any("no example" in note for note in checked.notes)


@pytest.mark.parametrize("wrong", [0.0, 0.01])
def test_an_example_is_compared(tmp_path: Path, wrong: float) -> None:
    model = classifier()
    windows = draw(model, [WINDOW.window_length] * 4)
    logits = np.stack([by_torch(model, window)[0] for window in windows])
    np.savez(tmp_path / "motion.npz", x=np.stack(windows), logits=logits * (1 + wrong))
    path = write(tmp_path, model, head=HEAD.replace("[model]", '[model]\nexample = "motion.npz"'))

    if wrong:
        with pytest.raises(StartupError, match="does not agree with the example"):
            check_task(path, None)
    else:
        assert check_task(path, None).example is not None


def refusal(folder: Path, model: Any, outputs: str = OUTPUTS, head: str = HEAD) -> str:
    with pytest.raises(StartupError) as error:
        check_task(write(folder, model, outputs, head), None)
    return str(error.value)


def test_a_field_that_moves_nothing_is_refused(tmp_path: Path) -> None:
    model = classifier()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith("lstm.weight_ih_l0"):
                tensor[:, 5] = 0.0

    assert "field 'load' moves no output" in refusal(tmp_path, model)


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    from core.models.signal_lstm import SignalExtractionLSTM

    other = OUTPUTS.replace('"logits"', '"y"')
    states = HEAD.replace("[model]", '[model]\nstates = { h0 = "hn" }')

    assert "its LSTM takes 5 numbers, the task's fields give 6" in refusal(tmp_path, classifier(inputs=5))
    assert "outputs name the tensor 'y', and a checkpoint has 'logits' and 'attention'" in refusal(
        tmp_path, classifier(), other
    )
    assert "[model] states is for ONNX models" in refusal(tmp_path, classifier(), head=states)
    assert "holds a SignalExtractionLSTM, and a window task runs a SteelDefectLSTM" in refusal(
        tmp_path, SignalExtractionLSTM(6, 8, 1)
    )
    assert "labels" in refusal(tmp_path, classifier(3))


def test_a_task_of_ones_own_runs_without_torch(path: Path, tmp_path: Path) -> None:
    file = write_samples(tmp_path / "x.h5", [12, 2, 30], seed=1)
    hidden = f"{hide_torch(tmp_path / 'hidden')}:{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "stream_app.cli.main", "predict", str(file), "--task", str(path)]

    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": hidden}, capture_output=True, check=True)

    assert len(done.stdout.splitlines()) == len(published(model_of(path), records_of(model_of(path), file)))
