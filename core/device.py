"""The calls in which a CUDA device differs from host memory: pinned buffers, copies that do not wait, graphs, memory.

Everything else of `core.engines.hidden_cuda` is plain torch and runs on any device, so that its tests need no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.arrays import Float32s
from core.errors import RunError, StartupError

ALIGNMENT = 16  # bytes at which each array of an upload begins: what the widest loads of a kernel ask for
WARM_UP_RUNS = 3  # before a capture: lazily made handles, workspaces and kernels cannot be made inside one


class Device(Protocol):
    """One device. Work that was started on it runs in order; nothing waits for it but `synchronise`."""

    def zeros(self, *shape: int) -> Tensor:
        """float32 zeros on the device.

        Raises:
            RunError: the device has no room for them.
        """

    def pinned(self, size_bytes: int) -> Tensor:
        """Host memory that the device reads and writes by itself: uint8 (size_bytes,)."""

    def upload(self, host: Tensor, target: Tensor) -> None:
        """Start a copy from pinned memory, which must not change until `synchronise`."""

    def download(self, source: Tensor, host: Tensor) -> None:
        """Start a copy of a contiguous tensor into pinned memory, which holds nothing of use until `synchronise`."""

    def synchronise(self) -> None:
        """Wait until all that was started is done."""

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """A call that replays ``body``'s kernels, in one launch, on the memory in which they ran at capture.

        ``body`` runs here, too. It must take its input from tensors made before, and leave its output in such: those
        that it makes itself are the graph's, and the next replay of any graph may overwrite them.
        """


class CudaDevice:
    """A `Device` by torch.cuda. Becomes the process's current CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Graphs, streams and pinned memory belong to the current device, whatever device their tensors are on.
        torch.cuda.set_device(device)
        self._pool: Any = torch.cuda.graph_pool_handle()  # one for all graphs: none runs beside another

    def zeros(self, *shape: int) -> Tensor:
        try:
            return torch.zeros(shape, device=self._device)
        except torch.cuda.OutOfMemoryError:
            free, total = (size / 2**20 for size in torch.cuda.mem_get_info(self._device))
            wanted = 4 * int(np.prod(shape)) / 2**20
            raise RunError(
                f"{self._device}: no room for {wanted:,.0f} MiB more, {free:,.0f} of {total:,.0f} MiB are free: "
                "spread the streams over more workers with a device each, or set device to cpu"
            ) from None

    def pinned(self, size_bytes: int) -> Tensor:
        return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)

    def upload(self, host: Tensor, target: Tensor) -> None:
        target.copy_(host, non_blocking=True)

    def download(self, source: Tensor, host: Tensor) -> None:
        host.copy_(source, non_blocking=True)

    def synchronise(self) -> None:
        torch.cuda.current_stream(self._device).synchronize()

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                body()
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            body()
        return graph.replay


class Upload:
    """Arrays on their way to the device together: one pinned buffer, one copy."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host = device.pinned(0)
        self._there = device.zeros(0)

    def send(self, *arrays: NDArray[Any]) -> list[Tensor]:
        """The arrays on the device, with their shapes and types; valid until the next call.

        Between two calls there must be a `Device.synchronise`.
        """
        starts = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays)]).tolist()
        self._reserve(starts[-1])
        host = self._host.numpy()
        for start, array in zip(starts, arrays, strict=False):
            host[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        there = self._there.view(torch.uint8)
        self._device.upload(self._host[: starts[-1]], there[: starts[-1]])
        return [_section(there, start, array) for start, array in zip(starts, arrays, strict=False)]

    def _reserve(self, size_bytes: int) -> None:
        if size_bytes > len(self._host):
            size_bytes = max(size_bytes, 2 * len(self._host))
            self._host = self._device.pinned(size_bytes)
            self._there = self._device.zeros(size_bytes // 4)


def _section(buffer: Tensor, start: int, array: NDArray[Any]) -> Tensor:
    kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
    return buffer[start : start + array.nbytes].view(kind).view(array.shape)


class Download:
    """Float32 results on their way to the host, in one pinned buffer."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host = device.pinned(0).view(torch.float32)
        self._numbers = 0

    def receive(self, source: Tensor) -> None:
        """Start a copy of a contiguous tensor."""
        self._numbers = source.numel()
        if self._numbers > len(self._host):
            self._host = self._device.pinned(4 * max(self._numbers, 2 * len(self._host))).view(torch.float32)
        self._device.download(source.view(-1), self._host[: self._numbers])

    def array(self) -> Float32s:
        """The flat array that was received, as it is after `Device.synchronise`: valid until the next ``receive``."""
        found: Float32s = self._host[: self._numbers].numpy()
        return found


def check_device(device: str) -> None:
    """Refuse a CUDA device that is not there, before anything is loaded onto it.

    Args:
        device: as the setting is; only ``cuda`` and ``cuda:N`` can be refused.

    Raises:
        StartupError: naming the setting, what is missing on this machine, and what to do.
    """
    if not device.startswith("cuda"):
        return
    remedy = "or set device to cpu"
    if torch.version.cuda is None and torch.version.hip is None:
        raise StartupError(
            f"device is {device}: torch {torch.__version__} here is a build without CUDA: "
            f"install a build with CUDA (pytorch.org says how), {remedy}"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise StartupError(
            f"device is {device}: torch finds no CUDA device here ({_cause()}): "
            f"`nvidia-smi` must list one (in a container, pass it through), {remedy}"
        )
    if int(device.partition(":")[2] or 0) >= count:
        names: Sequence[str] = [f"cuda:{number}" for number in range(count)]
        raise StartupError(f"device is {device}: torch finds only {', '.join(names)} here: use one of them, {remedy}")


def _cause() -> str:
    """The first sentence of what torch says: no driver, a driver that is too old, no device that may be seen."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
    return "no device is visible"
