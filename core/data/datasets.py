"""Datasets for torch: mixed signals from an HDF5 file, casting sequences from memory."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from core.arrays import Float64s
from core.data.layout import SIGNALS, open_signals
from core.data.opening import Unchanged
from core.data.reading import check_values
from core.data.recording import Recording
from core.errors import DataError

_BLOCK_VALUES = 1 << 22  # rows are read in blocks of about 16 MiB of float32


class LazyRows:
    """A dataset (N, T) in a file, read row by row: for files larger than memory.

    Each process opens the file itself, so that workers of a DataLoader may share one of these. ``guard`` has seen the
    file that all of them must find.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], guard: Unchanged) -> None:
        self.path = path
        self._guard = guard
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._recording: Recording | None = None
        self._process = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """A row (T,), or some (n, T), by any index of h5py. Raises DataError for a value that no record can carry."""
        if rows is Ellipsis:
            return self[:]
        if isinstance(rows, tuple):
            part = self[rows[0]]
            return part[(*[slice(None)] * (part.ndim - 1), *rows[1:])]
        if isinstance(rows, list | np.ndarray):
            return np.stack([self[row] for row in np.arange(len(self))[rows].tolist()])
        chosen = range(len(self))[rows]
        if isinstance(chosen, int):
            row: NDArray[Any] = self[chosen : chosen + 1][0]
            return row
        if self._recording is None or self._process != os.getpid():  # a forked handle would share its file position
            self._recording, self._process = open_signals(self.path, check_values=False), os.getpid()
        self._guard.check()
        values = self._recording.values(self.name)
        return values.checked((slice(chosen.start, chosen.stop, chosen.step), slice(0, self.shape[1])))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recording": None}

    def close(self) -> None:
        """Close this process's handle; the next read opens another."""
        if self._recording is not None and self._process == os.getpid():
            self._recording.close()
        self._recording = None


class SignalDataset(Dataset[dict[str, Any]]):
    """Mixed signals, targets and conditions of an HDF5 file.

    An item is a dict of ``mixed_signal`` (T,), ``target_signal`` (T,), ``condition_vector`` (4,), float32 tensors
    of their own memory, and ``idx``.

    Args:
        data_path: an HDF5 file with ``mixed_signals`` (N, T), ``target_signals`` (N, T), ``condition_vectors``
            (N, 4), ``metadata`` (JSON) and perhaps ``config`` (JSON).
        normalize: subtract one mean and divide by one population standard deviation, the mixed signal only.
        device: where the items' tensors are.
        lazy: leave the signals in the file and read a row when it is asked for.
        statistics: (mean, std) to normalise by, those of the training set; by default this file's own.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: not HDF5, or a dataset missing, of a wrong shape, or not JSON, or a value that was not measured, is
            not finite or beyond 1e6 (of a lazy one: when its row is read); names file and dataset.
    """

    mixed_signals: NDArray[Any] | LazyRows
    target_signals: NDArray[Any] | LazyRows
    condition_vectors: NDArray[Any]
    signal_mean: float  # only with normalize
    signal_std: float

    def __init__(
        self,
        data_path: str | Path,
        normalize: bool = False,
        device: str | torch.device = "cpu",
        *,
        lazy: bool = False,
        statistics: tuple[float, float] | None = None,
    ) -> None:
        self.data_path = Path(data_path)
        self.normalize = normalize
        self.device = device
        if not self.data_path.exists():
            raise FileNotFoundError(f"Data file not found: {self.data_path}")
        with open_signals(self.data_path, check_values=False) as file:
            # A lazy one's rows are checked when they are read.
            check_values([file.values(name) for name in ("condition_vectors", *(() if lazy else SIGNALS))])
            self.mixed_signals, self.target_signals = (
                LazyRows(self.data_path, name, file[name].shape, file[name].dtype, file.guard)
                if lazy
                else file[name][:]
                for name in SIGNALS
            )
            self.condition_vectors = file["condition_vectors"][:]
            self.metadata = file.json("metadata")
            self._frequencies = self._read_frequencies(file.json("config"))
        if normalize:
            mean, std = _statistics(self.mixed_signals) if statistics is None else statistics
            self.signal_mean, self.signal_std = float(mean), float(std)

    def _read_frequencies(self, config: Any) -> list[float]:
        """Hz by frequency index: from ``config``, else from ``metadata`` in either of its forms."""
        try:
            if config is not None and "frequencies" in config.get("data", {}):
                found = config["data"]["frequencies"]
            elif isinstance(self.metadata, dict):
                found = self.metadata["frequencies"]
            else:
                by_index = {int(item["target_frequency_idx"]): item["target_frequency"] for item in self.metadata}
                found = [by_index.get(index, math.nan) for index in range(max(by_index, default=-1) + 1)]
            return [float(frequency) for frequency in found]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(self.data_path, f"does not give the frequencies ({error!r})", "metadata") from error

    def __len__(self) -> int:
        return len(self.mixed_signals)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """One sample as tensors. Raises IndexError out of range."""
        idx = self._check(idx)
        mixed = np.array(self.mixed_signals[idx], dtype=np.float32)  # copies: a caller may change its item
        if self.normalize:
            mixed = (mixed - np.float32(self.signal_mean)) / np.float32(self.signal_std or 1.0)
        return {
            "mixed_signal": torch.from_numpy(mixed).to(self.device),
            "target_signal": torch.from_numpy(np.array(self.target_signals[idx], dtype=np.float32)).to(self.device),
            "condition_vector": torch.from_numpy(np.array(self.condition_vectors[idx], dtype=np.float32)).to(
                self.device
            ),
            "idx": idx,
        }

    def _check(self, idx: int) -> int:
        position = operator.index(idx)
        if not 0 <= position < len(self):
            raise IndexError(f"index {position} is out of range for {len(self)} samples")
        return position

    def get_sample_metadata(self, idx: int) -> dict[str, Any]:
        """``frequency`` (Hz), ``frequency_idx`` and ``sample_idx``. Raises IndexError out of range."""
        idx = self._check(idx)
        index = int(np.argmax(self.condition_vectors[idx]))
        frequency = self._frequencies[index] if index < len(self._frequencies) else math.nan
        return {"frequency": frequency, "frequency_idx": index, "sample_idx": idx}

    def get_dataset_info(self) -> dict[str, Any]:
        """Sizes, frequencies (Hz) and where the data is from."""
        return {
            "num_samples": len(self),
            "time_steps": int(self.mixed_signals.shape[1]),
            "frequencies": list(self._frequencies),
            "normalized": self.normalize,
            "device": str(self.device),
            "data_path": str(self.data_path),
        }

    def close(self) -> None:
        """Close what lazy mode has opened."""
        for rows in (self.mixed_signals, self.target_signals):
            if isinstance(rows, LazyRows):
                rows.close()


