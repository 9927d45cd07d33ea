"""ONNX files: what is refused before it is opened, and what each name of a graph is found to be."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StartupError
from tests.strategies import relaxed

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.binding import Binding
from core.engines.onnx.binding import WantedGraph, bind
from core.engines.onnx.contents import read_contents
from core.engines.onnx.names import pairs
from core.engines.onnx.session import Graph
from tests import onnx_models as models


def bound(model: bytes, width: int = 3, **wanted: Any) -> Binding:
    return bind(Graph("model.onnx", model), WantedGraph(width, **({"tensors": ("y",)} | wanted)))


def refused(model: bytes, width: int = 3, **wanted: Any) -> str:
    with pytest.raises(StartupError) as error:
        bound(model, width, **wanted)
    assert "\n" not in str(error.value)
    return str(error.value)


# The file.


@pytest.mark.parametrize("where", ["top", "branch", "function"])
def test_a_tensor_in_another_file_is_refused_wherever_it_is_named(where: str) -> None:
    assert refused(models.external(where)).startswith("model.onnx: tensor 'kept' is kept in another file")


@pytest.mark.parametrize(
    ("operator", "problem"),
    [
        ("DynamicQuantizeLinear", "int8, dynamic"),
        ("MatMulInteger", "int8, dynamic"),
        ("EPContext", "reads files"),
        ("RandomNormalLike", "draws random numbers"),
    ],
)
def test_operators_that_no_stream_can_trust_are_refused(operator: str, problem: str) -> None:
    assert problem in refused(models.with_operator(operator))


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 a zip", b"\x08\x07", b"\xff" * 40, models.gru()[:-40]])
def test_a_file_that_is_no_model_is_refused(raw: bytes) -> None:
    assert refused(raw).startswith("model.onnx: ")


def test_a_field_number_beyond_32_bits_hides_nothing() -> None:
    """ONNX Runtime cuts off the bits above, and would find the field for external data."""
    hidden = _varint((13 + (1 << 29)) << 3 | 2) + b"\x00"
    graph = b"\x2a" + _varint(len(hidden)) + hidden  # an initialiser

    with pytest.raises(StartupError, match="a field whose number is too large"):
        read_contents("model.onnx", b"\x3a" + _varint(len(graph)) + graph)


@pytest.mark.parametrize("location", [1, 1 + (1 << 32)])
def test_a_tensor_that_says_it_is_elsewhere_is_refused_without_the_place(location: int) -> None:
    tensor = b"\x70" + _varint(location)
    graph = b"\x2a" + _varint(len(tensor)) + tensor

    contents = read_contents("model.onnx", b"\x3a" + _varint(len(graph)) + graph)

    assert contents.external == [""]


@relaxed
@given(raw=st.binary(max_size=400))
def test_bytes_of_any_kind_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(StartupError):
        read_contents("model.onnx", raw)


@relaxed
@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_damaged_model_is_read_or_refused(place: int, change: int) -> None:
    raw = bytearray(models.gru())
    raw[place % len(raw)] ^= change
    with contextlib.suppress(StartupError):
        read_contents("model.onnx", bytes(raw))


def test_graphs_in_each_other_without_end_are_refused() -> None:
    graph = b""
    for _ in range(300):  # a graph with a node with an attribute that is a graph
        for tag in (0x32, 0x2A, 0x0A):
            graph = bytes([tag]) + _varint(len(graph)) + graph

    with pytest.raises(StartupError, match="more than 64 graphs in each other"):
        read_contents("model.onnx", b"\x3a" + _varint(len(graph)) + graph)


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


# Names.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("h0", "hn"),
        ("h0", "h1"),
        ("h", "new_h"),
        ("state", "stateN"),
        ("cache", "cache_next"),
        ("h_in", "h_out"),
        ("lstm.h_prev", "lstm.h_new"),
    ],
)
def test_a_state_pairs_with_its_next_value_by_name(before: str, after: str) -> None:
    assert pairs(["x", before], ["y", after]) == {before: after}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["input"], ["output"]),
        (["h"], ["hn", "h_out"]),
        (["h", "h0"], ["hn"]),
        (["h0"], ["cn"]),
        (["0", "in"], ["n"]),
        (["x"], ["x1"]),
    ],
)
def test_names_that_could_mean_something_else_do_not_pair(inputs: list[str], outputs: list[str]) -> None:
    assert pairs(inputs, outputs) == {}


def test_states_come_in_declared_order_and_then_by_name() -> None:
    found = bound(models.lstm(), states={"c0": "cn"})

    assert [(state.before.name, state.after) for state in found.states] == [("c0", "cn"), ("h0", "hn")]


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"input": "xs"}, "input: 'xs' is not in the graph; did you mean 'x'?"),
        ({"states": {"h0": "hm"}}, "states: 'hm' is not in the graph; its names there are: y, hn, cn"),
        ({"constants": {"rate": 1}}, "constants: 'rate' is not in the graph; its names there are: x, h0, c0"),
        ({"tensors": ("score",)}, "outputs: tensor: 'score' is not in the graph; its names there are: y, hn, cn"),
        ({"states": {"h0": "hn", "c0": "hn"}}, "states: output 'hn' is the next value of two states"),
        ({"input": "h0"}, "input 'x' float[batch, 3] gets no value"),
        ({"input": "h0", "states": {"h0": "hn"}}, "input 'h0' is named twice"),
        ({"constants": {"x": 1}}, "which of its inputs takes the samples is not clear"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_with_what_would(wanted: dict[str, Any], line: str) -> None:
    assert line in refused(models.lstm(), **wanted)


# Shapes.


@pytest.mark.parametrize(
    ("x", "reshape", "axis"),
    [
        (["batch", 3], [-1, 3], 0),
        (["batch", 1, 3], [-1, 3], 0),
        ([1, "batch", 3], [-1, 3], 1),
        ([None, None, None], [-1, 3], 0),
    ],
)
@pytest.mark.parametrize("state", [["batch", 4], [None, 4], ["other", 4]])
def test_samples_may_have_any_of_three_shapes(x: Any, reshape: list[int], axis: int, state: Any) -> None:
    found = bound(models.layout(x, state, reshape))

    assert (found.samples.axis, found.samples.size) == (axis, 3)
    assert found.states[0].before.of_rows(7) == (7, 4)
    assert found.outputs[0].of_rows(7) == (7, 4)


def test_an_axis_without_a_name_is_found_by_runs() -> None:
    """Both axes of the state could be the batch, by its shape; runs with 2 and 3 rows tell."""
    found = bound(models.lstm())

    assert [state.before.of_rows(5) for state in found.states] == [(2, 5, 8)] * 2


@pytest.mark.parametrize(
    ("x", "state", "reshape", "line"),
    [
        ([1, 3], ["batch", 4], [-1, 3], "input 'x' float[1, 3] has a frozen batch: export it with a batch axis"),
        ([1, 1, 3], ["batch", 4], [-1, 3], "input 'x' float[1, 1, 3] has a frozen batch"),
        (["batch", 3], [1, 4], [-1, 3], "state input 'h_in' float[1, 4] has a frozen batch"),
        (["batch", 3], ["batch", 4], [1, 3], "it cannot take 2 rows: export it with a batch axis"),
        (["batch", 16, 3], ["batch", 4], [-1, 3], "takes 16 steps at once: export it for one step, [batch, 1, 3]"),
        (["batch"], ["batch", 4], [-1, 3], "is neither [batch, 3] nor [batch, 1, 3]"),
    ],
)
def test_a_graph_without_a_batch_of_single_steps_is_refused(x: Any, state: Any, reshape: Any, line: str) -> None:
    assert line in refused(models.layout(x, state, reshape))


def test_a_sample_of_another_width_is_refused() -> None:
    assert "takes 3 numbers, the task's fields give 4: " in refused(models.gru(), width=4)


def test_a_batch_that_is_frozen_inside_torchs_export_is_refused() -> None:
    """torch's exporter freezes the batch of its example, without a warning."""
    assert "has a frozen batch: export it with a batch axis that is dynamic" in refused(models.torch_frozen())


def test_an_output_may_be_a_state_as_well() -> None:
    found = bound(models.layout(["batch", 3], ["batch", 4], [-1, 3]), tensors=("h_out", "y"), states={"h_in": "h_out"})

    assert [output.name for output in found.outputs] == ["h_out", "y"]
    assert found.states[0].after == "h_out"


# Constants.


@pytest.mark.parametrize(
    ("value", "line"), [(True, None), (1.5, None), ("a", "no number"), ((1, 2), "has the shape [2]")]
)
def test_a_constant_takes_the_type_and_shape_of_its_input(value: Any, line: str | None) -> None:
    if line is None:
        constant = bound(models.weights_given(), constants={"scale": value}).constants["scale"]
        assert (constant.dtype, constant.tolist()) == (np.float32, [value])
    else:
        assert line in refused(models.weights_given(), constants={"scale": value})
