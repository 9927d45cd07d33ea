"""ModelFactory and load_model: files that hold plain data, appear whole, and say what is wrong with them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import core
from core import ModelFactory, SignalExtractionLSTM, SteelDefectLSTM
from core.errors import StartupError
from core.models.checkpoint import plain
from core.models.factory import load_model
from core.models.shipped import checkpoint_path

DEFECT = {
    "architecture": {"hidden_size": 8, "num_layers": 1, "bidirectional": False, "readout": "ends"},
    "classifier": {"hidden_dims": [6], "activation": "tanh"},
    "normalization": {"layer_norm": True},
}


class Intruder:
    """Code that a pickle would run on loading."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Intruder, "ran", True)


@pytest.fixture
def signal() -> SignalExtractionLSTM:
    return SignalExtractionLSTM(hidden_size=8, num_layers=3, dropout=0.2).eval()


@pytest.fixture
def defect() -> SteelDefectLSTM:
    model = SteelDefectLSTM(DEFECT)
    model.train()(torch.randn(4, 6, 5))  # running statistics that are not the initial ones
    return model.eval()


def assert_same(a: Any, b: Any) -> None:
    x = torch.randn(3, 7, 5)
    first, second = a(x), b(x)
    if isinstance(first, tuple):
        first, second = first[0], second[0]
    assert type(a) is type(b)
    assert torch.equal(first, second)


def rewrite(path: Path, **changes: Any) -> Path:
    """The same file with keys changed; None takes a key away."""
    content = torch.load(path, weights_only=True) | changes
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def test_a_signal_model_is_made_from_its_section_with_defaults() -> None:
    model = ModelFactory.create_model({"model": {"lstm": {"hidden_size": 32, "dropout": "0.5"}}})

    assert isinstance(model, SignalExtractionLSTM)
    assert (model.input_size, model.hidden_size, model.num_layers, model.dropout) == (5, 32, 2, 0.5)


def test_a_defect_model_is_made_from_its_sections() -> None:
    model = ModelFactory.create_model(DEFECT)

    assert isinstance(model, SteelDefectLSTM)
    assert (model.hidden_size, model.readout) == (8, "ends")


@pytest.mark.parametrize(("config", "key"), [({}, "'model'"), ({"model": {}}, "'lstm'"), ({"model": None}, "'lstm'")])
def test_a_missing_section_is_named_with_the_expected_structure(config: dict, key: str) -> None:
    with pytest.raises(KeyError, match=f"{key} is missing.*expected config"):
        ModelFactory.create_model(config)


