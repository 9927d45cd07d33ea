"""The check of a model before it runs: each kind of bad export is refused, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from core.errors import StartupError
from core.tasks.reading import read_declaration

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.onnx.binding import WantedGraph, bind
from core.engines.onnx.probe import reach
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.engines.onnx.task import open_states
from core.tasks.check.carried import check_halves
from core.tasks.check.example import run_row
from core.tasks.check.findings import CarriedState
from core.tasks.check.noise import read_samples
from core.tasks.check.swapped import goes_on_elsewhere
from tests import onnx_models as models
from tests.checked_task import EXAMPLE, THREE, Task


@pytest.fixture
def make(tmp_path: Path) -> Any:
    return lambda model, *more, **given: Task(tmp_path, model, *more, **given)


# Models that are right.


@pytest.mark.parametrize(
    ("model", "plan", "states"),
    [
        (models.gru, "any", (CarriedState("h0", "hn", (2, 1, 8)),)),
        (models.lstm, "any", (CarriedState("h0", "hn", (2, 1, 8)), CarriedState("c0", "cn", (2, 1, 8)))),
        (models.torch_cell, "any", (CarriedState("h0", "hn", (1, 8)), CarriedState("c0", "cn", (1, 8)))),
        (models.torch_lstm, "any", (CarriedState("h0", "hn", (2, 1, 8)), CarriedState("c0", "cn", (2, 1, 8)))),
        (models.softplus, "pad 8", (CarriedState("s", "new_s", (1, 5)),)),
        (models.mean, "one by one", (CarriedState("s", "new_s", (1, 13)),)),
    ],
)
def test_a_right_model_passes(make: Any, model: Any, plan: str, states: tuple[CarriedState, ...]) -> None:
    checked = make(model()).check()

    assert (checked.plan, checked.states) == (plan, states)
    assert checked.state_bytes == 4 * sum(np.prod(state.shape) for state in states)
    assert set(checked.microseconds) == {1, 64, 1000}
    assert checked.notes == ("there is no example, so nothing shows that the graph computes what your framework does",)


def test_a_model_that_agrees_with_its_example_has_nothing_to_note(make: Any) -> None:
    task = make(models.lstm(), EXAMPLE)
    task.write_example()

    checked = task.check()

    assert checked.example == (200, 0.0)
    assert checked.notes == ()


# Bad exports.


def test_states_that_torch_has_tied_are_refused(make: Any) -> None:
    """Right from zeros, wrong from then on: the exporter reads c for both, without a warning."""
    line = make(models.torch_tied()).refusal()

    assert "pump.onnx: state 'h0' moves no output: the exporter has left it out" in line
    assert "export it with a tensor of its own for each state (caststream task export-help torch)" in line


def test_a_frozen_batch_is_refused(make: Any) -> None:
    assert "input 'x' float[1, 3] has a frozen batch: export it with a batch" in make(models.torch_frozen()).refusal()


def test_states_that_are_swapped_against_their_names_are_refused(make: Any) -> None:
    line = make(models.torch_cell(), 'states = { h0 = "cn", c0 = "hn" }').refusal()

    assert "[model] states: state 'h0' becomes output 'cn', but by its name 'hn' is its next value; correct it" in line


@pytest.mark.parametrize("export", [models.torch_lstm, models.torch_cell, lambda: models.lstm(hidden=64)])
def test_states_that_are_swapped_under_names_that_say_nothing_are_refused(make: Any, export: Any) -> None:
    """As Keras names them; an LSTM's c goes on in a straight line, its h does not."""
    model = models.renamed(export(), {"h0": "a", "c0": "b", "hn": "u", "cn": "v"})

    line = make(model, 'states = { a = "v", b = "u" }').refusal()

    assert "state 'b' becomes output 'u', but its numbers go on in output 'v'" in line
    assert make(model, 'states = { a = "u", b = "v" }').check().plan == "any"


@pytest.mark.parametrize("scale", [0.02, 0.1, 0.4, 1.0])
@pytest.mark.parametrize(("hidden", "layers"), [(8, 1), (8, 3), (64, 2)])
@pytest.mark.parametrize("noise", [1.0, 30.0])
def test_how_an_lstms_states_are_paired_is_told_whatever_its_weights(
    monkeypatch: pytest.MonkeyPatch, scale: float, hidden: int, layers: int, noise: float
) -> None:
    """With small weights h is nearly straight, too; with large ones most gates are shut."""
    drawn = models.floats
    monkeypatch.setattr(models, "floats", lambda *shape, seed=0: drawn(*shape, seed=seed, scale=scale))
    graph = Graph("model.onnx", models.lstm(hidden=hidden, layers=layers))
    samples = (np.random.default_rng(0).normal(size=(10, 128, 3)) * noise).astype(np.float32)

    for pairs, swapped in (({"h0": "hn", "c0": "cn"}, False), ({"h0": "cn", "c0": "hn"}, True)):
        rows = CallRows(graph, bind(graph, WantedGraph(3, states=pairs, tensors=("y",))))
        assert (goes_on_elsewhere(rows, reach(rows, samples)) is not None) == swapped


