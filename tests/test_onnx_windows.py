"""Windows scored by ONNX models: any batch gives what each window gives alone; bad exports are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StartupError
from core.tasks.reading import read_declaration
from tests.strategies import examples

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.onnx.task import open_windows
from core.tasks.check.examine import examine
from core.tasks.check.findings import Checked
from core.tasks.check.run import check_task
from core.tasks.sizes import STATE_BYTES
from tests import onnx_models as models


class Task:
    """A window task of one model in a folder."""

    def __init__(self, folder: Path, model: bytes, first: int = 10, example: str = "") -> None:
        self.path, self.model = folder / "motion.toml", model
        (folder / "motion.onnx").write_bytes(model)
        self.path.write_text(
            'name = "motion"\nkind = "window"\n[fields]\nacceleration = { length = 3 }\n'
            f'[model]\nfile = "motion.onnx"\n{example}\n[window]\nlength = 30\nfirst = {first}\nhop = 5\n'
            '[outputs]\nactivity = { tensor = "y" }\npeak = { tensor = "attention", apply = "argmax_step" }\n'
        )

    def check(self) -> Checked:
        return examine(read_declaration(self.path), self.model, None, STATE_BYTES)

    def refusal(self) -> str:
        with pytest.raises(StartupError) as error:
            self.check()
        assert "\n" not in str(error.value)
        return str(error.value)


def windows(lengths: list[int]) -> list[Any]:
    random = np.random.default_rng(sum(lengths))
    return [random.normal(size=(length, 3)).astype(np.float32) for length in lengths]


def test_a_right_model_passes_in_this_process_and_in_a_child(tmp_path: Path) -> None:
    task = Task(tmp_path, models.window_classifier())
    checked, again = task.check(), check_task(task.path, None)

    assert (checked.plan, checked.states, checked.outputs) == ("any", (), {"y": (4,), "attention": (30,)})
    assert (again.fingerprint, again.plan, again.outputs) == (checked.fingerprint, checked.plan, checked.outputs)


@examples(20)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=90))
def test_any_batch_gives_what_each_window_gives_alone(tmp_path_factory: pytest.TempPathFactory, lengths: Any) -> None:
    task = Task(tmp_path_factory.getbasetemp(), models.window_classifier())
    scorer = open_windows(read_declaration(task.path), task.model, "any")
    given_windows = windows(lengths)

    found = scorer.score(given_windows)

    for window, (logits, attention) in zip(given_windows, found, strict=True):
        ((expected, peaks),) = scorer.score([window])
        np.testing.assert_array_equal(logits, expected)
        np.testing.assert_array_equal(attention, peaks)
        np.testing.assert_array_equal(attention, window.max(axis=1))


def test_more_windows_than_a_call_takes_come_in_order(tmp_path: Path) -> None:
    task = Task(tmp_path, models.window_classifier())
    scorer = open_windows(read_declaration(task.path), task.model, "pad 8")
    given_windows = windows([7] * 150)

    found = scorer.score(given_windows)

    assert [attention.tolist() for _, attention in found] == [window.max(axis=1).tolist() for window in given_windows]


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ({"batch": 1}, "input 'x' float[1, time, 3] has a frozen batch"),
        ({"time": 30}, "takes windows of exactly 30 samples, the task gives 10, too: set length and first in [window]"),
        ({"mixed": True}, "change by 0."),
        ({"deaf_to": 1}, "the model does not read acceleration[1] of the fields"),
    ],
)
def test_a_bad_export_is_refused(tmp_path: Path, model: dict[str, Any], line: str) -> None:
    assert line in Task(tmp_path, models.window_classifier(**model)).refusal()


def test_a_model_of_one_length_runs_where_windows_have_no_other(tmp_path: Path) -> None:
    assert Task(tmp_path, models.window_classifier(time=30), first=30).check().plan == "any"


def test_a_state_in_a_window_model_is_refused(tmp_path: Path) -> None:
    task = Task(tmp_path, models.gru())
    task.path.write_text(task.path.read_text().replace('peak = { tensor = "attention", apply = "argmax_step" }', ""))

    assert "input 'h0' is a state, and a task of the kind window carries none" in task.refusal()


def test_an_example_of_windows_is_compared(tmp_path: Path) -> None:
    task = Task(tmp_path, models.window_classifier(), example='example = "motion.npz"')
    scorer = open_windows(read_declaration(task.path, need_files=False), task.model, "any")
    given_windows = windows([30] * 6)
    logits = np.stack([scored[0] for scored in scorer.score(given_windows)])

    np.savez(tmp_path / "motion.npz", x=np.stack(given_windows), y=logits)
    assert task.check().example == (6, 0.0)

    np.savez(tmp_path / "motion.npz", x=np.stack(given_windows), y=logits[::-1])
    assert "does not agree with the example motion.npz: output 'y'" in task.refusal()
