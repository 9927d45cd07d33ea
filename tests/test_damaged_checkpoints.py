"""Model files damaged anywhere, or made by somebody who means harm: one clear line, never another model, never code."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from core.errors import StartupError
from core.models.checkpoint import read_checkpoint, write_checkpoint
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import ModelKind, checkpoint_path
from core.models.weights_file import read_weights

KINDS: tuple[ModelKind, ...] = ("signal", "defect")
FORMS = ("m.safetensors", "m.pt")
DAMAGES = int(os.environ.get("DAMAGES", "1000"))
"""Of each file."""


def whole_file(path: Path, kind: ModelKind) -> bytes:
    """The shipped model in the form that the name asks for."""
    write_checkpoint(path, read_checkpoint(checkpoint_path(kind)))
    return path.read_bytes()


def damaged(whole: bytes, random: Random) -> Iterator[bytes]:
    """One byte changed or a bit turned; now and then the file is cut, or a stretch of it is zeros."""
    for number in range(DAMAGES):
        at = random.randrange(len(whole))
        if number % 10 == 0:
            yield whole[:at]
        elif number % 10 == 1:
            length = min(512, len(whole) - at)
            yield whole[:at] + bytes(length) + whole[at + length :]
        else:
            new = whole[at] ^ (1 << random.randrange(8) if number % 2 else random.randrange(1, 256))
            yield whole[:at] + bytes([new]) + whole[at + 1 :]


def bytes_of_the_directory(path: Path, whole: bytes) -> Iterator[bytes]:
    """What says where everything stands is at the end of a file of PyTorch, and at the beginning of safetensors."""
    if path.suffix == ".pt":
        with zipfile.ZipFile(path) as archive:
            places = range(archive.start_dir, len(whole), 7)
    else:
        places = range(0, 8 + int.from_bytes(whole[:8], "little"), 17)
    for at in places:
        yield whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]


def assert_refused_or_the_same(path: Path, kind: ModelKind, contents: Iterable[bytes]) -> None:
    expected, told = fingerprint(load_model(path, kind)), _plain(read_checkpoint(path))
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            found = read_weights(path, kind).fingerprint
        except StartupError as error:
            refused += 1
            line = str(error)
            assert line.startswith(f"Failed to load checkpoint: {path} ")
            assert "\n" not in line
        else:
            assert found == expected
            assert _plain(read_checkpoint(path)) == told
    assert refused > 100


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """What else stands in the file, a threshold for one."""
    return {name: value for name, value in content.items() if name != "model_state_dict"}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_or_gives_the_same_model(tmp_path: Path, kind: ModelKind, name: str) -> None:
    whole = whole_file(tmp_path / name, kind)

    assert_refused_or_the_same(tmp_path / name, kind, damaged(whole, Random(DAMAGES)))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_directory_is_refused_or_gives_the_same_model(tmp_path: Path, kind: ModelKind, name: str) -> None:
    whole = whole_file(tmp_path / name, kind)

    assert_refused_or_the_same(tmp_path / name, kind, list(bytes_of_the_directory(tmp_path / name, whole)))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_weights_is_found_where_no_fingerprint_is_stored(tmp_path: Path, kind: ModelKind) -> None:
    """The contract's keys alone are a checkpoint too."""
    content, path = read_checkpoint(checkpoint_path(kind)), tmp_path / "m.pt"
    torch.save({name: content[name] for name in ("model_state_dict", "model_info", "config", "calibration")}, path)
    load_model(path, kind)
    weight = next(iter(content["model_state_dict"].values())).contiguous().numpy().tobytes()
    whole = bytearray(path.read_bytes())
    whole[whole.index(weight[:64]) + 3] ^= 0x40
    path.write_bytes(whole)

    with pytest.raises(StartupError, match=r"m\.pt is damaged: the checksum of its part '.*/data/\d+' does not fit"):
        load_model(path, kind)


def test_a_compressed_archive_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """torch writes none, and a few KB may stand for gigabytes."""
    path = tmp_path / "m.pt"
    whole_file(tmp_path / "whole.pt", "signal")
    with zipfile.ZipFile(tmp_path / "whole.pt") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))

    with pytest.raises(StartupError, match="is not a PyTorch file of plain data"):
        load_model(path, "signal")


# Code.


class Runs:
    """A command that a pickle would run on loading."""

    def __init__(self, mark: Path) -> None:
        self.command = f"touch {mark}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Evaluates(Runs):
    """The same without the module os."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').system({self.command!r})",)


@pytest.mark.parametrize("kind_of_code", [Runs, Evaluates])
@pytest.mark.parametrize("place", ["beside the weights", "in the weights", "in the old format", "as a pickle"])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, kind_of_code: Any, place: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "m.pt"
    content = read_checkpoint(checkpoint_path("signal"))
    if place == "in the weights":
        content["model_state_dict"]["lstm.weight_ih_l0"] = kind_of_code(mark)
    else:
        content["extra"] = kind_of_code(mark)
    if place == "as a pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=place != "in the old format")

    with pytest.raises(StartupError, match="is not a PyTorch file of plain data"):
        load_model(path, "signal")
    assert not mark.exists()

    pickle.loads(pickle.dumps(kind_of_code(mark)))
    assert mark.exists(), "the code of this test would not have run"