def test_a_signal_file_holds_the_contracts_keys_and_loads_again(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "signal.pt"
    optimizer = torch.optim.Adam(signal.parameters(), lr=float(np.float64(1e-3)))

    ModelFactory.save_checkpoint(signal, path, optimizer, 3, np.float32(0.5), {"lr": np.float64(1e-3)}, note="x")

    content = torch.load(path, weights_only=True)
    assert content["model_info"]["hidden_size"] == 8
    assert {"epoch": 3, "loss": 0.5, "note": "x"}.items() <= content.items()
    assert type(content["loss"]) is type(content["config"]["lr"]) is float
    assert content["optimizer_state_dict"]["param_groups"][0]["lr"] == 1e-3
    loaded = ModelFactory.create_from_checkpoint(path)
    assert_same(signal, loaded)
    assert (loaded.dropout, loaded.training) == (0.2, False)


def test_what_was_not_given_is_there_as_none(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    ModelFactory.save_checkpoint(signal, tmp_path / "m.pt")

    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert content["epoch"] is content["loss"] is content["config"] is None
    assert "optimizer_state_dict" not in content


def test_a_defect_file_rebuilds_the_model_from_plain_data_alone(defect: SteelDefectLSTM, tmp_path: Path) -> None:
    defect.calibration = {"a": 1.5, "b": -0.25}
    defect.input_statistics = {"mean": [1.0] * 5, "std": [2.0] * 5}

    ModelFactory.save_checkpoint(defect, tmp_path / "m.pt", config={"training": {"epochs": np.int64(3)}})

    config = torch.load(tmp_path / "m.pt", weights_only=True)["config"]
    assert config["training"] == {"epochs": 3}
    loaded = ModelFactory.create_from_checkpoint(tmp_path / "m.pt")
    assert_same(defect, loaded)
    assert (loaded.readout, loaded.classifier_activation) == ("ends", "tanh")
    assert (loaded.calibration, loaded.input_statistics) == (defect.calibration, defect.input_statistics)


def test_a_defect_file_with_weights_and_config_only_loads(defect: SteelDefectLSTM, tmp_path: Path) -> None:
    old = {key.replace("lstm_batch_norm", "lstm_norm"): value for key, value in defect.state_dict().items()}
    torch.save({"model_state_dict": old, "config": DEFECT}, tmp_path / "m.pt")

    assert_same(defect, ModelFactory.create_from_checkpoint(tmp_path / "m.pt"))


@pytest.mark.parametrize("source", ["config", "model_info", "weights"])
def test_sizes_come_from_config_else_model_info_else_the_weights(
    signal: SignalExtractionLSTM, tmp_path: Path, source: str
) -> None:
    path = tmp_path / "m.pt"
    config = {"model": {"lstm": {"input_size": 5, "hidden_size": "8", "num_layers": 3, "dropout": 0.4}}}
    ModelFactory.save_checkpoint(signal, path, config=config if source == "config" else {"training": {}})
    if source == "weights":
        rewrite(path, model_info=None, config=None)

    loaded = ModelFactory.create_from_checkpoint(path)

    assert_same(signal, loaded)
    assert loaded.dropout == {"config": 0.4, "model_info": 0.2, "weights": 0.1}[source]


def test_a_defect_models_sizes_and_norms_show_in_its_weights(tmp_path: Path) -> None:
    flags = {"batch_norm": False, "layer_norm": True, "input_norm": False}
    model = SteelDefectLSTM({"architecture": {"hidden_size": 4}, "normalization": flags}).eval()
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "m.pt")

    assert_same(model, ModelFactory.create_from_checkpoint(tmp_path / "m.pt"))


def test_what_weights_cannot_show_comes_from_model_info(defect: SteelDefectLSTM, tmp_path: Path) -> None:
    ModelFactory.save_checkpoint(defect, tmp_path / "m.pt")
    rewrite(tmp_path / "m.pt", config=None)

    loaded = ModelFactory.create_from_checkpoint(tmp_path / "m.pt")

    assert_same(defect, loaded)
    assert (loaded.readout, loaded.classifier_activation, loaded.dropout) == ("ends", "tanh", 0.2)


def test_a_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.pt"):
        ModelFactory.create_from_checkpoint(tmp_path / "no.pt")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", pickle.dumps({"model_state_dict": {}}, protocol=2), None],
    ids=["empty", "text", "pickle", "folder"],
)
def test_files_that_are_no_checkpoint_fail_with_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.pt"
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(RuntimeError, match=r"Failed to load checkpoint: .*m\.pt"):
        ModelFactory.create_from_checkpoint(path)


def test_a_file_cut_short_fails_with_the_same_error(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    ModelFactory.save_checkpoint(signal, path)
    path.write_bytes(path.read_bytes()[:-5000])

    with pytest.raises(RuntimeError, match=r"Failed to load checkpoint: .*m\.pt"):
        ModelFactory.create_from_checkpoint(path)


def test_a_file_never_runs_code(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    torch.save({"model_state_dict": signal.state_dict(), "extra": Intruder()}, tmp_path / "m.pt")

    with pytest.raises(RuntimeError, match="Failed to load checkpoint"):
        ModelFactory.create_from_checkpoint(tmp_path / "m.pt")
    assert not Intruder.ran


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0" * 12}, "the file says 000000000000"),
        ({"calibration": {"a": 2.0, "b": 0.0}}, "fingerprint"),
        ({"calibration": {"a": 2.0}}, "'b'"),
        ({"input_statistics": {"mean": [0.0], "std": [1.0]}}, "must hold 5 values"),
        ({"model_state_dict": {"fc.weight": torch.zeros(1)}}, "neither a SignalExtractionLSTM's nor"),
        ({"model_state_dict": None}, "no 'model_state_dict'"),
        ({"config": {"model": {"lstm": {"hidden_size": 9}}}}, "size mismatch"),
    ],
)
def test_files_that_contradict_themselves_fail_with_the_same_error(
    signal: SignalExtractionLSTM, tmp_path: Path, changes: dict, message: str
) -> None:
    ModelFactory.save_checkpoint(signal, tmp_path / "m.pt")
    rewrite(tmp_path / "m.pt", **changes)

    with pytest.raises(RuntimeError, match=f"(?s)Failed to load checkpoint: .*{message}"):
        ModelFactory.create_from_checkpoint(tmp_path / "m.pt")


