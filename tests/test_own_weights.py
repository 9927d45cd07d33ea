"""Weights of a user's own LSTM or GRU in the compiled kernel: against float64, in any batch, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.engines.bank import ZEROS
from core.engines.declared.stepper import StepModel
from core.engines.own_weights import KernelStates
from core.errors import StartupError
from core.models.packed import pack
from core.models.recurrent_weights import find_recurrent, read_recurrent
from core.native.lstm import INSTRUCTION_SETS, GruKernel, LstmKernel
from core.step_batch import StepBatch
from core.tasks.check.examine import examine
from core.tasks.check.findings import CarriedState
from core.tasks.check.run import check_task
from core.tasks.reading import read_declaration
from core.tasks.sizes import STATE_BYTES
from tests.recurrent_files import GATES, Arrays, Slow, kernel_of, safetensors, weights
from tests.strategies import examples

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 3), st.integers(1, 20))
"""F, H, L, K."""


CELLS = st.sampled_from(sorted(GATES))


def batch_of(lengths: list[int], features: int, seed: int) -> StepBatch:
    """Runs of these lengths, from and to rows 1, 2, ..., their samples mixed."""
    random, rows = np.random.default_rng(seed), np.arange(1, len(lengths) + 1)
    mixed = random.permutation(sum(lengths))
    runs, times = np.repeat(rows - 1, lengths), np.concatenate([np.arange(length) for length in lengths])
    samples = random.normal(size=(sum(lengths), features)).astype(np.float32)
    return StepBatch(samples[mixed], runs[mixed], times[mixed], np.array(lengths), rows, rows, rows - 1)


@examples(40)
@given(
    cell=CELLS,
    sizes=SIZES,
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=20),
    instructions=st.sampled_from(INSTRUCTION_SETS),
    seed=st.integers(0, 99),
)
def test_the_kernel_computes_what_float64_does(
    cell: str, sizes: tuple[int, ...], lengths: list[int], instructions: str, seed: int
) -> None:
    arrays, batch = weights(*sizes, seed=seed, cell=cell), batch_of(lengths, sizes[0], seed)
    bank = KernelStates(kernel_of(arrays, instructions), sizes[0])

    found = bank.step(batch)

    for run in range(len(lengths)):
        slow = Slow(arrays)
        own = np.flatnonzero(batch.runs == run)
        own = own[np.argsort(batch.times[own])]
        expected = np.stack([slow.step(batch.samples[place]) for place in own])
        np.testing.assert_allclose(found[own], expected, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(bank.read(np.array([run + 1]))[0], slow.state, rtol=1e-5, atol=2e-5)


@examples(40)
@given(
    cell=CELLS,
    sizes=SIZES,
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=20),
    instructions=st.sampled_from(INSTRUCTION_SETS),
    seed=st.integers(0, 99),
)
def test_a_run_has_the_same_bits_in_every_batch(
    cell: str, sizes: tuple[int, ...], lengths: list[int], instructions: str, seed: int
) -> None:
    kernel, batch = kernel_of(weights(*sizes, cell=cell), instructions), batch_of(lengths, sizes[0], seed)
    together, alone = KernelStates(kernel, sizes[0]), KernelStates(kernel, sizes[0])

    found = together.step(batch)

    for run in range(len(lengths)):
        own = np.flatnonzero(batch.runs == run)
        for place in own[np.argsort(batch.times[own])]:
            one, row = np.ones(1, np.int64), np.array([run + 1])
            step = StepBatch(batch.samples[place : place + 1], 0 * one, 0 * one, one, row, row, 0 * one)
            np.testing.assert_array_equal(alone.step(step)[0], found[place])
    rows = np.arange(1, len(lengths) + 1)
    np.testing.assert_array_equal(alone.read(rows), together.read(rows))


class Net(nn.Module):
    """A model as its user writes it."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU] = nn.LSTM, bias: bool = True) -> None:
        super().__init__()
        self.encoder = kind(3, 10, 2, batch_first=True, bias=bias)
        self.out = nn.Linear(10, 3, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.encoder(x)[0])
        return found


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("form", ["state_dict", "checkpoint", "wrapped", "safetensors", "bfloat16"])
def test_a_state_dict_of_torch_is_read_under_any_names(form: str, kind: type[nn.LSTM | nn.GRU], bias: bool) -> None:
    torch.manual_seed(4)
    net = Net(kind, bias).eval()
    state: Any = net.state_dict()
    if form == "bfloat16":
        net = net.to(torch.bfloat16).float()
        state = {name: each.to(torch.bfloat16) for name, each in net.state_dict().items()}
    raw = {
        "checkpoint": lambda: saved({"model_state_dict": state, "epoch": 3}),
        "wrapped": lambda: saved({f"module.{name}": each for name, each in state.items()}),
        "safetensors": lambda: safetensors({f"net.{name}": each.numpy() for name, each in state.items()}),
    }.get(form, lambda: saved(state))()

    found = read_recurrent("pump.pt", raw)

    kernel_type = GruKernel if kind is nn.GRU else LstmKernel
    kernel = kernel_type(found.features, found.hidden_size, found.layers, found.head)
    bank, batch = KernelStates(kernel, 3), batch_of([7], 3, 1)
    samples = torch.from_numpy(batch.samples[np.argsort(batch.times)])[None]
    with torch.no_grad():
        expected = net(samples)[0].numpy()
    np.testing.assert_allclose(bank.step(batch)[np.argsort(batch.times)], expected, atol=2e-6)


