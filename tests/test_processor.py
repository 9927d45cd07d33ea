"""StatefulProcessor: whole samples equal stepping, the state goes on where it was left, bad samples leave no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core import SignalExtractionLSTM, StatefulProcessor, SteelDefectLSTM

CONDITION = [0.0, 1.0, 0.0, 0.0]


@pytest.fixture
def processor() -> StatefulProcessor:
    torch.manual_seed(5)
    return StatefulProcessor(SignalExtractionLSTM(hidden_size=16))


def sample(steps: int = 60, seed: int = 0) -> dict[str, Any]:
    return {"mixed_signal": np.random.default_rng(seed).normal(size=steps), "condition_vector": np.array(CONDITION)}


def test_a_whole_sample_equals_stepping_through_it(processor: StatefulProcessor) -> None:
    given, state, expected = sample(), None, []
    processor.model.eval()
    with torch.no_grad():
        for t in range(60):
            x = torch.tensor([[[given["mixed_signal"][t], *given["condition_vector"]]]], dtype=torch.float32)
            prediction, state = processor.model(x, state)
            expected.append(prediction.item())

    found = processor.process_sample(given)

    assert found.dtype == np.float32
    np.testing.assert_allclose(expected, found, atol=1e-5)
    torch.testing.assert_close(state, processor.current_state, atol=1e-5, rtol=0)


def test_the_input_vector_is_the_signal_and_the_condition(processor: StatefulProcessor) -> None:
    """Users' code calls it, though its name begins with an underscore."""
    x = processor._create_input_vector(np.array([1, 2, 3]), [0, 0, 1, 0], 1)

    assert x.dtype == torch.float32
    assert x.tolist() == [[[2.0, 0.0, 0.0, 1.0, 0.0]]]


def test_a_sample_in_pieces_equals_the_whole_and_a_reset_starts_anew(processor: StatefulProcessor) -> None:
    whole = processor.process_sample(sample())
    signal = sample()["mixed_signal"]

    pieces = [
        processor.process_sample({"mixed_signal": part, "condition_vector": CONDITION}, reset_state=index == 0)
        for index, part in enumerate((signal[:1], signal[1:1], signal[1:40], signal[40:]))
    ]

    assert [len(piece) for piece in pieces] == [1, 0, 39, 20]
    np.testing.assert_allclose(whole, np.concatenate(pieces), atol=1e-5)
    assert np.array_equal(whole, processor.process_sample(sample()))


def test_states_kept_by_the_caller_are_not_touched(processor: StatefulProcessor) -> None:
    processor.process_sample(sample())
    kept = processor.current_state
    copies = [part.clone() for part in kept]

    processor.process_sample({"mixed_signal": [], "condition_vector": CONDITION}, reset_state=False)
    idle = processor.current_state
    processor.process_sample(sample(seed=1), reset_state=False)

    assert idle is not kept
    assert processor.current_state[0].data_ptr() not in (kept[0].data_ptr(), idle[0].data_ptr())
    assert all(torch.equal(old, new) for old, new in zip(copies, kept, strict=True))


@pytest.mark.parametrize(
    "convert",
    [list, torch.tensor, lambda v: np.array(v, np.float64), lambda v: np.array(v, ">i2"), lambda v: np.array(v)[::-1]],
)
def test_lists_arrays_and_tensors_of_any_type_are_accepted(processor: StatefulProcessor, convert: Any) -> None:
    signal = convert([3, -1, 0, 2])
    plain = np.float32([float(value) for value in signal])

    found = processor.process_sample({"mixed_signal": signal, "condition_vector": [0, 1, 0, 0]})

    assert np.array_equal(
        processor.process_sample({"mixed_signal": plain, "condition_vector": np.float32(CONDITION)}), found
    )


def test_a_tensor_comes_back_when_asked_for(processor: StatefulProcessor) -> None:
    found = processor.process_sample(sample(), return_tensor=True)

    assert isinstance(found, torch.Tensor)
    assert (found.shape, found.dtype, found.requires_grad) == ((60,), torch.float32, False)


def test_rows_of_a_batch_are_independent(processor: StatefulProcessor) -> None:
    signals = np.stack([sample(seed=seed)["mixed_signal"] for seed in range(3)])
    conditions = np.array([CONDITION, [1, 1, 0, 1], [0, 0, 0, 0]])

    batch = processor.process_batch({"mixed_signals": signals, "condition_vectors": conditions})

    assert batch.shape == (3, 60, 1)
    for row in range(3):
        alone = processor.process_sample({"mixed_signal": signals[row], "condition_vector": conditions[row]})
        np.testing.assert_allclose(alone, batch[row, :, 0], atol=1e-5)


