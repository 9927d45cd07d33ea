"""`caststream task convert`: a model file of PyTorch as one that is read without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from core.errors import StartupError
from core.models.checkpoint import read_checkpoint, write_checkpoint
from core.models.content import read_content
from core.models.safetensors import looks_like_safetensors
from core.models.shipped import ModelKind, checkpoint_path
from core.models.weights_file import read_weights
from stream_app.cli import main as cli
from tests.recurrent_files import weights


def convert(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["task", "convert", *map(str, words)])


@pytest.mark.parametrize("kind", ["signal", "defect"])
def test_a_converted_model_is_the_same_and_needs_no_torch(kind: ModelKind, tmp_path: Path) -> None:
    file = tmp_path / "plant.pt"
    write_checkpoint(file, read_checkpoint(checkpoint_path(kind)))

    assert convert(file).exit_code == 0

    made = tmp_path / "plant.safetensors"
    assert looks_like_safetensors(made.read_bytes()[:16])
    assert read_weights(made, kind).fingerprint == read_weights(file, kind).fingerprint


def test_the_bare_weights_of_a_task_of_ones_own_stay_as_they_are(tmp_path: Path) -> None:
    arrays = weights(cell="gru")
    torch.save({name: torch.as_tensor(each) for name, each in arrays.items()}, tmp_path / "oven.pt")

    assert convert(tmp_path / "oven.pt", "--out", tmp_path / "b.safetensors").exit_code == 0

    found = read_content(tmp_path / "b.safetensors")["model_state_dict"]
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize(
    ("file", "out", "words"),
    [
        ("none.pt", None, "none.pt: there is no such file"),
        ("text.pt", None, "text.pt is not a PyTorch file"),
        ("plant.pt", "plant.bin", "plant.bin does not end in .safetensors"),
        ("plant.pt", "there.safetensors", "there.safetensors is there already"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_is_written(
    file: str, out: str | None, words: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "plant.pt", read_checkpoint(checkpoint_path("signal")))
    (tmp_path / "text.pt").write_text("no model")
    (tmp_path / "there.safetensors").write_text("mine")

    done = convert(tmp_path / file, *(["--out", tmp_path / out] if out else []))

    assert isinstance(done.exception, StartupError)
    assert words in str(done.exception)
    assert (tmp_path / "there.safetensors").read_text() == "mine"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pt", ".pt", ".safetensors"]