def as_saved(content: dict[str, Any]) -> bytes:
    tensors = {name: torch.from_numpy(each) for name, each in content["model_state_dict"].items()}
    return saved(content | {"model_state_dict": tensors})


@pytest.mark.parametrize("write", [as_saved, pack], ids=["of PyTorch", "safetensors"])
def test_input_statistics_of_a_checkpoint_are_applied(write: Callable[[dict[str, Any]], bytes]) -> None:
    statistics = {"mean": [1.0, 2.0, 3.0], "std": [2.0, 4.0, 0.5]}
    plain, scaled = (
        read_recurrent("pump.pt", write({"model_state_dict": weights()} | more))
        for more in ({}, {"input_statistics": statistics})
    )

    assert plain.statistics is None
    assert scaled.statistics == ([1.0, 2.0, 3.0], [2.0, 4.0, 0.5])
    short = {"mean": [1.0], "std": [2.0]}
    with pytest.raises(StartupError, match="input_statistics must hold 3 values"):
        read_recurrent("pump.pt", write({"model_state_dict": weights(), "input_statistics": short}))


@pytest.mark.parametrize("write", [as_saved, pack], ids=["of PyTorch", "safetensors"])
@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, 10**400])
def test_input_statistics_that_would_make_every_output_nan_are_refused(
    write: Callable[[dict[str, Any]], bytes], name: str, bad: float
) -> None:
    statistics = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]} | {name: [1.0, bad, 1.0]}

    with pytest.raises(StartupError, match=r"pump\.pt: input_statistics "):
        read_recurrent("pump.pt", write({"model_state_dict": weights(), "input_statistics": statistics}))


@pytest.mark.parametrize("bad", [0.0, -1.0, 1e-300])
def test_a_std_that_is_not_above_0_is_refused(bad: float) -> None:
    statistics = {"mean": [0.0, 0.0, 0.0], "std": [1.0, bad, 1.0]}

    with pytest.raises(StartupError, match=r"input_statistics 'std' at \[1\] is .*: must be above 0"):
        read_recurrent("pump.pt", pack({"model_state_dict": weights(), "input_statistics": statistics}))


def changed(**more: Any) -> Arrays:
    """Weights with other tensors; None leaves one out."""
    found = weights() | {name.replace("__", "."): each for name, each in more.items()}
    return {name: each for name, each in found.items() if each is not None}


def of_module(module: nn.Module) -> Arrays:
    return {name: each.numpy() for name, each in module.state_dict().items()}


def filled(shape: tuple[int, ...], value: float = 0.5) -> Any:
    return np.full(shape, value, np.float32)


