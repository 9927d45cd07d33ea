"""SignalExtractionLSTM: sizes, state, and the equality of stepping and one fused call that everything rests on."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from core import SignalExtractionLSTM


@pytest.fixture
def model() -> SignalExtractionLSTM:
    torch.manual_seed(7)
    return SignalExtractionLSTM(hidden_size=16).eval()


def test_the_default_model_has_51521_parameters() -> None:
    assert SignalExtractionLSTM().count_parameters() == 51_521


def test_the_weights_have_the_names_that_model_files_use() -> None:
    layers = [f"lstm.{kind}_l{k}" for k in (0, 1) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    assert [*layers, "fc.weight", "fc.bias"] == list(SignalExtractionLSTM().state_dict())


def test_a_step_by_step_run_equals_the_fused_one(model: SignalExtractionLSTM) -> None:
    x = torch.randn(3, 200, 5)
    fused, (h, c) = model(x)

    state, steps = None, []
    for t in range(200):
        step, state = model(x[:, t : t + 1], state)
        steps.append(step)

    torch.testing.assert_close(torch.cat(steps, dim=1), fused, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, (h, c), atol=1e-5, rtol=0)


def test_the_state_given_is_not_touched_and_the_state_returned_is_new(model: SignalExtractionLSTM) -> None:
    given = (torch.randn(2, 3, 16), torch.randn(2, 3, 16))
    before = copy.deepcopy(given)

    _, after = model(torch.randn(3, 4, 5), given)

    assert all(torch.equal(old, new) for old, new in zip(before, given, strict=True))
    assert all(old.data_ptr() != new.data_ptr() for old, new in zip(given, after, strict=True))


def test_no_steps_give_no_predictions_and_a_copy_of_the_state(model: SignalExtractionLSTM) -> None:
    given = (torch.randn(2, 3, 16), torch.randn(2, 3, 16))

    prediction, after = model(torch.randn(3, 0, 5), given)

    assert prediction.shape == (3, 0, 1)
    assert all(torch.equal(old, new) for old, new in zip(given, after, strict=True))
    assert all(old.data_ptr() != new.data_ptr() for old, new in zip(given, after, strict=True))


def test_gradients_reach_the_input_and_every_parameter(model: SignalExtractionLSTM) -> None:
    x = torch.randn(2, 6, 5, requires_grad=True)

    model(x)[0].sum().backward()

    assert x.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
def test_input_of_any_type_is_read_as_the_models_own(model: SignalExtractionLSTM, dtype: torch.dtype) -> None:
    x = torch.randint(-3, 3, (2, 5, 5))

    assert torch.equal(model(x.to(dtype))[0], model(x.float())[0])


def test_a_double_model_computes_and_starts_in_double(model: SignalExtractionLSTM) -> None:
    prediction, (h, _) = model.double()(torch.randn(1, 3, 5))

    assert prediction.dtype == h.dtype == model.init_hidden(1)[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 0}, "input_size must be positive"),
        ({"hidden_size": -1}, "hidden_size must be positive"),
        ({"num_layers": 0}, "num_layers must be positive"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"dropout": -0.1}, "dropout must be in"),
    ],
)
def test_wrong_sizes_are_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SignalExtractionLSTM(**arguments)


def test_wrong_input_shapes_are_refused(model: SignalExtractionLSTM) -> None:
    with pytest.raises(ValueError, match="Input must be 3-dimensional"):
        model(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="Input feature size must be"):
        model(torch.zeros(1, 5, 4))


def test_recurrent_weights_are_orthogonal_biases_zero_and_drawn_again_on_reset() -> None:
    model = SignalExtractionLSTM()
    weight = model.lstm.weight_hh_l1.detach().clone()

    torch.testing.assert_close(weight.T @ weight, torch.eye(64), atol=1e-5, rtol=0)
    assert all(not p.any() for name, p in model.named_parameters() if "bias" in name)
    model.reset_parameters()
    assert not torch.equal(weight, model.lstm.weight_hh_l1)


def test_the_total_counts_frozen_layers_too() -> None:
    model = SignalExtractionLSTM()
    model.lstm.requires_grad_(False)

    assert model.count_parameters() == 65
    assert model.get_model_info()["total_parameters"] == 51_521


def test_dropout_is_kept_as_given_also_where_one_layer_has_no_use_for_it() -> None:
    model = SignalExtractionLSTM(num_layers=1, dropout=0.3)

    assert (model.dropout, model.lstm.dropout) == (0.3, 0.0)


def test_device_tells_where_the_parameters_are_now(model: SignalExtractionLSTM) -> None:
    assert model.device == "cpu"
    assert model.to("meta").device == "meta"


def test_repr_and_pickle_hold_the_sizes() -> None:
    model = pickle.loads(pickle.dumps(SignalExtractionLSTM()))

    for part in ("SignalExtractionLSTM", "input_size=5", "hidden_size=64", "num_layers=2"):
        assert part in repr(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_and_takes_a_state_from_the_cpu(model: SignalExtractionLSTM) -> None:
    x, state = torch.randn(4, 50, 5), (torch.randn(2, 4, 16), torch.randn(2, 4, 16))
    expected, _ = model(x, state)

    found, _ = model.to("cuda")(x.cuda(), state)

    torch.testing.assert_close(expected, found.cpu(), atol=1e-5, rtol=0)
