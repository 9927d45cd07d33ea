"""What a CUDA device is asked for, which are refused, and the fake one that stands for it where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.device import CudaDevice, check_device
from core.errors import RunError, StartupError
from tests.fake_device import FakeDevice

# The double itself: these faults give wrong numbers on a GPU, in silence.


def test_the_fake_graph_does_not_see_a_tensor_that_was_made_after_the_capture() -> None:
    held = {"x": torch.ones(2)}
    result = torch.zeros(2)
    replay = FakeDevice().capture(lambda: result.copy_(held["x"] * 2))

    held["x"] = torch.full((2,), 5.0)
    replay()

    assert result.tolist() == [2.0, 2.0]


def test_the_fake_graph_takes_back_what_was_made_inside() -> None:
    held, x = {}, torch.ones(2)
    replay = FakeDevice().capture(lambda: held.update(result=x * 2))

    replay()

    assert held["result"].isnan().all()


def test_the_fake_device_refuses_a_buffer_that_changes_under_a_copy() -> None:
    device = FakeDevice()
    host = device.pinned(8)
    device.upload(host, torch.zeros(8, dtype=torch.uint8))
    host.zero_()

    with pytest.raises(AssertionError, match="was changed while it was being copied"):
        device.synchronise()


# What is refused.


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.skipif(torch.version.cuda is None, reason="this torch is a build without CUDA")
def test_a_machine_without_a_device_is_told_so() -> None:
    with pytest.raises(StartupError) as caught:
        check_device("cuda:1")

    line = str(caught.value)
    assert line.startswith("device is cuda:1: torch finds no CUDA device here (")
    assert line.endswith("or set device to cpu")
    assert "\n" not in line


def test_a_build_without_cuda_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)

    with pytest.raises(StartupError, match=r"^device is cuda: torch .* is a build without CUDA: install .*, or set"):
        check_device("cuda")


def test_a_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    check_device("cuda")
    check_device("cuda:1")
    with pytest.raises(StartupError, match=r"device is cuda:2: torch finds only cuda:0, cuda:1 here: use one of them"):
        check_device("cuda:2")


def test_the_cpu_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)

    check_device("cpu")


def test_a_full_device_says_how_much_was_wanted_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*shape: Any, **options: Any) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    device = object.__new__(CudaDevice)  # its constructor needs a GPU
    device._device = torch.device("cuda:0")
    monkeypatch.setattr(torch, "zeros", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (100 * 2**20, 8192 * 2**20))

    with pytest.raises(RunError, match=r"^cuda:0: no room for 1,024 MiB more, 100 of 8,192 MiB are free: .* or set"):
        device.zeros(2**20, 256)