class CastingSequenceDataset(Dataset[tuple[Any, ...]]):
    """Casts with labels, from memory.

    An item is (sequence (T, F), label ()), float32 tensors of their own memory, plus the length where lengths are
    given. Sequences may differ in T; ``collate`` pads them for a DataLoader.

    Args:
        sequences: (N, T, F), or N arrays (T, F).
        labels: N numbers.
        sequence_lengths: valid steps of each sequence, 1..T.
        transform: applied to an item's sequence.

    Raises:
        ValueError: the inputs differ in length, a sequence is not (T, F), or a length is not in 1..T.
    """

    def __init__(
        self,
        sequences: Sequence[Any] | NDArray[Any] | Tensor,
        labels: Sequence[Any] | NDArray[Any] | Tensor,
        sequence_lengths: Sequence[int] | NDArray[Any] | Tensor | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        if len(labels) != len(sequences):
            raise ValueError(f"{len(sequences)} sequences need as many labels, got {len(labels)}")
        if sequence_lengths is not None and len(sequence_lengths) != len(sequences):
            raise ValueError(f"{len(sequences)} sequences need as many lengths, got {len(sequence_lengths)}")
        steps = []
        for index, sequence in enumerate(sequences):
            shape = np.shape(sequence)
            if len(shape) != 2:
                raise ValueError(f"sequences[{index}] must be (time, features), got shape {shape}")
            steps.append(shape[0])
        lengths = None if sequence_lengths is None else [operator.index(length) for length in sequence_lengths]
        for index, (length, available) in enumerate(zip(lengths or (), steps, strict=False)):
            if not 1 <= length <= available:
                raise ValueError(f"sequence_lengths[{index}] is {length}, must be from 1 to {available}")
        self.sequences = sequences
        self.labels = labels
        self.sequence_lengths = lengths
        self.transform = transform
        self._lengths = steps if lengths is None else lengths

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, idx: int) -> tuple[Any, ...]:
        """One cast. Raises IndexError out of range."""
        idx = operator.index(idx)
        if not 0 <= idx < len(self):
            raise IndexError(f"index {idx} is out of range for {len(self)} sequences")
        sequence = _float_copy(self.sequences[idx])
        if self.transform is not None:
            sequence = torch.as_tensor(self.transform(sequence), dtype=torch.float32)
        label = _float_copy(self.labels[idx]).reshape(())
        return (sequence, label) if self.sequence_lengths is None else (sequence, label, self.sequence_lengths[idx])

    def get_sequence_stats(self) -> dict[str, float]:
        """``min_length``, ``max_length``, ``mean_length``, ``std_length`` (population), in steps."""
        lengths = np.asarray(self._lengths)
        if not len(lengths):
            raise ValueError("an empty dataset has no lengths")
        return {
            "min_length": int(lengths.min()),
            "max_length": int(lengths.max()),
            "mean_length": float(lengths.mean()),
            "std_length": float(lengths.std()),
        }

    @staticmethod
    def collate(items: Sequence[tuple[Any, ...]]) -> tuple[Tensor, ...]:
        """A batch (sequences (B, T, F), labels (B,)[, lengths (B,)]); shorter sequences are padded with zeros.

        Raises:
            ValueError: the items differ in T and carry no lengths, so that padding would pass for data.
        """
        sequences = [item[0] for item in items]
        if len(items[0]) == 2 and len({len(sequence) for sequence in sequences}) > 1:
            raise ValueError("sequences of different lengths need sequence_lengths to be put in one batch")
        batch = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        labels = torch.stack([item[1] for item in items])
        if len(items[0]) == 2:
            return batch, labels
        return batch, labels, torch.tensor([item[2] for item in items])


def _float_copy(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float32, copy=True)
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _blocks(signals: NDArray[Any] | LazyRows) -> Iterator[Float64s]:
    rows = max(1, _BLOCK_VALUES // signals.shape[1])
    for start in range(0, len(signals), rows):
        yield np.asarray(signals[start : start + rows], dtype=np.float64)


def _statistics(signals: NDArray[Any] | LazyRows) -> tuple[float, float]:
    """Mean and population standard deviation of all values, in one pass and bounded memory.

    Blocks are merged by their own means and squared deviations (Chan et al.): a plain sum of squares loses all
    digits where the mean is large against the deviation.
    """
    count, mean, squares = 0, 0.0, 0.0
    for block in _blocks(signals):
        block_mean = float(block.mean())
        delta, total = block_mean - mean, count + block.size
        squares += float(((block - block_mean) ** 2).sum()) + delta**2 * count * block.size / total
        mean += delta * block.size / total
        count = total
    return mean, math.sqrt(squares / count)