REFUSED: dict[str, tuple[Arrays, str]] = {
    "nothing": (
        {},
        "holds no LSTM and no GRU: there is no tensor whose name ends in weight_ih_l0.*there are none at all",
    ),
    "no LSTM": (of_module(nn.Linear(3, 2)), "holds no LSTM.*there are 'weight', 'bias'.*ONNX"),
    "a layer's tensor": (changed(lstm__weight_hh_l1=None), "tensor 'lstm.weight_hh_l1' is missing"),
    "the first": (changed(lstm__weight_ih_l0=None), "tensor 'lstm.weight_ih_l0' is missing"),
    "one bias": (changed(lstm__bias_hh_l1=None), "tensor 'lstm.bias_hh_l1' is missing"),
    "a hole": (changed(lstm__weight_hh_l7=filled((32, 8))), "tensor 'lstm.weight_ih_l2' is missing"),
    "no head": (changed(fc__weight=None, fc__bias=None), r"no linear layer.*\.weight, \(K, 8\)"),
    "a shape": (changed(lstm__bias_ih_l0=filled((31,))), r"'lstm.bias_ih_l0' is \(31,\), needed is \(32,\)"),
    "a head": (changed(fc__weight=filled((2, 9))), r"'fc.weight' is \(2, 9\), needed is \(K, 8\)"),
    "a head of none": (changed(fc__weight=filled((0, 8)), fc__bias=filled((0,))), "needed is .K, 8., K >= 1"),
    "a head's bias": (changed(fc__bias=filled((3,))), r"'fc.bias' is \(3,\), needed is \(2,\)"),
    "NaN": (changed(lstm__weight_hh_l0=filled((32, 8), np.nan)), r"'lstm.weight_hh_l0' at \[0, 0\] is nan"),
    "too large": (changed(fc__bias=np.array([1.0, 1e300])), r"'fc.bias' at \[1\] is 1e\+300: must be finite"),
    "integers": (changed(fc__weight=np.ones((2, 8), np.int8)), "'fc.weight' holds int8"),
    "both directions": (
        of_module(nn.LSTM(3, 8, bidirectional=True)),
        "'weight_ih_l0_reverse' is of a bidirectional layer",
    ),
    "projected": (of_module(nn.LSTM(3, 8, proj_size=4)), "'weight_hr_l0' is of an LSTM with projections.*ONNX"),
    "gates of no cell": (changed(lstm__weight_hh_l0=filled((16, 8))), r"is \(16, 8\), needed is \(4H, H\) of an LSTM"),
    "half a gate": (changed(lstm__weight_hh_l0=filled((33, 8))), r"is \(33, 8\), needed is \(4H, H\) of an LSTM or"),
    "mixed cells": (
        changed(lstm__weight_hh_l0=filled((24, 8))),
        r"'lstm.weight_ih_l0' is \(32, 3\), needed is \(24, 3\)",
    ),
    "a vector": (changed(lstm__weight_hh_l0=filled((32,))), r"'lstm.weight_hh_l0' is \(32,\), needed is a matrix"),
    "no GRU's bias": (
        {name: each for name, each in weights(cell="gru").items() if name != "gru.bias_hh_l0"},
        "tensor 'gru.bias_hh_l0' is missing",
    ),
    "a GRU's headless": (of_module(nn.GRU(3, 8)), r"no linear layer.*\(K, 8\)"),
    "both directions of a GRU": (of_module(nn.GRU(3, 8, bidirectional=True)), "is of a bidirectional layer"),
    "an RNN": (of_module(nn.RNN(3, 8)), "so it is a plain RNN.*ONNX"),
    "two LSTMs": (changed(second__weight_ih_l0=filled((32, 8))), "holds 2 recurrent layers.*'lstm.', 'second.'.*ONNX"),
    "two heads": (
        changed(norm__weight=filled((8,))),
        "'norm.weight' is neither of the recurrent layer nor.*'fc.weight'.*ONNX",
    ),
    "a cell": (of_module(nn.LSTMCell(3, 8)), "holds no LSTM"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_weights_are_refused_by_the_name_of_the_tensor(case: str) -> None:
    arrays, line = REFUSED[case]

    with pytest.raises(StartupError, match=f"^pump.pt: .*{line}") as error:
        find_recurrent("pump.pt", arrays)

    assert "\n" not in str(error.value)


class Task:
    """A task of such weights in a folder."""

    def __init__(self, folder: Path, model: bytes | None = None, more: str = "", outputs: str = "y = {}") -> None:
        self.path, self.file = folder / "pump.toml", folder / "pump.safetensors"
        self.model = safetensors(weights()) if model is None else model
        self.file.write_bytes(self.model)
        self.path.write_text(
            'name = "pump"\nkind = "step"\n[fields]\nvibration = { length = 2 }\nload = {}\n'
            f'[model]\nfile = "pump.safetensors"\n{more}\n[outputs]\n{outputs}\n'
        )

    def check(self, state_bytes: int = STATE_BYTES) -> Any:
        return examine(read_declaration(self.path), self.model, None, state_bytes)

    def open(self) -> StepModel:
        return StepModel(read_declaration(self.path), self.model, "any")

    def refusal(self, state_bytes: int = STATE_BYTES) -> str:
        with pytest.raises(StartupError) as error:
            self.check(state_bytes)
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.mark.parametrize(("cell", "states"), [("lstm", "hc"), ("gru", "h")])
def test_the_check_tells_states_outputs_and_the_same_fingerprint_as_the_model(
    cell: str, states: str, tmp_path: Path
) -> None:
    task = Task(tmp_path, safetensors(weights(cell=cell)))

    checked = check_task(task.path, tmp_path / "checks")

    assert checked.states == tuple(CarriedState(f"{name}0", f"{name}n", (2, 1, 8)) for name in states)
    assert (checked.outputs, checked.plan, checked.state_bytes) == ({"y": (2,)}, "any", len(states) * 2 * 8 * 4)
    assert checked.fingerprint == task.open().fingerprint
    assert task.open().state_size == len(states) * 2 * 8
    assert check_task(task.path, tmp_path / "checks") == checked


def test_sizes_are_held_against_the_declaration(tmp_path: Path) -> None:
    assert "its LSTM takes 5 numbers, the task's fields give 3" in Task(tmp_path, safetensors(weights(5))).refusal()
    gru = safetensors(weights(5, cell="gru"))
    assert "its GRU takes 5 numbers, the task's fields give 3" in Task(tmp_path, gru).refusal()
    two, line = "a = {}\nb = {}", "outputs name the tensors 'a', 'b', and the weights of one LSTM give one"
    assert line in Task(tmp_path, outputs=two).refusal()
    named = 'y = { names = ["a", "b", "c"] }'
    assert "output 'y' has 3 names, and tensor 'y' has 2 numbers" in Task(tmp_path, outputs=named).refusal()
    assert "[model] states is for ONNX" in Task(tmp_path, more='states = { h0 = "hn" }').refusal()
    assert "a stream's state has 128 bytes, more than the 100" in Task(tmp_path).refusal(100)
    assert "a safetensors file that is damaged or cut short" in Task(tmp_path, safetensors(weights())[:-40]).refusal()


def test_a_dead_channel_is_told_by_its_field(tmp_path: Path) -> None:
    arrays = weights()
    arrays["lstm.weight_ih_l0"][:, 2] = 0
    assert "field 'load' moves no output" in Task(tmp_path, safetensors(arrays)).refusal()
    arrays = weights()
    arrays["lstm.weight_ih_l0"][:, 1] = 0
    assert "the model does not read vibration[1] of the fields" in Task(tmp_path, safetensors(arrays)).refusal()


@pytest.mark.parametrize("cell", GATES)
def test_an_example_has_to_agree(cell: str, tmp_path: Path) -> None:
    arrays = weights(cell=cell)
    slow = Slow(arrays)
    samples = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    outputs = np.stack([slow.step(sample) for sample in samples])
    task = Task(tmp_path, safetensors(arrays), more='example = "pump.npz"')
    np.savez(tmp_path / "pump.npz", x=samples, y=outputs)

    steps, apart = task.check().example
    assert steps == 200
    assert apart < 1e-5

    np.savez(tmp_path / "pump.npz", x=samples[:, ::-1], y=outputs)
    assert "does not agree with the example" in task.refusal()
    assert any("no example" in note for note in Task(tmp_path, safetensors(arrays)).check().notes)


def test_a_native_task_needs_neither_torch_nor_onnx_runtime(tmp_path: Path) -> None:
    task = Task(tmp_path)
    code = (
        "import sys; from core.engines.declared.stepper import StepModel; from core.tasks.reading import *; "
        "from core.tasks.check.examine import examine; from pathlib import Path; "
        f"task = read_declaration({str(task.path)!r}); model = Path({str(task.file)!r}).read_bytes(); "
        "examine(task, model, None, 65536); StepModel(task, model, 'any').states().warm_up(); "
        "sys.exit({'torch', 'onnxruntime'} & sys.modules.keys() or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_output_keeps_stands_behind_the_state_and_is_carried(tmp_path: Path) -> None:
    outputs = 'y = {}\nscore = { of = "y", apply = "forecast_error" }'
    model, lengths = Task(tmp_path, outputs=outputs).open(), [3, 1, 2]
    whole, halves = model.states(), model.states()
    batch = batch_of(lengths, 3, 2)
    found = whole.step(batch)

    for time in range(3):
        now = np.flatnonzero(batch.times == time)
        rows = batch.runs[now] + 1
        every, one = np.arange(len(now)), np.ones(len(now), np.int64)
        step = StepBatch(batch.samples[now], every, 0 * every, one, rows, rows, every)
        np.testing.assert_array_equal(halves.step(step), found[now])
        for row, state in zip(rows, halves.read(rows), strict=True):
            halves.clear(int(row))
            halves.write(int(row), state)

    assert (found[batch.times == 0, 2] == -1).all()
    assert (found[batch.times > 0, 2] > 0).all()
    assert model.state_size == whole.read(np.array([1])).shape[1] == 2 * 2 * 8 + 3
    np.testing.assert_array_equal(whole.read(np.arange(4)), halves.read(np.arange(4)))
    assert not whole.read(np.array([ZEROS])).any()


def test_a_bank_that_grows_keeps_what_outputs_keep(tmp_path: Path) -> None:
    bank = Task(tmp_path, outputs='y = {}\nscore = { of = "y", apply = "forecast_error" }').open().states()
    state = np.arange(35, dtype=np.float32)
    bank.write(1, state)

    for _ in range(3):
        bank.grow()
        bank.write(bank.capacity - 1, state)

        np.testing.assert_array_equal(bank.read(np.array([1, bank.capacity - 1, ZEROS])), [state, state, 0 * state])