def test_states_that_only_an_example_tells_apart_are_refused_by_it(make: Any) -> None:
    right = make(models.two_states(), 'states = { a = "u", b = "v" }')
    right.write_example()
    assert make(models.two_states(), 'states = { a = "v", b = "u" }').check().example is None

    line = make(models.two_states(), 'states = { a = "v", b = "u" }\n' + EXAMPLE).refusal()

    assert "does not agree with the example pump.npz: output 'y' is apart by" in line
    assert "first at step 1 " in line
    assert make(models.two_states(), 'states = { a = "u", b = "v" }\n' + EXAMPLE).check().example == (200, 0.0)


def test_an_example_that_agrees_is_believed_against_names(make: Any) -> None:
    model = models.renamed(models.torch_cell(), {"h0": "c0", "c0": "h0"} | {"hn": "hn", "cn": "cn"})
    task = make(model, f'states = {{ c0 = "hn", h0 = "cn" }}\n{EXAMPLE}')
    task.write_example()

    assert "by its name 'cn' is its next value" in task.check().notes[0]


@pytest.mark.parametrize("how", ["same", "nothing"])
def test_a_state_that_is_never_carried_is_refused(make: Any, how: str) -> None:
    assert "pump.onnx: state 's' is never carried: output 'new_s' is " in make(models.carried(how)).refusal()


def test_a_recurrent_model_without_any_state_is_refused(make: Any) -> None:
    line = make(models.forgetful()).refusal()

    assert "the graph has the operator GRU and no state that is carried, so it starts over at every sample" in line


def test_a_field_that_the_graph_does_not_read_is_refused(make: Any) -> None:
    assert "field 'b' moves no output: the graph does not read it" in make(models.deaf([1]), fields=THREE).refusal()


def test_a_dead_channel_of_an_array_is_refused_unless_an_example_agrees(make: Any) -> None:
    assert "the model does not read vibration[0], vibration[2] of the fields" in make(models.deaf([0, 2])).refusal()

    task = make(models.deaf([0, 2]), EXAMPLE)
    task.write_example()

    assert task.check().notes == ("the model does not read vibration[0], vibration[2] of the fields",)


def test_the_numbers_of_an_overlap_are_named_from_below_zero(make: Any) -> None:
    line = make(models.deaf([0]), fields="vibration = { length = 2, overlap = 1 }").refusal()

    assert "does not read vibration[-1] of the fields" in line


@pytest.mark.parametrize("where", ["top", "branch", "function"])
def test_a_model_that_reads_files_is_refused(make: Any, where: str) -> None:
    assert "is kept in another file, which is never read" in make(models.external(where)).refusal()


def test_int8_that_depends_on_the_batch_is_refused(make: Any) -> None:
    assert "use the float32 model" in make(models.with_operator("DynamicQuantizeLinear")).refusal()


def test_rows_that_read_each_other_are_refused(make: Any) -> None:
    assert "streams would read each other" in make(models.mixing()).refusal()


def test_a_state_that_is_too_large_is_refused(make: Any) -> None:
    line = make(models.gru()).refusal(state_bytes=60)

    assert "a stream's state has 64 bytes, more than the 60 that are accepted" in line
    assert make(models.gru()).check(state_bytes=64).state_bytes == 64


def test_a_model_that_grows_without_end_is_refused(make: Any) -> None:
    assert "output 'y' is not finite after" in make(models.carried("grown")).refusal()


def test_a_model_that_keeps_something_beside_its_states_is_refused(make: Any) -> None:
    """The second half begins from the state of the first; here its bank forgets."""
    task = make(models.gru())
    whole, halves = (open_states(read_declaration(task.path), task.model, "any") for _ in range(2))
    samples = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    check_halves("pump.onnx", whole, halves, samples)
    halves.write = lambda row, state: None  # type: ignore[method-assign]

    with pytest.raises(StartupError, match="a run in two halves, with the state carried over, gives something else"):
        check_halves("pump.onnx", whole, halves, samples[::-1].copy())


