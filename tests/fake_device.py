"""A CUDA device as far as its users can tell, in host memory, strict where a real one would give wrong numbers quietly.

- A download arrives at `synchronise`; until then its target holds NaN. What was uploaded must be unchanged by then.
- A graph is the list of torch's operations, each with the very tensors that it had at capture. Nothing of Python runs
  again at replay, so a number or a tensor that was new since then is not seen.
- What a graph made for itself is NaN after each replay: the memory belongs to the next graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.device import WARM_UP_RUNS

POISON = 0xFF  # in each byte: NaN as float32, -1 as int64


class FakeDevice:
    """A `core.device.Device`, with counts of what was asked of it."""

    def __init__(self) -> None:
        self.synchronised = self.uploads = self.downloads = self.captures = self.replays = 0
        self._pinned: dict[int, Tensor] = {}  # by storage, and kept, so that no other tensor gets its place
        self._sent: list[tuple[Tensor, Tensor]] = []
        self._coming: list[tuple[Tensor, Tensor]] = []

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape)

    def pinned(self, size_bytes: int) -> Tensor:
        host = torch.full((size_bytes,), POISON, dtype=torch.uint8)
        self._pinned[_storage(host)] = host
        return host

    def upload(self, host: Tensor, target: Tensor) -> None:
        self.uploads += 1
        assert _storage(host) in self._pinned, "a copy from memory that is not pinned waits"
        assert _storage(target) not in self._pinned
        target.copy_(host)
        self._sent.append((host, host.clone()))

    def download(self, source: Tensor, host: Tensor) -> None:
        self.downloads += 1
        assert _storage(host) in self._pinned, "a copy to memory that is not pinned waits"
        assert _storage(source) not in self._pinned
        assert source.is_contiguous(), "a copy of scattered memory goes by way of another, and waits"
        assert source.dtype == host.dtype, "a copy to another type goes by way of another, and waits"
        host.view(torch.uint8).fill_(POISON)
        self._coming.append((host, source.clone()))

    def synchronise(self) -> None:
        self.synchronised += 1
        for host, sent in self._sent:
            assert torch.equal(host, sent), "pinned memory was changed while it was being copied"
        for host, source in self._coming:
            host.copy_(source)
        self._sent, self._coming = [], []

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        for _ in range(WARM_UP_RUNS):
            body()
        graph = _Graph()
        with graph:
            body()
        graph.poison()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            graph.replay()
            graph.poison()

        return replay


class _Graph(TorchDispatchMode):
    """Torch's operations while it is entered, and their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a capture cannot wait for a number"
        out = func(*args, **(kwargs or {}))
        taken = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        made = [tensor for tensor in _tensors(out) if _storage(tensor) not in taken]  # neither a view nor in place
        self._calls.append((func, args, kwargs or {}, made))
        return out

    def replay(self) -> None:
        for func, args, kwargs, made in self._calls:
            out = func(*args, **kwargs)
            if made:
                for old, new in zip(made, _tensors(out), strict=True):
                    old.copy_(new)

    def poison(self) -> None:
        for *_, made in self._calls:
            for tensor in made:
                if tensor.is_floating_point():
                    tensor.fill_(torch.nan)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class PlacedDevice:
    """A `core.device.Device` whose tensors say that they are on a CUDA device. They hold no numbers: torch works out
    shapes and places only, and refuses whatever mixes host and device or would wait for a number.
    """

    def __init__(self) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)  # lengths of packed rows stay on the host
        self.crossed = 0

    def zeros(self, *shape: int) -> Tensor:
        with self.mode:
            return torch.zeros(shape, device="cuda")

    def pinned(self, size_bytes: int) -> Tensor:
        return torch.zeros(size_bytes, dtype=torch.uint8)

    def upload(self, host: Tensor, target: Tensor) -> None:
        self._cross(host, target)

    def download(self, source: Tensor, host: Tensor) -> None:
        self._cross(host, source)

    def _cross(self, host: Tensor, there: Tensor) -> None:
        self.crossed += 1
        assert (host.device.type, there.device.type) == ("cpu", "cuda")
        assert (host.shape, host.dtype) == (there.shape, there.dtype)

    def synchronise(self) -> None:
        pass

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        body()
        return body
