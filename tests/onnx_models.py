"""Small ONNX models, built anew: recurrent ones that are right, and each kind of wrong one."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from core.models.signal_lstm import SignalExtractionLSTM

Shape = Sequence[int | str]
OPSET = 17


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    weights: Mapping[str, Any] | None = None,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model of these nodes; every input and output is float32 unless ``types`` says otherwise."""

    def value(name: str, shape: Shape) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), list(shape))

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [value(*each) for each in inputs.items()],
        [value(*each) for each in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def floats(*shape: int, seed: int = 0, scale: float = 0.4) -> Any:
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def gru(features: int = 3, hidden: int = 8, layers: int = 2, outputs: int = 2) -> bytes:
    """The GRU operator, its states (L, B, H), and a linear head; x is (B, F)."""
    return _recurrent("GRU", 3, features, hidden, layers, outputs).SerializeToString()


def lstm(features: int = 3, hidden: int = 8, layers: int = 2, outputs: int = 1) -> bytes:
    """The LSTM operator, as `gru`."""
    return _recurrent("LSTM", 4, features, hidden, layers, outputs).SerializeToString()


def _recurrent(operator: str, gates: int, features: int, hidden: int, layers: int, outputs: int) -> onnx.ModelProto:
    states = ("h", "c") if operator == "LSTM" else ("h",)
    weights = {"axis": np.array([0]), "head": floats(hidden, outputs, seed=9), "bias": floats(outputs, seed=8)}
    nodes = [helper.make_node("Unsqueeze", ["x", "axis"], ["x0"])]
    for layer in range(layers):
        size = hidden if layer else features
        weights |= {
            f"w{layer}": floats(1, gates * hidden, size, seed=layer),
            f"r{layer}": floats(1, gates * hidden, hidden, seed=layer + 20),
            f"b{layer}": floats(1, 2 * gates * hidden, seed=layer + 40),
            f"from{layer}": np.array([layer]),
            f"to{layer}": np.array([layer + 1]),
        }
        for state in states:
            bounds = [f"{state}0", f"from{layer}", f"to{layer}", "axis"]
            nodes.append(helper.make_node("Slice", bounds, [f"{state}0_{layer}"]))
        before, after = ([f"{state}{at}_{layer}" for state in states] for at in ("0", "n"))
        given = [f"x{layer}", f"w{layer}", f"r{layer}", f"b{layer}", "", *before]
        nodes.append(helper.make_node(operator, given, [f"y{layer}", *after], hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "one"], [f"x{layer + 1}"]))  # (1, 1, B, H): directions
    weights["one"] = np.array([1])
    for state in states:
        nodes.append(helper.make_node("Concat", [f"{state}n_{k}" for k in range(layers)], [f"{state}n"], axis=0))
    nodes += [
        helper.make_node("Squeeze", [f"x{layers}", "axis"], ["top"]),
        helper.make_node("Gemm", ["top", "head", "bias"], ["y"]),
    ]
    shape: Shape = [layers, "batch", hidden]
    return graph_of(
        nodes,
        {"x": ["batch", features]} | {f"{state}0": shape for state in states},
        {"y": ["batch", outputs]} | {f"{state}n": shape for state in states},
        weights,
    )


