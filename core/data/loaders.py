"""DataLoaderFactory: the three ways a dataset is read."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from core.data.datasets import CastingSequenceDataset


class DataLoaderFactory:
    """DataLoaders that never drop a last batch, and pin memory only where there is a GPU to copy to."""

    @staticmethod
    def create_train_loader(
        dataset: Dataset[Any],
        batch_size: int = 32,
        shuffle: bool = True,
        num_workers: int = 0,
        pin_memory: bool = True,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> DataLoader[Any]:
        """Batches in a new order each epoch; ``seed`` or ``generator`` make the orders repeatable.

        Raises:
            ValueError: both a seed and a generator.
        """
        if seed is not None and generator is not None:
            raise ValueError("give a seed or a generator, not both")
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        return _loader(dataset, batch_size, shuffle, num_workers, pin_memory, generator)

    @staticmethod
    def create_eval_loader(
        dataset: Dataset[Any], batch_size: int = 32, num_workers: int = 0, pin_memory: bool = True
    ) -> DataLoader[Any]:
        """Batches in the dataset's order."""
        return _loader(dataset, batch_size, False, num_workers, pin_memory)

    @staticmethod
    def create_single_sample_loader(dataset: Dataset[Any], sample_idx: int) -> DataLoader[Any]:
        """One batch of one sample, which keeps its own ``idx``.

        Raises:
            IndexError: the dataset has no such sample; at once, not when the loader is read.
        """
        size = len(dataset)  # type: ignore[arg-type]  # Dataset declares no length, ours have one
        if not 0 <= sample_idx < size:
            raise IndexError(f"sample_idx {sample_idx} is out of range for {size} samples")
        return _loader(Subset(dataset, [sample_idx]), 1, False, 0, False)


def _loader(
    dataset: Dataset[Any],
    batch_size: int,
    shuffle: bool,
    num_workers: int,
    pin_memory: bool,
    generator: torch.Generator | None = None,
) -> DataLoader[Any]:
    source = dataset.dataset if isinstance(dataset, Subset) else dataset
    on_host = torch.device(getattr(source, "device", "cpu")).type == "cpu"  # only host memory can be pinned
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        pin_memory=pin_memory and on_host and torch.cuda.is_available(),
        drop_last=False,
        generator=generator,
        collate_fn=source.collate if isinstance(source, CastingSequenceDataset) else None,
    )
