"""What a window task makes of its model's numbers, against ONNX Runtime's own session and plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnxruntime

from core.engines.declared.window_model import WindowModel
from core.errors import StartupError
from core.tasks.check.run import check_task
from core.tasks.reading import read_declaration
from core.wire.outputs import OutputField
from tests import onnx_models as models
from tests.strategies import examples

LABELS = ("still", "walk", "run", "fall")
OUTPUTS = f"""
logits = {{ tensor = "y" }}
odds = {{ of = "logits", apply = "softmax", labels = {list(LABELS)} }}
activity = {{ of = "odds", apply = "label" }}
squashed = {{ of = "logits", apply = "sigmoid", scale = 2.0, shift = -0.5, names = ["a", "b", "c", "d"] }}
peak = {{ tensor = "attention", apply = "argmax_step" }}
apart = {{ tensor = "half", apply = "error" }}
alarm = {{ of = "apart", apply = "above", threshold = 0.5 }}
"""
SIX = "".join(f"{name} = {{}}\n" for name in ("ax", "ay", "az", "gx", "gy", "gz"))


def write(folder: Path, outputs: str = OUTPUTS, first: int = 4, length: int = 12, **graph: Any) -> Path:
    model = models.window_classifier(features=6, **graph)
    (folder / "motion.onnx").write_bytes(model)
    path = folder / "motion.toml"
    path.write_text(
        f'name = "motion"\nkind = "window"\n[fields]\n{SIX}[model]\nfile = "motion.onnx"\n'
        f"[window]\nlength = {length}\nfirst = {first}\nhop = 3\n[outputs]\n{outputs}"
    )
    return path


def opened(path: Path, plan: str = "any") -> WindowModel:
    declaration = read_declaration(path)
    return WindowModel(declaration, declaration.model.file.read_bytes(), plan)


def slowly(session: onnxruntime.InferenceSession, window: Any, steps: Any) -> list[float]:
    """The outputs of one window, by a session of its own and plain Python."""
    y, attention, half = (each[0].tolist() for each in session.run(["y", "attention", "half"], {"x": window[None]}))
    powers = [math.exp(number - max(y)) for number in y]
    odds = [power / sum(powers) for power in powers]
    squared = [
        (a - b) ** 2 for row, kept in zip(window.tolist(), half, strict=True) for a, b in zip(row, kept, strict=True)
    ]
    apart = math.sqrt(sum(squared) / len(squared))
    peak = steps[attention.index(max(attention))]
    squashed = [1 / (1 + math.exp(-(2 * number - 0.5))) for number in y]
    return [*y, *odds, odds.index(max(odds)), *squashed, peak, apart, apart >= 0.5]


@examples(25)
@given(lengths=st.lists(st.integers(4, 12), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_every_output_of_any_batch_is_what_plain_python_makes_of_one_window(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    path = write(tmp_path_factory.getbasetemp())
    session = onnxruntime.InferenceSession(path.with_suffix(".onnx").read_bytes(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    windows = [random.normal(scale=1 + n % 2, size=(n, 6)).astype(np.float32) for n in lengths]
    steps = [1000 + np.sort(random.choice(20, n, replace=False)) for n in lengths]
    model = opened(path)

    found = model.score(windows, steps)

    expected = [slowly(session, window, each) for window, each in zip(windows, steps, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    alone = np.vstack([model.score([window], [each]) for window, each in zip(windows, steps, strict=True)])
    np.testing.assert_array_equal(found, alone)


def test_by_the_plan_of_the_check_a_window_has_the_same_bits_in_any_batch(tmp_path: Path) -> None:
    """Softplus goes another way at the end of a batch whose numbers are no multiple of eight."""
    path = write(tmp_path, "y = {}", operator="Softplus", classes=5)
    checked = check_task(path, None)
    random = np.random.default_rng(5)
    windows = [random.normal(size=(4 + n % 9, 6)).astype(np.float32) for n in range(70)]
    model = opened(path, checked.plan)

    alone = np.vstack([model.score([window]) for window in windows])

    assert checked.plan == "pad 8"
    for size in (2, 3, 9, 31, 70):
        chosen = random.permutation(70)[:size]
        np.testing.assert_array_equal(model.score([windows[place] for place in chosen]), alone[chosen])


def test_the_fields_say_how_each_output_stands_in_a_record(tmp_path: Path) -> None:
    assert opened(write(tmp_path)).outputs.fields == (
        OutputField("logits", length=4),
        OutputField("odds", LABELS, 4),
        OutputField("activity", kind="text", texts=LABELS),
        OutputField("squashed", ("a", "b", "c", "d"), 4),
        OutputField("peak", kind="whole"),
        OutputField("apart", kind="distance"),
        OutputField("alarm", kind="text", texts=(False, True)),
    )


def test_without_steps_the_peak_counts_from_the_beginning_of_the_window(tmp_path: Path) -> None:
    model = opened(write(tmp_path, 'peak = { tensor = "attention", apply = "argmax_step" }'))
    window = np.zeros((9, 6), np.float32)
    window[5, 2] = window[7, 0] = 3

    assert model.score([window]).tolist() == [[5.0]]
    assert model.score([]).shape == (0, 1)


def test_a_step_beyond_float32_is_exact(tmp_path: Path) -> None:
    model = opened(write(tmp_path, 'peak = { tensor = "attention", apply = "argmax_step" }'))
    window = np.zeros((4, 6), np.float32)
    window[1] = 1

    assert model.score([window], [np.arange(4) + 2**53 - 5]).tolist() == [[2**53 - 4]]


def test_of_numbers_that_are_none_no_output_is_made_up(tmp_path: Path) -> None:
    window = np.full((5, 6), np.nan, np.float32)

    (found,) = opened(write(tmp_path)).score([window])

    assert np.isnan(found).all()


@pytest.mark.parametrize("time", ["time", 12])
def test_numbers_per_sample_of_windows_of_one_length_are_an_array(tmp_path: Path, time: int | str) -> None:
    outputs = 'attention = {}\npeak = { of = "attention", apply = "argmax_step" }'
    model = opened(write(tmp_path, outputs, first=12, time=time))
    window = np.arange(72, dtype=np.float32).reshape(12, 6)

    assert model.outputs.fields == (OutputField("attention", length=12), OutputField("peak", kind="whole"))
    assert model.score([window]).tolist() == [[*window.max(axis=1).tolist(), 11.0]]


@pytest.mark.parametrize(
    ("outputs", "line"),
    [
        ("attention = {}", 'apply = "argmax_step" or "error" alone'),
        ('y = { apply = "argmax_step" }', "tensor 'y' is [4] for a window of 12: export it as [batch, samples]"),
        ('half = { apply = "argmax_step" }', "tensor 'half' is [12, 6] for a window of 12: export it as"),
        ('y = { apply = "error" }', "compares a tensor [batch, samples, up to 6 numbers] with the window"),
        ('y = {}\nfar = { of = "y", apply = "error" }', "name it by tensor, in place of of"),
        ('y = {}\npeak = { of = "y", apply = "argmax_step" }', "output 'y' has 4: name a tensor [batch, samples]"),
        ('y = { names = ["a"] }', "has 1 names, and tensor 'y' has 4 numbers: name each of them"),
        ('y = { apply = "above", threshold = 1 }', "above is for one number, and tensor 'y' has 4"),
    ],
)
def test_outputs_that_do_not_fit_the_graph_are_refused_by_the_check_and_at_start(
    tmp_path: Path, outputs: str, line: str
) -> None:
    path = write(tmp_path, outputs)
    for refuse in (opened, lambda path: check_task(path, None)):
        with pytest.raises(StartupError) as refused:
            refuse(path)
        assert line in str(refused.value)
        assert "motion.onnx: output '" in str(refused.value)


def test_nothing_is_applied_to_a_step(tmp_path: Path) -> None:
    path = write(tmp_path, OUTPUTS + 'late = { of = "peak", apply = "above", threshold = 1004 }')

    with pytest.raises(
        StartupError, match='of is "peak", whose apply is "argmax_step": nothing can be applied to it, not "above"'
    ):
        read_declaration(path)


def test_clear_of_a_window_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 'apart = { tensor = "half", apply = "error" }\n'
                 'alarm = { of = "apart", apply = "above", threshold = 2, clear = 1 }')  # fmt: skip

    with pytest.raises(StartupError, match="clear is there, and it is for tasks of the kind step alone"):
        read_declaration(path)
