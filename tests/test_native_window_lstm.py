"""The compiled window classifier against `SteelDefectLSTM`, and a window's result against the same in other batches."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.engines.defect_net import DefectNet
from core.engines.infer import PEAK_TOLERANCE, calibrated, peak_of
from core.models.defect_config import ACTIVATIONS, READOUTS
from core.models.defect_lstm import SteelDefectLSTM
from core.native.window_lstm import INSTRUCTION_SETS
from tests.strategies import relaxed

Floats = NDArray[np.float32]

every_set = pytest.mark.parametrize("instructions", INSTRUCTION_SETS)
instruction_sets = st.sampled_from(INSTRUCTION_SETS)
lengths = st.one_of(st.integers(1, 3), st.integers(20, 30), st.integers(47, 100))
"""Some around the number of steps whose gates are made together, 24."""
configs = st.fixed_dictionaries(
    {
        "architecture": st.fixed_dictionaries(
            {
                "input_size": st.sampled_from((1, 5, 17)),
                "hidden_size": st.sampled_from((1, 5, 16, 19, 40)),
                "num_layers": st.integers(1, 3),
                "bidirectional": st.booleans(),
                "readout": st.sampled_from(READOUTS),
            }
        ),
        "classifier": st.fixed_dictionaries(
            {"hidden_dims": st.sampled_from(([], [1], [7, 3])), "activation": st.sampled_from(ACTIVATIONS)}
        ),
        "normalization": st.fixed_dictionaries(
            {name: st.booleans() for name in ("batch_norm", "layer_norm", "input_norm")}
        ),
    }
)


def random_model(config: dict[str, Any], seed: int) -> SteelDefectLSTM:
    """With weights and running statistics as after a training."""
    torch.manual_seed(seed)
    model = SteelDefectLSTM(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_mean" in name or "norm.weight" in name or "norm.bias" in name:
                tensor.uniform_(-0.5, 0.5)
            elif "running_var" in name:
                tensor.uniform_(0.3, 2.0)
            elif name.startswith("lstm."):
                tensor.uniform_(-0.4, 0.4)
    return model


def net_of(model: SteelDefectLSTM, instructions: str = INSTRUCTION_SETS[0]) -> DefectNet:
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    return DefectNet.of(model.config, weights, model.calibration, model.input_statistics, instructions)


def draw(model: SteelDefectLSTM, counts: list[int], seed: int = 1) -> list[Floats]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(count, model.input_size)).astype(np.float32) for count in counts]


def by_torch(model: SteelDefectLSTM, window: Floats) -> tuple[float, Floats]:
    """The probability and the attention (T,) of one window alone."""
    x = torch.from_numpy(window)[None]
    if model.input_statistics is not None:
        x = (x - x.new_tensor(model.input_statistics["mean"])) / x.new_tensor(model.input_statistics["std"])
    with torch.no_grad():
        logit = model(x)[:, 0]
        return calibrated(logit.numpy(), model.calibration)[0], model.get_attention_weights()[0].numpy()


@relaxed
@given(config=configs, seed=st.integers(0, 99), counts=st.lists(lengths, min_size=1, max_size=8), data=st.data())
def test_windows_of_any_model_equal_torch(config: dict[str, Any], seed: int, counts: list[int], data: Any) -> None:
    model = random_model(config, seed)
    model.calibration = data.draw(st.sampled_from((None, {"a": 0.9, "b": -0.2})))
    if data.draw(st.booleans()):
        model.input_statistics = {"mean": [0.1] * model.input_size, "std": [1.5] * model.input_size}
    windows = draw(model, counts, seed)

    logits, attention = net_of(model, data.draw(instruction_sets)).attended(windows)

    for window, found, weights in zip(windows, calibrated(logits, model.calibration), attention, strict=True):
        probability, expected = by_torch(model, window)
        assert found == pytest.approx(probability, abs=1e-6)
        np.testing.assert_allclose(weights, expected, rtol=2e-6, atol=1e-6)
        assert expected[peak_of(weights)] >= expected.max() * (1 - 4 * PEAK_TOLERANCE)


@relaxed
@given(config=configs, counts=st.lists(lengths, min_size=1, max_size=20), instructions=instruction_sets, data=st.data())
def test_a_window_is_the_same_bits_in_every_batch(
    config: dict[str, Any], counts: list[int], instructions: str, data: Any
) -> None:
    model = random_model(config, 3)
    windows, net = draw(model, counts), net_of(model, instructions)
    mixed = data.draw(st.permutations(range(len(windows))))

    logits, attention = net.attended([windows[place] for place in mixed])

    for logit, weights, place in zip(logits, attention, mixed, strict=True):
        (alone,), (alone_weights,) = net.attended([windows[place]])
        assert logit == alone
        np.testing.assert_array_equal(weights, alone_weights)


@functools.cache
def wide_model() -> SteelDefectLSTM:
    """With attention and all norms, and units that do not fill their vectors."""
    norms = {"batch_norm": True, "layer_norm": True, "input_norm": True}
    architecture = {"hidden_size": 19, "readout": "attention"}
    return random_model({"architecture": architecture, "normalization": norms}, 0)


def test_every_instruction_set_gives_the_same_bits() -> None:
    model = wide_model()
    windows = draw(model, [60, 7, 100])

    found = [net_of(model, instructions).attended(windows) for instructions in INSTRUCTION_SETS]

    for logits, attention in found:
        np.testing.assert_array_equal(logits, found[0][0])
        np.testing.assert_array_equal(np.concatenate(attention), np.concatenate(found[0][1]))


@every_set
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_stays_in_its_window(instructions: str, bad: float) -> None:
    model = random_model({"normalization": {"input_norm": False}, "architecture": {"hidden_size": 19}}, 0)
    net, windows = net_of(model, instructions), draw(model, [30, 30, 12, 30, 30, 12, 40])
    expected, expected_attention = net.attended(windows)
    windows[3][4, 0] = bad

    logits, attention = net.attended(windows)

    others = [place for place in range(len(windows)) if place != 3]
    np.testing.assert_array_equal(logits[others], expected[others])
    for place in others:
        np.testing.assert_array_equal(attention[place], expected_attention[place])
    assert np.isnan(logits[3]) == np.isnan(bad)  # infinity only saturates the gates
    assert not np.isnan(bad) or peak_of(attention[3]) == 0


def test_no_windows_give_no_logits() -> None:
    logits, attention = net_of(wide_model()).attended([])

    assert (len(logits), attention) == (0, [])


def test_other_sizes_are_refused() -> None:
    model, samples = wide_model(), np.zeros((6, 5), np.float32)
    kernel, weights = net_of(model).kernel, {name: each.numpy() for name, each in model.state_dict().items()}

    for counts in ([5], [3, 4], [6, 0], [7, -1], []):
        with pytest.raises(ValueError, match="add up to the 6 samples"):
            kernel.score(samples, np.array(counts, np.int64))
    with pytest.raises(ValueError, match="4 numbers each, where 5"):
        kernel.score(np.zeros((6, 4), np.float32), np.array([6]))
    with pytest.raises(ValueError, match="this machine has"):
        net_of(model, "mmx")
    with pytest.raises(ValueError, match=r"\(76, 4\), where \(76, 5\)"):
        DefectNet.of(model.config, weights | {"lstm.weight_ih_l0_reverse": np.zeros((76, 4), np.float32)})
    with pytest.raises(KeyError, match="weight_hh_l1"):
        DefectNet.of(model.config, {name: each for name, each in weights.items() if name != "lstm.weight_hh_l1"})


def test_other_threads_run_while_windows_are_scored() -> None:
    """The interpreter takes its lock from no thread here: another one runs only if the kernel gives it away."""
    net, windows = net_of(wide_model()), draw(wide_model(), [50] * 10)
    started, seen, waited = threading.Event(), threading.Event(), []

    def score() -> None:
        started.set()
        for _ in range(2_000):
            net.attended(windows)
            if seen.is_set():
                return
        waited.append("until the last window")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1_000)
    try:
        thread = threading.Thread(target=score)
        thread.start()
        started.wait()
        seen.set()
        thread.join()
    finally:
        sys.setswitchinterval(before)

    assert waited == []
