"""SignalDataset, CastingSequenceDataset and the loaders: every form of file read, wrong ones named by dataset."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from core import CastingSequenceDataset, DataLoaderFactory, SignalDataset
from core.data import datasets
from core.errors import DataError

FREQUENCIES = [1.0, 3.0, 5.0, 7.0]
N, T = 6, 20
Write = Callable[..., Path]


def write_file(path: Path, form: str = "object", compression: str | None = None, **changes: Any) -> Path:
    """A small file in either form; ``changes`` replace a dataset, None leaves it out."""
    random = np.random.default_rng(3)
    items = [{"target_frequency_idx": i % 4, "target_frequency": FREQUENCIES[i % 4]} for i in range(N)]
    contents: dict[str, Any] = {
        "mixed_signals": random.normal(2.0, 3.0, (N, T)).astype("f4"),
        "target_signals": random.normal(size=(N, T)).astype("f4"),
        "condition_vectors": np.eye(4, dtype="f4")[np.arange(N) % 4],
        "metadata": json.dumps({"frequencies": FREQUENCIES, "num_samples": N, "time_steps": T}),
    }
    if form != "object":
        contents["metadata"] = json.dumps(items)
    if form == "list with config":
        contents["config"] = json.dumps({"data": {"frequencies": FREQUENCIES}})
    with h5py.File(path, "w") as file:
        for name, value in (contents | changes).items():
            if value is not None:
                compress = compression if isinstance(value, np.ndarray) else None
                file.create_dataset(name, data=value, compression=compress)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_file(tmp_path / "signals.h5")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("form", ["object", "list", "list with config"])
def test_every_form_of_file_reads_the_same(tmp_path: Path, form: str, lazy: bool) -> None:
    dataset = SignalDataset(str(write_file(tmp_path / "s.h5", form, compression="gzip")), lazy=lazy)

    assert len(dataset) == N
    assert dataset.get_dataset_info() == {
        "num_samples": N,
        "time_steps": T,
        "frequencies": FREQUENCIES,
        "normalized": False,
        "device": "cpu",
        "data_path": str(tmp_path / "s.h5"),
    }
    assert dataset.get_sample_metadata(5) == {"frequency": 3.0, "frequency_idx": 1, "sample_idx": 5}
    assert isinstance(dataset.metadata, dict if form == "object" else list)


@pytest.mark.parametrize("lazy", [False, True])
def test_an_item_is_the_row_as_float32(path: Path, lazy: bool) -> None:
    dataset = SignalDataset(path, lazy=lazy)

    item = dataset[np.int64(2)]

    with h5py.File(path) as file:
        assert np.array_equal(file["mixed_signals"][2], item["mixed_signal"])
        assert np.array_equal(file["target_signals"][2], item["target_signal"])
        assert np.array_equal(file["condition_vectors"][2], item["condition_vector"])
        assert np.array_equal(file["mixed_signals"], dataset.mixed_signals)
    assert {item[name].dtype for name in ("mixed_signal", "target_signal", "condition_vector")} == {torch.float32}
    assert (item["idx"], type(item["idx"])) == (2, int)


def test_changing_an_item_does_not_change_the_dataset(path: Path) -> None:
    dataset = SignalDataset(path)
    before = [array.copy() for array in (dataset.mixed_signals, dataset.target_signals, dataset.condition_vectors)]

    for name in ("mixed_signal", "target_signal", "condition_vector"):
        dataset[0][name].fill_(99.0)

    after = (dataset.mixed_signals, dataset.target_signals, dataset.condition_vectors)
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("block_values", [1, 3 * T, 1 << 22])
def test_normalisation_is_by_one_mean_and_population_deviation_of_the_mixed_signal_only(
    path: Path, lazy: bool, block_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_BLOCK_VALUES", block_values)  # read in one block, in two, row by row
    raw, dataset = SignalDataset(path), SignalDataset(path, normalize=True, lazy=lazy)

    values = raw.mixed_signals.astype(np.float64)
    assert (dataset.signal_mean, dataset.signal_std) == pytest.approx((values.mean(), values.std()), rel=1e-9)
    np.testing.assert_allclose((values[1] - values.mean()) / values.std(), dataset[1]["mixed_signal"], atol=1e-5)
    assert torch.equal(raw[1]["target_signal"], dataset[1]["target_signal"])
    assert np.array_equal(raw.mixed_signals, dataset.mixed_signals)
    assert not hasattr(raw, "signal_mean")


def test_a_large_mean_does_not_eat_the_deviation(tmp_path: Path) -> None:
    signals = 9e5 + np.random.default_rng(0).normal(size=(N, T))

    dataset = SignalDataset(write_file(tmp_path / "s.h5", mixed_signals=signals), normalize=True)

    assert dataset.signal_std == pytest.approx(signals.std(), rel=1e-6)


def test_a_test_set_takes_the_training_sets_statistics(path: Path, tmp_path: Path) -> None:
    train = SignalDataset(path, normalize=True)
    other = write_file(tmp_path / "test.h5", mixed_signals=np.full((N, T), 5.0))

    test = SignalDataset(other, normalize=True, statistics=(train.signal_mean, train.signal_std))

    expected = (5.0 - train.signal_mean) / train.signal_std
    torch.testing.assert_close(torch.full((T,), expected), test[0]["mixed_signal"])


def test_a_constant_signal_normalises_to_zero_and_not_to_nan(tmp_path: Path) -> None:
    dataset = SignalDataset(write_file(tmp_path / "s.h5", mixed_signals=np.full((N, T), 5.0)), normalize=True)

    assert dataset.signal_std == 0.0
    assert torch.equal(torch.zeros(T), dataset[0]["mixed_signal"])


@pytest.mark.parametrize("idx", [-1, N, 10**9])
def test_an_index_out_of_range_is_refused(path: Path, idx: int) -> None:
    dataset = SignalDataset(path)

    for ask in (dataset.__getitem__, dataset.get_sample_metadata):
        with pytest.raises(IndexError, match=f"index {idx} is out of range for 6 samples"):
            ask(idx)


def test_a_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.h5"):
        SignalDataset(tmp_path / "no.h5")


@pytest.mark.parametrize(
    ("changes", "dataset"),
    [
        *[({name: None}, name) for name in ("mixed_signals", "target_signals", "condition_vectors", "metadata")],
        ({"mixed_signals": np.zeros(T)}, "mixed_signals"),
        ({"mixed_signals": np.zeros((0, T))}, "mixed_signals"),
        ({"target_signals": np.zeros((N, T - 1))}, "target_signals"),
        ({"target_signals": np.full((N, T), b"x")}, "target_signals"),
        ({"condition_vectors": np.zeros((N + 1, 4))}, "condition_vectors"),
        ({"condition_vectors": np.zeros((N, 3))}, "condition_vectors"),
        ({"metadata": "{not json"}, "metadata"),
        ({"metadata": 3.5}, "metadata"),
        ({"metadata": "{}"}, "metadata"),
        ({"config": "]"}, "config"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_dataset(tmp_path: Path, changes: dict, dataset: str) -> None:
    path = write_file(tmp_path / "s.h5", **changes)

    with pytest.raises(DataError, match=rf"s\.h5: dataset '{dataset}'") as error:
        SignalDataset(path)
    assert (error.value.path, error.value.dataset) == (path, dataset)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["mixed_signals", "target_signals", "condition_vectors"])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300, 1_000_001.0])
def test_a_value_is_checked_in_its_own_type_before_it_becomes_float32(
    tmp_path: Path, name: str, value: float, lazy: bool
) -> None:
    values = np.zeros((N, 4 if name == "condition_vectors" else T))
    values[2, 3] = value
    path = write_file(tmp_path / "s.h5", **{name: values})

    with pytest.raises(DataError, match=rf"s\.h5: dataset '{name}': value at \[2, 3\] is "):
        SignalDataset(path, lazy=lazy)[2]


@pytest.mark.parametrize("lazy", [False, True])
def test_what_a_file_marks_as_no_sample_is_refused(path: Path, lazy: bool) -> None:
    with h5py.File(path, "r+") as file:
        file["mixed_signals"].attrs["_FillValue"] = file["mixed_signals"][1, 4]

    with pytest.raises(DataError, match=r"dataset 'mixed_signals': value at \[1, 4\] .* its _FillValue"):
        SignalDataset(path, lazy=lazy)[1]


def test_a_bad_value_is_named_in_its_place_of_the_file(tmp_path: Path) -> None:
    values = np.zeros((N, T))
    values[4, 1] = np.inf
    rows = SignalDataset(write_file(tmp_path / "s.h5", mixed_signals=values), lazy=True).mixed_signals

    for index in (slice(None, None, 2), slice(3, None), [0, 4], (..., 0)):
        with pytest.raises(DataError, match=r"value at \[4, 1\] is inf"):
            rows[index]


def test_a_file_that_changes_while_a_lazy_dataset_reads_it_is_refused(path: Path) -> None:
    dataset = SignalDataset(path, lazy=True)
    dataset[0]
    os.utime(path, (1, 1))

    with pytest.raises(DataError, match="changed"):
        dataset[1]


@pytest.mark.parametrize("before", ["first read", "read after closing", "read in another process"])
def test_a_lazy_dataset_takes_no_row_from_a_file_in_the_place_of_its_own(path: Path, before: str) -> None:
    """The condition vectors, in memory, are those of the file that it was made of."""
    dataset = SignalDataset(path, lazy=True)
    if before != "first read":
        dataset[0]
    if before == "read after closing":
        dataset.close()
    os.replace(write_file(path.with_name("new.h5"), mixed_signals=np.ones((N, T))), path)
    reader = pickle.loads(pickle.dumps(dataset)) if before == "read in another process" else dataset

    with pytest.raises(DataError, match="was replaced by another file"):
        reader[0]


def test_rows_of_a_lazy_dataset_are_those_of_the_file(path: Path) -> None:
    rows, whole = SignalDataset(path, lazy=True).mixed_signals, SignalDataset(path).mixed_signals

    for index in (0, -1, slice(2, 5), slice(None, None, 2), slice(4, 4), [0, 3], ..., (2, slice(3)), (slice(1, 4), 2)):
        assert np.array_equal(rows[index], whole[index]), index
    with pytest.raises(IndexError):
        rows[N]


@pytest.mark.parametrize("keep", [0, 10, 600])
def test_a_file_that_is_not_hdf5_or_cut_short_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep] or b"just text")

    with pytest.raises(DataError, match=r"signals\.h5: (is not an HDF5 file|the file is truncated|cannot be read)"):
        SignalDataset(path)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_loader_with_workers_reads_every_row(path: Path, lazy: bool) -> None:
    dataset = SignalDataset(path, lazy=lazy)
    expected = np.array(dataset.mixed_signals)  # the lazy one has an open handle when the workers are forked

    batches = list(DataLoaderFactory.create_eval_loader(dataset, batch_size=4, num_workers=2))

    assert [len(batch["idx"]) for batch in batches] == [4, 2]
    assert np.array_equal(expected, torch.cat([batch["mixed_signal"] for batch in batches]))


def test_a_lazy_dataset_can_be_pickled_and_read_after_closing(path: Path) -> None:
    dataset = SignalDataset(path, lazy=True)
    first = dataset[0]["mixed_signal"]

    again = pickle.loads(pickle.dumps(dataset))
    dataset.close()

    assert torch.equal(first, again[0]["mixed_signal"])
    assert torch.equal(first, dataset[0]["mixed_signal"])


def test_a_forked_process_opens_the_file_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = SignalDataset(path, lazy=True).mixed_signals
    first, handle = rows[0], rows._recording

    monkeypatch.setattr(datasets.os, "getpid", lambda: -1)

    assert np.array_equal(first, rows[0])
    assert rows._recording is not handle


def order(loader: Any) -> list[int]:
    return [int(idx) for batch in loader for idx in batch["idx"]]


def test_the_shuffle_is_repeatable_by_seed_and_new_in_each_epoch(path: Path) -> None:
    dataset = SignalDataset(path)

    def loader() -> Any:
        return DataLoaderFactory.create_train_loader(dataset, batch_size=4, seed=11)

    first = loader()
    epochs = [order(first) for _ in range(5)]
    assert order(loader()) == epochs[0]
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    generator = torch.Generator().manual_seed(11)
    assert order(DataLoaderFactory.create_train_loader(dataset, 4, generator=generator)) == epochs[0]
    with pytest.raises(ValueError, match="not both"):
        DataLoaderFactory.create_train_loader(dataset, seed=1, generator=generator)


def test_evaluation_keeps_the_order_and_memory_is_pinned_only_for_a_gpu(path: Path) -> None:
    dataset = SignalDataset(path)
    loader = DataLoaderFactory.create_eval_loader(dataset, batch_size=4)

    assert order(loader) == order(DataLoaderFactory.create_train_loader(dataset, shuffle=False)) == list(range(N))
    assert loader.pin_memory == torch.cuda.is_available()


def test_a_single_sample_keeps_its_index_and_a_wrong_one_is_refused_at_once(path: Path) -> None:
    dataset = SignalDataset(path)

    (batch,) = DataLoaderFactory.create_single_sample_loader(dataset, 4)

    assert batch["mixed_signal"].shape == (1, T)
    assert batch["idx"].tolist() == [4]
    for wrong in (-1, N):
        with pytest.raises(IndexError, match=f"sample_idx {wrong} is out of range"):
            DataLoaderFactory.create_single_sample_loader(dataset, wrong)


def casts(*lengths: int) -> list[np.ndarray]:
    return [np.full((length, 5), index, dtype=np.float64) for index, length in enumerate(lengths)]


def test_casts_come_as_float32_with_their_length_when_lengths_are_given() -> None:
    plain = CastingSequenceDataset(np.ones((3, 8, 5)), [0, 1, 1])
    with_lengths = CastingSequenceDataset(torch.ones(3, 8, 5), torch.tensor([0, 1, 1]), np.array([8, 2, 5]))

    sequence, label = plain[1]
    assert (sequence.shape, label.shape, sequence.dtype, label.dtype) == ((8, 5), (), torch.float32, torch.float32)
    assert label.item() == 1.0
    assert (with_lengths[1][2], type(with_lengths[1][2])) == (2, int)
    assert plain.get_sequence_stats()["max_length"] == 8
    stats = with_lengths.get_sequence_stats()
    assert stats == {"min_length": 2, "max_length": 8, "mean_length": 5.0, "std_length": pytest.approx(6**0.5)}


def test_a_casts_item_is_transformed_and_does_not_alias_the_input() -> None:
    sequences = torch.ones(2, 4, 5)

    doubled = CastingSequenceDataset(sequences, [0, 1], transform=lambda sequence: sequence.mul_(2.0))

    assert doubled[0][0].unique().item() == doubled[0][0].unique().item() == 2.0
    assert sequences.unique().item() == 1.0


def test_a_loader_pads_casts_of_different_lengths_and_keeps_the_lengths() -> None:
    dataset = CastingSequenceDataset(casts(3, 5, 2), [0, 1, 0], [3, 4, 2])

    ((sequences, labels, lengths),) = DataLoaderFactory.create_eval_loader(dataset)

    assert sequences.shape == (3, 5, 5)
    assert (labels.tolist(), lengths.tolist()) == ([0.0, 1.0, 0.0], [3, 4, 2])
    assert not sequences[2, 2:].any()
    assert (sequences[2, :2] == 2.0).all()


def test_padding_that_would_pass_for_data_is_refused() -> None:
    with pytest.raises(ValueError, match="need sequence_lengths"):
        list(DataLoaderFactory.create_eval_loader(CastingSequenceDataset(casts(3, 5), [0, 1])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((casts(3, 5), [0]), "2 sequences need as many labels, got 1"),
        ((casts(3, 5), [0, 1], [3]), "2 sequences need as many lengths, got 1"),
        ((casts(3, 5), [0, 1], [3, 6]), r"sequence_lengths\[1\] is 6, must be from 1 to 5"),
        ((casts(3, 5), [0, 1], [0, 5]), r"sequence_lengths\[0\] is 0"),
        (([np.zeros(3)], [0]), r"sequences\[0\] must be \(time, features\)"),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CastingSequenceDataset(*arguments)


def test_a_cast_out_of_range_is_refused() -> None:
    with pytest.raises(IndexError, match="index 2 is out of range for 2 sequences"):
        _ = CastingSequenceDataset(casts(3, 5), [0, 1])[2]
