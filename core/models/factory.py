"""Make, save and load both models: ``ModelFactory`` for callers, ``load_model`` for anything that starts up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.device import check_device
from core.errors import StartupError
from core.models.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from core.models.defect_lstm import SteelDefectLSTM
from core.models.fingerprint import AnyModel, fingerprint
from core.models.rebuild import attach, build
from core.models.shipped import ModelKind
from core.models.signal_config import signal_sizes
from core.models.signal_lstm import SignalExtractionLSTM
from core.models.weights_file import check_use, no_such_file, other_weights

_EXPECTED = (
    "expected config['model']['lstm'] with input_size, hidden_size, num_layers, dropout (signal model) "
    "or config['architecture'] (defect model)"
)


def load_model(path: Path | str, kind: ModelKind, device: str | torch.device = "cpu") -> AnyModel:
    """The model of a checkpoint in eval mode, ready for records.

    Raises:
        StartupError: one line naming the file: missing, not a checkpoint, another kind of model, another input.
    """
    check_device(str(device))
    try:
        model = ModelFactory.create_from_checkpoint(path, device)
    except FileNotFoundError:
        raise StartupError(no_such_file(path, kind)) from None
    except RuntimeError as error:
        raise StartupError(" ".join(str(error).split())) from error  # torch lists weights line by line
    if isinstance(model, SignalExtractionLSTM):
        check_use(path, kind, "signal", model.input_size, 1)
    else:
        check_use(path, kind, "defect", model.input_size, model.settings.outputs)
    return model


class ModelFactory:
    """Both models by configuration and by file. All methods are static."""

    @staticmethod
    def create_model(config: Mapping[str, Any], device: str | torch.device = "cpu") -> AnyModel:
        """A new model: a SignalExtractionLSTM from ``config['model']['lstm']`` (each size optional), or a
        SteelDefectLSTM where ``config`` has the section ``architecture`` instead.

        Raises:
            KeyError: naming the missing key and the expected structure.
            ValueError: a size outside its limits.
        """
        if "model" not in config:
            if "architecture" in config:
                return SteelDefectLSTM(config).to(device)
            raise KeyError(f"'model' is missing from the configuration: {_EXPECTED}")
        section = config["model"]
        if not isinstance(section, Mapping) or "lstm" not in section:
            raise KeyError(f"'lstm' is missing from config['model']: {_EXPECTED}")
        sizes = section["lstm"] or {}
        return SignalExtractionLSTM(**signal_sizes(sizes), device=device)

    @staticmethod
    def save_checkpoint(
        model: AnyModel,
        save_path: Path | str,
        optimizer: torch.optim.Optimizer | None = None,
        epoch: int | None = None,
        loss: float | None = None,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a model with what belongs to it, atomically, as plain data: as a safetensors file where ``save_path``
        ends in .safetensors, else so that ``torch.load`` reads it weights-only.

        ``kwargs`` become further keys. A defect model's file always holds the model's own sections in ``config``,
        whatever else ``config`` says, so that the file alone rebuilds it.

        Raises:
            TypeError: something that is not plain data, named by its place.
            ValueError: an extra key that the file uses for the model itself.
        """
        content: dict[str, Any] = {
            "model_state_dict": model.state_dict(),
            "model_info": ModelFactory.get_model_info(model),
            "config": config,
            "epoch": epoch,
            "loss": loss,
            "calibration": model.calibration,
            "input_statistics": model.input_statistics,
            "training_ranges": model.training_ranges,
            "fingerprint": fingerprint(model),
        }
        if isinstance(model, SteelDefectLSTM):
            content["config"] = {**model.config, **(config or {}), **model.settings.sections()}
        if optimizer is not None:
            content["optimizer_state_dict"] = optimizer.state_dict()
        if taken := content.keys() & kwargs.keys():
            raise ValueError(f"{', '.join(sorted(taken))}: written from the model and the arguments, not by name")
        write_checkpoint(Path(save_path), content | kwargs)

    @staticmethod
    def create_from_checkpoint(
        checkpoint_path: Path | str, device: str | torch.device = "cpu", strict: bool = True
    ) -> AnyModel:
        """The model of a checkpoint, in eval mode. Sizes come from ``config``, else ``model_info``, else the weights.

        Args:
            strict: refuse missing and unknown weights; without it such weights keep their random start.

        Raises:
            FileNotFoundError: there is no such file.
            RuntimeError: ``Failed to load checkpoint: ...`` for every other fault, weights that are not those
                of the stored fingerprint included.
        """
        content = read_checkpoint(Path(checkpoint_path))
        try:
            model = build(content)
            loaded = model.load_state_dict(content["model_state_dict"], strict=strict)
            attach(model, content)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise CheckpointError(f"{checkpoint_path}: {error}") from error
        stored = content.get("fingerprint")
        complete = not loaded.missing_keys and not loaded.unexpected_keys
        if complete and stored is not None and stored != (found := fingerprint(model)):
            raise CheckpointError(f"{checkpoint_path}: {other_weights(found, stored)}")
        return model.to(device).eval()

    @staticmethod
    def get_model_info(model: AnyModel) -> dict[str, Any]:
        """The model's own information, trainable and frozen parameters, and the size in memory."""
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
        size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        return model.get_model_info() | {
            "trainable_parameters": sum(count for count, trainable in counts if trainable),
            "non_trainable_parameters": sum(count for count, trainable in counts if not trainable),
            "estimated_size_mb": size_bytes / 2**20,
        }

    @staticmethod
    def count_parameters(model: nn.Module) -> dict[str, int]:
        """Parameters of each layer (``lstm``, ``fc``; of a defect model its own layers) and ``total``."""
        counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
        return counts | {"total": sum(counts.values())}

    @staticmethod
    def print_model_summary(model: AnyModel) -> None:
        """Print name, parameters per layer and sizes."""
        info = ModelFactory.get_model_info(model)
        counts = ModelFactory.count_parameters(model)
        lines = [type(model).__name__, f"Parameters: {counts.pop('total'):,}"]
        lines += [f"  {name}: {count:,}" for name, count in counts.items()]
        lines += [f"  trainable: {info['trainable_parameters']:,}", f"  frozen: {info['non_trainable_parameters']:,}"]
        sizes = ("input_size", "hidden_size", "num_layers", "dropout")
        lines += ["Sizes", *(f"  {name}: {getattr(model, name)}" for name in sizes)]
        lines.append(f"  memory: {info['estimated_size_mb']:.2f} MB")
        print("\n".join(lines))  # noqa: T201 - printing is what this method is for