def test_a_loaders_singular_names_and_a_kept_state_work_for_batches(processor: StatefulProcessor) -> None:
    signals, conditions = torch.randn(2, 30), torch.tensor([CONDITION] * 2)
    whole = processor.process_batch({"mixed_signal": signals, "condition_vector": conditions})

    first = processor.process_batch({"mixed_signal": signals[:, :11], "condition_vector": conditions})
    second = processor.process_batch({"mixed_signal": signals[:, 11:], "condition_vector": conditions}, False)

    torch.testing.assert_close(whole, torch.cat([first, second], dim=1), atol=1e-5, rtol=0)


def test_a_kept_state_of_another_batch_size_is_refused(processor: StatefulProcessor) -> None:
    processor.reset_state(3)

    with pytest.raises(ValueError, match="kept state has batch size 3, the input 1"):
        processor.process_sample(sample(), reset_state=False)
    assert processor.get_state_info()["h_shape"] == (2, 3, 16)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_value_that_is_not_finite_is_refused_by_index_and_poisons_nothing(
    processor: StatefulProcessor, bad: float
) -> None:
    processor.process_sample(sample())
    before, wrong = processor.current_state, sample()
    wrong["mixed_signal"][17] = bad

    with pytest.raises(ValueError, match=r"mixed_signal\[17\] is .*must be finite"):
        processor.process_sample(wrong, reset_state=False)
    with pytest.raises(ValueError, match=r"condition_vectors\[1, 2\]"):
        processor.process_batch({"mixed_signals": np.zeros((2, 4)), "condition_vectors": [CONDITION, [0, 0, bad, 0]]})
    assert processor.current_state is before


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"condition_vector": CONDITION}, KeyError, "must contain 'mixed_signal'"),
        ({"mixed_signal": [0.0]}, KeyError, "must contain 'condition_vector'"),
        ({"mixed_signal": [[0.0]], "condition_vector": CONDITION}, ValueError, "mixed_signal must be 1D"),
        ({"mixed_signal": [0.0], "condition_vector": [1, 0]}, ValueError, "condition_vector must have 4 elements"),
    ],
)
def test_wrong_samples_are_refused(processor: StatefulProcessor, given: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        processor.process_sample(given)


def test_wrong_batches_are_refused(processor: StatefulProcessor) -> None:
    with pytest.raises(KeyError, match="must contain 'mixed_signals'"):
        processor.process_batch({})
    with pytest.raises(ValueError, match="must be 2D"):
        processor.process_batch({"mixed_signals": np.zeros(4), "condition_vectors": [CONDITION]})
    with pytest.raises(ValueError, match=r"must be \(2, 4\)"):
        processor.process_batch({"mixed_signals": np.zeros((2, 4)), "condition_vectors": [CONDITION]})


def test_the_mode_comes_back_also_after_an_error(processor: StatefulProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    processor.model.train()
    processor.model.fc.eval()
    assert np.array_equal(processor.process_sample(sample()), processor.process_sample(sample()))  # no dropout

    def broken(*_: Any) -> None:
        assert not processor.model.training
        raise RuntimeError("broken")

    monkeypatch.setattr(processor.model, "forward", broken)
    with pytest.raises(RuntimeError, match="broken"):
        processor.process_sample(sample())

    assert (processor.model.training, processor.model.lstm.training, processor.model.fc.training) == (True, True, False)


def test_the_state_tells_about_itself(processor: StatefulProcessor) -> None:
    assert processor.current_state is processor.get_state_info() is None
    assert "not initialized" in repr(processor)

    processor.process_sample(sample())

    info = processor.get_state_info()
    assert set(info) == {"h_shape", "c_shape", "h_mean", "h_std", "c_mean", "c_std", "device"}
    assert info["h_shape"] == info["c_shape"] == (2, 1, 16)
    assert info["h_std"] == pytest.approx(processor.current_state[0].std().item())
    assert "StatefulProcessor" in repr(processor)
    assert "SignalExtractionLSTM" in repr(processor)
    assert "not initialized" not in repr(processor)


def test_another_model_is_refused() -> None:
    with pytest.raises(TypeError, match="must be SignalExtractionLSTM"):
        StatefulProcessor(SteelDefectLSTM({}))  # type: ignore[arg-type]


def test_a_double_model_works_and_gives_float32(processor: StatefulProcessor) -> None:
    expected = processor.process_sample(sample())

    processor.model.double()

    assert processor.process_sample(sample()).dtype == np.float32
    np.testing.assert_allclose(expected, processor.process_sample(sample()), atol=1e-5)