class Cell(nn.Module):
    """An LSTM made of primitives."""

    def __init__(self, features: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.gates, self.head = nn.Linear(features + hidden, 4 * hidden), nn.Linear(hidden, 2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, f, g, o = self.gates(torch.cat((x, h), 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h), h, c


class Stacked(nn.Module):
    """torch's own LSTM, for one step (B, 1, F)."""

    def __init__(self, lstm: nn.LSTM | None = None, head: nn.Linear | None = None) -> None:
        super().__init__()
        self.lstm, self.head = lstm or nn.LSTM(3, 8, 2, batch_first=True), head or nn.Linear(8, 2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.lstm(x, (h, c))
        return self.head(y[:, -1]), h, c


def exported(
    model: nn.Module, inputs: Sequence[Tensor], batch_axes: Sequence[int] | None, names: Sequence[str]
) -> bytes:
    """What torch's default exporter writes; without ``batch_axes`` the batch is as in the example."""
    # Only here: it takes a second and a half to load, and each lane collects every test.
    pytest.importorskip("onnxscript")
    dynamic = None if batch_axes is None else tuple({axis: torch.export.Dim("batch")} for axis in batch_axes)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=["x", "h0", "c0"],
            output_names=list(names),
            verbose=False,
        )
    program.save(buffer)  # type: ignore[union-attr]
    return buffer.getvalue()


@cache
def torch_cell() -> bytes:
    """`Cell`, exported rightly."""
    torch.manual_seed(1)
    return exported(Cell(), [torch.randn(2, 3), torch.randn(2, 8), torch.randn(2, 8)], (0, 0, 0), ("y", "hn", "cn"))


def leaky(
    between: Sequence[onnx.NodeProto], width: int = 5, weights: Mapping[str, Any] | None = None, **more: Any
) -> bytes:
    """s' = tanh(s + x W), and ``between`` makes y (B, width) of s'."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "s"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["new_s"]),
        *between,
    ]
    state: Shape = ["batch", width]
    out: Shape = more.pop("out", state)
    return graph_of(
        nodes,
        {"x": ["batch", 3], "s": state, **more},
        {"y": out, "new_s": state},
        {"w": floats(3, width)} | dict(weights or {}),
    ).SerializeToString()


def softplus() -> bytes:
    """An operator whose last numbers go another way unless their count is a multiple of eight."""
    return leaky([helper.make_node("Softplus", ["new_s"], ["y"])])


def mean() -> bytes:
    """An operator that adds in an order that depends on where a row stands."""
    return leaky([helper.make_node("ReduceMean", ["new_s"], ["y"], axes=[1], keepdims=1)], width=13, out=["batch", 1])


def weights_given() -> bytes:
    """A matrix product whose weights are computed, which is done another way for one row."""
    nodes = [
        helper.make_node("Mul", ["v", "scale"], ["vs"]),
        helper.make_node("MatMul", ["new_s", "vs"], ["y"]),
    ]
    return leaky(nodes, 64, {"v": floats(64, 64, seed=3)}, scale=[1])


def mixing() -> bytes:
    """A softmax over the batch: every row reads all others."""
    return leaky([helper.make_node("Softmax", ["new_s"], ["y"], axis=0)])


def layout(x: Shape, state: Shape, reshape: Sequence[int], out: Shape | None = None) -> bytes:
    """`leaky` whose samples (and state, which is (B, 4) inside) have other shapes: ``reshape`` is that of x inside."""
    nodes = [
        helper.make_node("Reshape", ["x", "x_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "h_in"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h_out"]),
        helper.make_node("Identity", ["h_out"], ["y"]),
    ]
    weights = {"w": floats(3, 4), "x_shape": np.array(reshape)}
    return graph_of(nodes, {"x": x, "h_in": state}, {"y": out or state, "h_out": state}, weights).SerializeToString()


def external(where: str) -> bytes:
    """A model one of whose tensors is kept in another file: at the top, in a branch of an `If`, or in a function."""
    kept = numpy_helper.from_array(floats(3, 4), "kept")
    kept.ClearField("raw_data")
    kept.data_location = TensorProto.EXTERNAL
    kept.external_data.add(key="location", value="../../etc/hostname")
    model = onnx.load_from_string(leaky([helper.make_node("Identity", ["new_s"], ["y"])]))
    constant = helper.make_node("Constant", [], ["value"], value=kept)
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("value", 1, [3, 4])])
    if where == "top":
        model.graph.initializer.append(kept)
    elif where == "branch":
        choice = numpy_helper.from_array(np.array(True), "choice")
        model.graph.initializer.append(choice)
        model.graph.node.append(helper.make_node("If", ["choice"], ["z"], then_branch=branch, else_branch=branch))
    else:
        opsets = [helper.make_opsetid("", OPSET)]
        model.functions.append(helper.make_function("own", "Kept", [], ["value"], [constant], opsets))
    return model.SerializeToString()


def with_operator(operator: str, domain: str = "", **attributes: Any) -> bytes:
    """A model with one more operator, whose result nobody reads."""
    model = onnx.load_from_string(leaky([helper.make_node("Identity", ["new_s"], ["y"])]))
    model.graph.node.append(helper.make_node(operator, ["new_s"], ["more"], domain=domain, **attributes))
    return model.SerializeToString()


@cache
def torch_frozen() -> bytes:
    """`Cell`, exported without a dynamic batch."""
    return exported(Cell(), [torch.zeros(1, 3), torch.ones(1, 8), torch.zeros(1, 8)], None, ("y", "hn", "cn"))


@cache
def torch_lstm() -> bytes:
    """`Stacked`, exported rightly: h and c are tensors of their own."""
    return _stacked(torch.zeros(2, 2, 8), torch.ones(2, 2, 8))


@cache
def torch_tied() -> bytes:
    """`Stacked`, exported with one tensor of zeros for h and c, which torch's exporter takes for one input."""
    zeros = torch.zeros(2, 2, 8)
    return _stacked(zeros, zeros)


def _stacked(h: Tensor, c: Tensor) -> bytes:
    torch.manual_seed(1)
    return exported(Stacked(), [torch.zeros(2, 1, 3), h, c], (0, 1, 1), ("y", "hn", "cn"))


def of_signal_model(model: SignalExtractionLSTM) -> bytes:
    """A native model as an ONNX file."""
    state = torch.zeros(model.num_layers, 2, model.hidden_size)
    inputs = [torch.zeros(2, 1, model.input_size), state, state + 1]
    return exported(Stacked(model.lstm, model.fc), inputs, (0, 1, 1), ("y", "hn", "cn"))


def renamed(model: bytes, names: Mapping[str, str]) -> bytes:
    """The same model with other names."""
    found = onnx.load_from_string(model)
    for part in (*found.graph.input, *found.graph.output):
        part.name = names.get(part.name, part.name)
    for node in found.graph.node:
        for each in (node.input, node.output):
            each[:] = [names.get(name, name) for name in each]
    return found.SerializeToString()


def deaf(numbers: Sequence[int]) -> bytes:
    """A model that does not read some numbers of its samples."""
    weights = floats(3, 5)
    weights[list(numbers)] = 0
    return leaky([helper.make_node("Identity", ["new_s"], ["y"])], weights={"w": weights})


def carried(operator: str) -> bytes:
    """A model whose state comes out as what ``operator`` makes of the one that went in."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "s"], ["y"]),
        helper.make_node("Add", ["s", "s"], ["twice"]),
        helper.make_node("Sub", ["s", "s"], ["nothing"]),
        helper.make_node("Add", ["twice", "xw"], ["grown"]),
        helper.make_node("Identity", [{"same": "s", "nothing": "nothing", "grown": "grown"}[operator]], ["new_s"]),
    ]
    shape: Shape = ["batch", 4]
    outputs = {"y": shape, "new_s": shape}
    return graph_of(nodes, {"x": ["batch", 3], "s": shape}, outputs, {"w": floats(3, 4)}).SerializeToString()


def forgetful() -> bytes:
    """A GRU whose state is in no input and no output."""
    weights = {
        "w": floats(1, 24, 3),
        "r": floats(1, 24, 8, seed=1),
        "axis": np.array([0]),
        "both": np.array([0, 1]),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["x0"]),
        helper.make_node("GRU", ["x0", "w", "r"], ["all"], hidden_size=8),
        helper.make_node("Squeeze", ["all", "both"], ["y"]),
    ]
    return graph_of(nodes, {"x": ["batch", 3]}, {"y": ["batch", 8]}, weights).SerializeToString()


def endless(greedy: bool) -> bytes:
    """A model that loops for years, or asks for all memory there is."""
    state: Shape = ["batch", 4]
    weights = {"w": floats(3, 4), "times": np.array(10**15), "go": np.array(True), "room": np.array([1 << 44])}
    ready = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "on_out")]
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    value, more = (helper.make_tensor_value_info(name, TensorProto.FLOAT, list(state)) for name in ("v", "v_out"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Sin", ["v"], ["v_out"])],
        "body",
        [count, ready[0], value],
        [ready[1], more],
    )
    work = (
        [
            helper.make_node("ConstantOfShape", ["room"], ["much"]),
            helper.make_node("ReduceSum", ["much"], ["total"], keepdims=0),
            helper.make_node("Add", ["sum", "total"], ["y"]),
        ]
        if greedy
        else [helper.make_node("Loop", ["times", "go", "sum"], ["y"], body=body)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "s"], ["sum"]),
        *work,
        helper.make_node("Tanh", ["sum"], ["new_s"]),
    ]
    return graph_of(nodes, {"x": ["batch", 3], "s": state}, {"y": state, "new_s": state}, weights).SerializeToString()


def window_classifier(
    batch: int | str = "batch",
    time: int | str = "time",
    mixed: bool = False,
    deaf_to: int | None = None,
    features: int = 3,
    size: float = 0.5,
    operator: str = "Identity",
    classes: int = 4,
) -> bytes:
    """A GRU over a window (B, T, F): logits (B, classes), the highest number of each sample (B, T) as its attention,
    and the samples at another ``size`` (B, T, F), ``half``. ``operator`` makes the logits of the scores.
    """
    read = np.ones(features, np.float32)
    if deaf_to is not None:
        read[deaf_to] = 0
    weights = {
        "read": read,
        "w": floats(1, 24, features),
        "r": floats(1, 24, 8, seed=1),
        "size": np.array(size, np.float32),
        "zero": np.array([0]),
        "head": floats(8, classes, seed=2),
    }
    nodes = [
        helper.make_node("Mul", ["x", "read"], ["heard"]),
        helper.make_node("Transpose", ["heard"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["by_time", "w", "r"], ["", "last"], hidden_size=8),
        helper.make_node("Squeeze", ["last", "zero"], ["top"]),
        helper.make_node("MatMul", ["top", "head"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["mixed"], axis=0),
        helper.make_node(operator, ["mixed" if mixed else "scores"], ["y"]),
        helper.make_node("ReduceMax", ["by_time"], ["highest"], axes=[2], keepdims=0),
        helper.make_node("Transpose", ["highest"], ["attention"], perm=[1, 0]),
        helper.make_node("Mul", ["x", "size"], ["half"]),
    ]
    outputs: dict[str, Shape] = {"y": [batch, classes], "attention": [batch, time], "half": [batch, time, features]}
    return graph_of(nodes, {"x": [batch, time, features]}, outputs, weights).SerializeToString()


def classes(count: int) -> bytes:
    """One number names a class, whose embedding is read; the runtime refuses a class that is not there."""
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["whole", "one"], ["class"]),
        helper.make_node("Gather", ["table", "class"], ["embedding"]),
        helper.make_node("Add", ["embedding", "h0"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hn"]),
        helper.make_node("Identity", ["hn"], ["y"]),
    ]
    weights = {"one": np.array([1]), "table": floats(count, 4)}
    inputs: dict[str, Shape] = {"x": ["B", 1], "h0": ["B", 4]}
    outputs: dict[str, Shape] = {"y": ["B", 4], "hn": ["B", 4]}
    return graph_of(nodes, inputs, outputs, weights).SerializeToString()


def classes_of_window(count: int) -> bytes:
    """As `classes`, of windows (B, T, 1): the largest of the samples' embeddings."""
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["whole", "two"], ["class"]),
        helper.make_node("Gather", ["table", "class"], ["embedding"]),
        helper.make_node("ReduceMax", ["embedding"], ["y"], axes=[1], keepdims=0),
    ]
    weights = {"two": np.array([2]), "table": floats(count, 4)}
    return graph_of(nodes, {"x": ["B", "T", 1]}, {"y": ["B", 4]}, weights).SerializeToString()


def logarithms(width: int) -> bytes:
    """Adds up its samples, and gives the first number of the sum and the logarithms of two of the sample."""
    nodes = [
        helper.make_node("Add", ["x", "sum"], ["sumn"]),
        helper.make_node("Slice", ["x", "zero", "two", "one"], ["x2"]),
        helper.make_node("Log", ["x2"], ["y"]),
        helper.make_node("Slice", ["sumn", "zero", "one", "one"], ["total"]),
    ]
    weights = {name: np.array([number]) for number, name in enumerate(("zero", "one", "two"))}
    inputs: dict[str, Shape] = {"x": ["B", width], "sum": ["B", width]}
    outputs: dict[str, Shape] = {"sumn": ["B", width], "y": ["B", 2], "total": ["B", 1]}
    return graph_of(nodes, inputs, outputs, weights).SerializeToString()


def two_states() -> bytes:
    """Two plain recurrent states, a -> u and b -> v, that no number tells apart."""
    nodes = []
    for before, after in (("a", "u"), ("b", "v")):
        nodes += [
            helper.make_node("MatMul", ["x", f"w{before}"], [f"x{before}"]),
            helper.make_node("MatMul", [before, f"r{before}"], [f"r{before}s"]),
            helper.make_node("Add", [f"x{before}", f"r{before}s"], [f"sum{before}"]),
            helper.make_node("Tanh", [f"sum{before}"], [after]),
        ]
    nodes.append(helper.make_node("Sub", ["u", "v"], ["y"]))
    weights = {
        f"{kind}{state}": floats(rows, 6, seed=seed)
        for seed, (kind, rows, state) in enumerate([("w", 3, "a"), ("r", 6, "a"), ("w", 3, "b"), ("r", 6, "b")])
    }
    shape: Shape = ["batch", 6]
    inputs: dict[str, Shape] = {"x": ["batch", 3], "a": shape, "b": shape}
    return graph_of(nodes, inputs, {"y": shape, "u": shape, "v": shape}, weights).SerializeToString()