def test_unknown_weights_are_refused_unless_asked_otherwise(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    ModelFactory.save_checkpoint(signal, path)
    rewrite(path, model_state_dict={**signal.state_dict(), "fc.extra": torch.zeros(1)})

    with pytest.raises(RuntimeError, match=r"fc\.extra"):
        ModelFactory.create_from_checkpoint(path)
    assert_same(signal, ModelFactory.create_from_checkpoint(path, strict=False))


def test_an_interrupted_save_leaves_the_old_file_and_no_other(
    signal: SignalExtractionLSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ModelFactory.save_checkpoint(signal, tmp_path / "m.pt", epoch=1)

    def full_disk(_data: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        ModelFactory.save_checkpoint(signal, tmp_path / "m.pt", epoch=2)

    assert os.listdir(tmp_path) == ["m.pt"]
    assert torch.load(tmp_path / "m.pt", weights_only=True)["epoch"] == 1


def test_numpy_becomes_plain_at_any_depth_and_what_cannot_is_named(
    signal: SignalExtractionLSTM, tmp_path: Path
) -> None:
    data = {np.int64(1): (np.float64(0.5), [np.bool_(True), np.arange(2)]), "path": tmp_path, "s": np.str_("x")}

    assert plain(data) == {1: (0.5, [True, [0, 1]]), "path": str(tmp_path), "s": "x"}
    with pytest.raises(TypeError, match=r"checkpoint\['note'\]\[0\] is a object"):
        ModelFactory.save_checkpoint(signal, tmp_path / "m.pt", note=[object()])
    assert os.listdir(tmp_path) == []


def test_an_extra_key_may_not_replace_the_models_own(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        ModelFactory.save_checkpoint(signal, tmp_path / "m.pt", fingerprint="x")


def test_load_model_gives_the_model_of_the_kind_in_eval_mode(defect: SteelDefectLSTM, tmp_path: Path) -> None:
    ModelFactory.save_checkpoint(defect.train(), tmp_path / "m.pt")

    model = load_model(tmp_path / "m.pt", "defect")

    assert_same(defect.eval(), model)
    assert not model.training


def test_load_model_refuses_in_one_line_that_names_the_file(signal: SignalExtractionLSTM, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"

    def refusal(kind: Any) -> str:
        with pytest.raises(StartupError) as error:
            load_model(path, kind)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "no such file, expected a signal model (SignalExtractionLSTM)" in refusal("signal")
    path.write_bytes(b"not a model")
    assert "is not a PyTorch file of plain data" in refusal("signal")
    ModelFactory.save_checkpoint(signal, path)
    assert "holds a SignalExtractionLSTM, expected a defect model (SteelDefectLSTM)" in refusal("defect")
    rewrite(path, config={"model": {"lstm": {"hidden_size": 9}}})
    assert "size mismatch" in refusal("signal")  # torch's own message has many lines
    ModelFactory.save_checkpoint(SignalExtractionLSTM(input_size=3), path)
    assert "reads 3 numbers per step" in refusal("signal")


def test_information_counts_frozen_parameters_and_each_layer(
    signal: SignalExtractionLSTM, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.fc.requires_grad_(False)

    info, counts = ModelFactory.get_model_info(signal), ModelFactory.count_parameters(signal)

    assert counts["fc"] == info["non_trainable_parameters"] == 9
    assert counts["lstm"] == info["trainable_parameters"]
    assert counts["total"] == counts["fc"] + counts["lstm"]
    assert info["estimated_size_mb"] == pytest.approx(counts["total"] * 4 / 2**20)
    ModelFactory.print_model_summary(signal)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("SignalExtractionLSTM", "Parameters", "hidden_size: 8"))


def test_the_shipped_checkpoints_lie_inside_the_package() -> None:
    assert checkpoint_path("signal").parent == Path(core.__file__).resolve().parent / "checkpoints"


def test_the_public_names_are_listed_and_others_are_refused() -> None:
    assert set(core.__all__) <= set(dir(core))
    assert all(getattr(core, name).__name__ == name for name in core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = core.Nothing
