"""SteelDefectLSTM: padding, norms, readouts and attention; what a window's neighbours must never change."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core import SteelDefectLSTM

LENGTHS = [4, 9, 1, 7]
READOUTS = ["last", "ends", "attention"]


def make(readout: str = "last", **sections: dict[str, Any]) -> SteelDefectLSTM:
    torch.manual_seed(3)
    config = {"architecture": {"hidden_size": 8, "readout": readout}, "classifier": {"hidden_dims": [6]}}
    for section, values in sections.items():
        config[section] = config.get(section, {}) | values
    model = SteelDefectLSTM(config)
    if model.use_input_norm:  # statistics that are not the identity
        nn.init.uniform_(model.input_norm.running_mean)
        nn.init.uniform_(model.input_norm.running_var, 0.5, 2.0)
    return model


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 140_619),
        (
            {
                "architecture": {"bidirectional": False},
                "normalization": {"batch_norm": False, "layer_norm": False, "input_norm": False},
            },
            54_081,
        ),
        (
            {
                "architecture": {"hidden_size": 128, "num_layers": 4},
                "classifier": {"hidden_dims": [64, 32, 16]},
                "normalization": {"batch_norm": True, "layer_norm": True, "input_norm": True},
            },
            1_344_139,
        ),
    ],
)
def test_parameter_counts_are_those_of_existing_files(config: dict, expected: int) -> None:
    model = SteelDefectLSTM(config)

    assert expected == sum(p.numel() for p in model.parameters()) == model.get_model_info()["parameters"]["total"]


@pytest.mark.parametrize(("readout", "bidirectional", "norm"), list(product(READOUTS, [True, False], [True, False])))
def test_padding_of_any_kind_never_changes_a_result(readout: str, bidirectional: bool, norm: bool) -> None:
    model = make(readout, architecture={"bidirectional": bidirectional}, normalization={"input_norm": norm}).eval()
    x = torch.randn(4, 12, 5)
    for row, length in enumerate(LENGTHS):
        x[row, length:] = [float("nan"), 1e30, float("inf"), -5.0][row]
    alone = torch.cat([model(x[row : row + 1, :length]) for row, length in enumerate(LENGTHS)])

    torch.testing.assert_close(model(x, LENGTHS), alone, atol=1e-6, rtol=0)
    outputs = model.get_layer_outputs(x, LENGTHS)
    assert all(torch.isfinite(value).all() for value in outputs.values())


def test_padding_is_in_no_running_statistic_and_no_gradient() -> None:
    model, plain = make(), nn.BatchNorm1d(5)
    plain.load_state_dict(model.input_norm.state_dict())
    x = torch.randn(4, 12, 5)
    valid = torch.cat([x[row, :length] for row, length in enumerate(LENGTHS)])
    for row, length in enumerate(LENGTHS):
        x[row, length:] = float("nan")

    model.train()(x.requires_grad_(), LENGTHS).sum().backward()
    plain.train()(valid)

    torch.testing.assert_close(dict(plain.named_buffers()), dict(model.input_norm.named_buffers()))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.isfinite(x.grad).all()
    assert not x.grad[0, 4:].any()


@pytest.mark.parametrize(
    "lengths",
    [LENGTHS, tuple(LENGTHS), np.array(LENGTHS, np.int32), np.array(LENGTHS, np.uint8), torch.tensor(LENGTHS)],
)
def test_lengths_may_be_any_integers_under_either_name(lengths: Any) -> None:
    model, x = make().eval(), torch.randn(4, 9, 5)

    assert torch.equal(model(x, LENGTHS), model(x, lengths))
    assert torch.equal(model(x, LENGTHS), model(x, sequence_lengths=lengths))


def test_full_lengths_are_the_same_as_none() -> None:
    model, x = make().eval(), torch.randn(2, 9, 5)

    torch.testing.assert_close(model(x), model(x, [9, 9]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 0, 5), None, "at least one row and one step"),
        ((0, 3, 5), None, "at least one row and one step"),
        ((2, 3, 4), None, r"x must be \(batch, time, 5\)"),
        ((3, 5), None, r"x must be \(batch, time, 5\)"),
        ((2, 3, 5), [3, 0], r"lengths\[1\] is 0, must be from 1 to T = 3"),
        ((2, 3, 5), [4, 3], r"lengths\[0\] is 4"),
        ((2, 3, 5), [3], "one length for each of the 2 rows, got 1"),
        ((2, 3, 5), [3.0, 2.5], "lengths must be integers"),
    ],
)
def test_wrong_shapes_and_lengths_are_refused_with_the_number(shape: tuple, lengths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(torch.zeros(shape), lengths)


def test_two_names_for_the_lengths_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        make()(torch.zeros(1, 3, 5), [3], sequence_lengths=[3])


def test_one_window_in_training_uses_the_running_statistics() -> None:
    model = make(architecture={"dropout": 0.0}, classifier={"dropout": 0.0}, normalization={"input_norm": False})
    x = torch.randn(1, 6, 5)
    before = statistics(model)

    trained = model.train()(x)
    trained.sum().backward()

    torch.testing.assert_close(model.eval()(x), trained)
    torch.testing.assert_close(before, statistics(model))


def test_one_window_of_one_step_can_be_trained_on() -> None:
    assert make().train()(torch.randn(1, 1, 5)).shape == (1, 1)


@pytest.mark.parametrize("readout", READOUTS)
def test_every_trainable_parameter_gets_a_gradient(readout: str) -> None:
    model = make(readout, normalization={"layer_norm": True}).train()

    model(torch.randn(4, 9, 5), LENGTHS).sum().backward()

    assert all(p.grad is not None for p in model.parameters())


def test_attention_is_the_softmax_of_the_norms_and_zero_from_each_length_on() -> None:
    model, x = make().eval(), torch.randn(4, 12, 5)

    weights = model.get_attention_weights(x, LENGTHS)

    output = model.get_layer_outputs(x, LENGTHS)["lstm_output"]
    assert weights.shape == (4, 12)
    torch.testing.assert_close(torch.ones(4), weights.sum(dim=1))
    for row, length in enumerate(LENGTHS):
        assert not weights[row, length:].any()
        torch.testing.assert_close(output[row, :length].norm(dim=1).softmax(0), weights[row, :length])


def test_attention_is_taken_on_the_input_that_the_prediction_sees() -> None:
    model, x = make(normalization={"batch_norm": False}).eval(), torch.randn(2, 9, 5)
    before = model.get_attention_weights(x)

    with torch.no_grad():
        model.input_norm.running_mean += 3.0

    assert not torch.allclose(before, model.get_attention_weights(x))


def test_attention_without_input_is_that_of_the_last_forward() -> None:
    model, x = make().eval(), torch.randn(4, 12, 5)
    with pytest.raises(RuntimeError, match="no forward pass yet"):
        model.get_attention_weights()

    model(x, LENGTHS)
    kept = model.get_attention_weights()
    other = model.get_attention_weights(torch.randn(1, 3, 5))

    assert other.shape == (1, 3)
    assert torch.equal(kept, model.get_attention_weights())
    torch.testing.assert_close(model.get_attention_weights(x, LENGTHS), kept)
    assert not kept.requires_grad


def test_attention_pooling_decides_with_the_published_weights() -> None:
    model, x = make("attention").eval(), torch.randn(4, 9, 5)

    outputs, weights = model.get_layer_outputs(x, LENGTHS), model.get_attention_weights(x, LENGTHS)

    pooled = torch.einsum("bt,bth->bh", weights, outputs["lstm_output"])
    torch.testing.assert_close(outputs["final_features"], pooled)


def test_last_reads_the_last_step_and_ends_reads_the_backward_half_at_step_0() -> None:
    x = torch.randn(4, 9, 5)
    last = make("last").eval().get_layer_outputs(x, LENGTHS)
    ends = make("ends").eval().get_layer_outputs(x, LENGTHS)

    for row, length in enumerate(LENGTHS):
        output = last["lstm_output"][row]
        assert torch.equal(output[length - 1], last["final_features"][row])
        assert torch.equal(torch.cat([output[length - 1, :8], output[0, 8:]]), ends["final_features"][row])
    # both ends are the LSTM's own final states
    torch.testing.assert_close(torch.cat(list(ends["lstm_hidden"][-2:]), dim=1), ends["final_features"])


def test_diagnostics_move_no_statistic_and_leave_the_mode() -> None:
    model, x = make(normalization={"layer_norm": True}).train(), torch.randn(4, 9, 5)
    model.lstm.eval()
    before, modes = statistics(model), [m.training for m in model.modules()]

    first = model.get_layer_outputs(x, LENGTHS)
    model.get_attention_weights(x, LENGTHS)
    with pytest.raises(ValueError, match="lengths"):
        model.get_attention_weights(x, [1])

    torch.testing.assert_close(before, statistics(model), atol=0, rtol=0)
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(first["normalized_features"], model.get_layer_outputs(x, LENGTHS)["normalized_features"])


def test_layer_outputs_have_their_shapes_and_can_be_asked_for_by_name() -> None:
    model, x = make().eval(), torch.randn(4, 12, 5)

    outputs = model.get_layer_outputs(x, LENGTHS)

    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "input_normalized": (4, 12, 5),
        "lstm_output": (4, 12, 16),
        "lstm_hidden": (4, 4, 8),
        "lstm_cell": (4, 4, 8),
        "final_features": (4, 16),
        "normalized_features": (4, 16),
    }
    assert torch.equal(model.classifier(outputs["normalized_features"]), model(x, LENGTHS))
    assert torch.equal(outputs["lstm_output"], model.get_layer_outputs(x, "lstm_output", LENGTHS))
    assert torch.equal(outputs["lstm_output"], model.get_layer_outputs(x, LENGTHS, layer_name="lstm_output"))
    assert model.get_layer_outputs(x, "final_features").shape == (4, 16)
    with pytest.raises(ValueError, match="no layer 'head'"):
        model.get_layer_outputs(x, "head")


def test_input_in_any_memory_layout_gives_the_same() -> None:
    model, x = make().eval(), torch.randn(9, 4, 5).transpose(0, 1)

    assert not x.is_contiguous()
    assert torch.equal(model(x.contiguous(), LENGTHS), model(x, LENGTHS))
    assert torch.equal(model(x.contiguous()), model.train().eval()(x.double()))


def test_the_forget_gates_start_open_and_all_other_biases_at_zero() -> None:
    model = make()
    expected = torch.cat([torch.zeros(8), torch.ones(8), torch.zeros(16)])

    for name, bias in model.lstm.named_parameters():
        if name.startswith("bias"):
            assert torch.equal(expected if name.startswith("bias_ih") else torch.zeros(32), bias)


def test_numbers_may_be_strings_and_unknown_keys_are_ignored_with_a_warning() -> None:
    config = {
        "architecture": {"hidden_size": "16", "magic": 1},
        "classifier": None,
        "regularization": {"weight_decay": "1e-4"},
        "training": {"epochs": 3},
    }

    with pytest.warns(UserWarning, match=r"architecture\.magic is not known") as caught:
        model = SteelDefectLSTM(config)

    assert len(caught) == 1
    assert (model.hidden_size, model.weight_decay, model.classifier_hidden_dims) == (16, 1e-4, [32, 16])


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (
            "architecture",
            {"input_size": 16_385},
            r"architecture\.input_size must be a whole number from 1 to 16384, got 16385",
        ),
        ("architecture", {"num_layers": 5}, r"architecture\.num_layers must be a whole number from 1 to 4"),
        ("architecture", {"hidden_size": 1.5}, r"architecture\.hidden_size must be a whole number"),
        ("architecture", {"hidden_size": True}, r"architecture\.hidden_size must be a number"),
        ("architecture", {"dropout": 0.9}, r"architecture\.dropout must be from 0 to 0\.8, got 0\.9"),
        ("architecture", {"dropout": "nan"}, r"architecture\.dropout must be from 0 to 0\.8"),
        ("architecture", {"readout": "first"}, "must be one of last, ends, attention"),
        ("architecture", {"bidirectional": "maybe"}, "must be true or false"),
        ("classifier", {"activation": "gelu"}, "must be one of relu, tanh, sigmoid"),
        ("classifier", {"hidden_dims": [8, 0]}, r"classifier\.hidden_dims\[1\] must be a whole number"),
        ("classifier", {"hidden_dims": 8}, "must be a list"),
        ("normalization", [], "normalization must be a mapping"),
    ],
)
def test_values_outside_the_limits_are_refused_by_name(section: str, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SteelDefectLSTM({section: values})


def test_an_empty_head_and_only_the_enabled_norms_are_built() -> None:
    model = SteelDefectLSTM(
        {"classifier": {"hidden_dims": []}, "normalization": {"batch_norm": False, "input_norm": False}}
    )

    assert [name for name, _ in model.named_children()] == ["lstm", "classifier"]
    assert len(model.classifier) == 1


def trainable(model: SteelDefectLSTM) -> set[str]:
    """The layers of which every parameter is trained."""
    return {name for name, layer in model.named_children() if all(p.requires_grad for p in layer.parameters())}


def test_layers_freeze_by_flag_and_false_leaves_a_part_as_it_is() -> None:
    model = make()
    everything = trainable(model)

    model.freeze_layers()
    assert trainable(model) == everything - {"lstm"}
    parameters = model.get_model_info()["parameters"]
    assert parameters["frozen"] == sum(p.numel() for p in model.lstm.parameters())
    assert parameters["trainable"] + parameters["frozen"] == parameters["total"]

    model.freeze_layers(freeze_lstm=False, freeze_classifier=True)
    assert trainable(model) == everything - {"lstm", "classifier"}
    model.freeze_layers(freeze_lstm=False, freeze_classifier=False)
    assert trainable(model) == everything - {"lstm", "classifier"}


def test_layers_come_back_into_training_by_a_call_of_their_own() -> None:
    model = make()
    everything = trainable(model)
    model.freeze_layers(True, True)

    model.unfreeze_layers(lstm=False)
    assert trainable(model) == everything - {"lstm"}
    model.unfreeze_layers(classifier=False)
    assert trainable(model) == everything

    model.freeze_layers(True, True)
    model.unfreeze_layers(["lstm"])
    assert trainable(model) == everything - {"classifier"}
    model.unfreeze_layers()
    assert trainable(model) == everything


def test_layers_and_parameters_freeze_by_name() -> None:
    model = make()

    model.freeze_layers(["input_norm", "lstm.bias_hh_l0"])

    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"input_norm.weight", "input_norm.bias", "lstm.bias_hh_l0"}
    for call in (model.freeze_layers, model.unfreeze_layers):
        with pytest.raises(ValueError, match="no layer 'lst'"):
            call(["lst"])


@pytest.mark.parametrize("norm", ["lstm_batch_norm", "lstm_layer_norm"])
def test_weights_that_name_the_norm_lstm_norm_load(norm: str) -> None:
    flags = {"batch_norm": norm == "lstm_batch_norm", "layer_norm": norm == "lstm_layer_norm"}
    model, other = make(normalization=flags).eval(), SteelDefectLSTM(make(normalization=flags).config).eval()
    nn.init.uniform_(getattr(model, norm).weight)
    old = {name.replace(norm, "lstm_norm"): value for name, value in model.state_dict().items()}

    other.load_state_dict(old)

    x = torch.randn(2, 6, 5)
    assert torch.equal(model(x), other(x))


def test_zero_states_count_both_directions() -> None:
    h, c = make().init_hidden(3)

    assert h.shape == c.shape == (4, 3, 8)
    assert make().init_hidden(3, device="meta")[0].is_meta


def test_the_configuration_given_is_copied() -> None:
    config = {"architecture": {"hidden_size": 8}}
    model = SteelDefectLSTM(config)
    before = copy.deepcopy(config)

    model.config["architecture"]["hidden_size"] = 9

    assert before == config


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("readout", READOUTS)
def test_a_gpu_gives_the_same(readout: str) -> None:
    model, x = make(readout).eval(), torch.randn(4, 12, 5)
    expected, weights = model(x, LENGTHS), model.get_attention_weights()

    found = model.to("cuda")(x.cuda(), LENGTHS)

    torch.testing.assert_close(expected, found.cpu(), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, model.get_attention_weights().cpu(), atol=1e-5, rtol=0)