# The example.


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"x": np.zeros((200, 4))}, "dataset 'x': is (200, 4), needed is (steps, 3)"),
        ({"y": np.zeros((100, 2))}, "dataset 'y': has 100 steps, the samples have 200"),
        ({"x": np.full((200, 3), np.nan)}, "dataset 'x': must hold finite numbers"),
        ({"x": np.array("text")}, "dataset 'x': must hold finite numbers"),
        ({"h0": np.zeros(3)}, "dataset 'h0': is (3,), a state of one stream is (2, 1, 8)"),
        ({"y": np.ones((200, 2))}, "does not agree with the example pump.npz: output 'y' is apart by"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(make: Any, changed: Mapping[str, Any], line: str) -> None:
    task = make(models.gru(), EXAMPLE)
    task.write_example(**changed)

    assert line in task.refusal()


@pytest.mark.parametrize("raw", [b"", b"no zip", b"\x93NUMPY\x01\x00"])
def test_an_example_that_is_no_archive_is_refused(make: Any, raw: bytes) -> None:
    task = make(models.gru(), EXAMPLE)
    task.path.with_name("pump.npz").write_bytes(raw)

    assert "pump.npz: cannot be read as an .npz file" in task.refusal()


def test_pickled_objects_in_an_example_are_never_loaded(make: Any) -> None:
    task = make(models.gru(), EXAMPLE)
    task.write_example(x=np.array([{"a": 1}], dtype=object))

    assert "cannot be read as an .npz file without pickled objects" in task.refusal()


def test_an_example_may_begin_in_a_state(make: Any) -> None:
    task = make(models.gru(), EXAMPLE)
    bank = open_states(read_declaration(task.path, need_files=False), task.model, "any")
    state, samples = np.linspace(-1, 1, 16, dtype=np.float32), np.ones((5, 1, 3), np.float32)
    bank.write(1, state)
    task.write_example(x=samples, h0=state.reshape(2, 1, 8), y=run_row(bank, samples[:, 0]))

    assert task.check().example == (5, 0.0)


# Recorded samples.


def test_recorded_samples_take_the_place_of_noise(make: Any, tmp_path: Path) -> None:
    """The model grows without end in noise, and never in what was recorded."""
    task = make(models.carried("grown"), fields="v = { length = 3 }")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["v"] = np.zeros((50, 3))

    assert "is not finite" in task.refusal()
    assert task.check(data=tmp_path / "v.h5").plan == "any"


@pytest.mark.parametrize(
    ("datasets", "line"),
    [
        ({}, "dataset 'b': there is no such dataset"),
        ({"b": np.zeros((5, 2))}, "dataset 'b': has 2 numbers per sample, the field 1"),
        ({"b": np.zeros(4)}, "its fields have different numbers of samples"),
        ({"b": np.full(5, np.inf)}, "not finite"),
    ],
)
def test_recorded_samples_that_do_not_fit_are_refused(make: Any, tmp_path: Path, datasets: Any, line: str) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, values in ({"a": np.zeros(5), "c": np.zeros(5)} | datasets).items():
            file[name] = values

    assert line in make(models.gru(), fields=THREE).refusal(data=tmp_path / "v.h5")


def test_what_a_recorded_sample_lacks_is_held_as_live(tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text(
        'name = "h"\nkind = "step"\n[model]\nfile = "h.onnx"\n'
        '[fields]\na = { length = 2, overlap = 1 }\nb = { missing = "hold" }\n'
    )
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["a"], file["b"] = np.arange(6).reshape(3, 2), [5.0, np.nan, 7.0]
    declaration = read_declaration(tmp_path / "h.toml", need_files=False)

    assert read_samples(tmp_path / "v.h5", declaration).tolist() == [[0, 0, 1, 5], [1, 2, 3, 5], [3, 4, 5, 7]]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("range = [0, 7]", None),
        ("range = [0, 8]", "the high end of the fields' ranges (mode = 8)"),
        ("range = [-9, 7], normal = [0, 7]", "the low end of the fields' ranges (mode = -9)"),
        ("normal = [0, 7]", "the low end of the fields' ranges (mode = -1e+06)"),
    ],
)
def test_a_graph_that_a_record_in_range_would_stop_is_refused(make: Any, field: str, said: str | None) -> None:
    task = make(models.classes(8), fields=f"mode = {{ {field} }}")

    if said is None:
        assert task.check().plan == "any"
    else:
        assert said in task.refusal()
