"""The weights in a checkpoint's content, under the names of the bare model.

Wrappers put names of their own before those of the model: nn.DataParallel and DistributedDataParallel `module`,
torch.compile `_orig_mod`, a LightningModule the attribute that holds the model. These are removed if all weights have
them, so that nothing is guessed. A weight is an array, or a tensor of PyTorch, which is not loaded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Weights = dict[str, Any]

# Where others keep a state dict: Lightning, the examples of PyTorch, DeepSpeed.
_OTHER_KEYS = ("state_dict", "model_state", "model", "module", "net", "weights")
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_FIRST = "lstm.weight_ih_l0"  # of both models
_COUNTERS = {"n_averaged"}  # beside the weights, of an AveragedModel


def with_weights(content: Any) -> dict[str, Any]:
    """The content with its weights as ``model_state_dict``, by the names of the bare model.

    Raises:
        ValueError: it holds no weights, or a defect model's without what they do not tell.
    """
    found = _find(content)
    if found is None:
        raise ValueError(f"holds no 'model_state_dict' with a model's weights{_told(content)}")
    key, weights = found
    named = bare(weights)
    rest = {} if key is None else {name: value for name, value in content.items() if name != key}
    if key != "model_state_dict" and not _has_config(rest):
        rest |= _hyper_parameters(rest)
    if key != "model_state_dict" and _is_defect(named) and not _has_config(rest):
        raise ValueError(
            "holds the weights of a SteelDefectLSTM alone (a state_dict), which tell neither its readout nor its "
            "activation: save {'model_state_dict': model.state_dict(), 'config': model.config}"
        )
    return rest | {"model_state_dict": named}


def is_tensor(value: Any) -> bool:
    """True for an array, and for a tensor of PyTorch."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def bare(weights: Mapping[str, Any]) -> Weights:
    """Weights by the names of the bare model; as they are where that is not certain."""
    short = {_unwrapped(name): value for name, value in weights.items()}
    alike = len(short) < len(weights)  # two would be one
    short = {name: value for name, value in short.items() if name not in _COUNTERS}
    prefix = _prefix(short)
    if alike or prefix is None:
        return dict(weights)
    return {name.removeprefix(prefix): value for name, value in short.items()}


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefix(names: Iterable[str]) -> str | None:
    """The prefix before the model's own name in all of them; None where some have another or none has the model's."""
    names = list(names)
    found = [name.removesuffix(_FIRST) for name in names if name.endswith(_FIRST)]
    if len(found) != 1 or not all(name.startswith(found[0]) for name in names):
        return None
    return found[0] if not found[0] or found[0].endswith(".") else None


def _find(content: Any) -> tuple[str | None, Weights] | None:
    """The key of the weights and they; no key where they are all that there is."""
    if not isinstance(content, dict):
        return None
    if _are_weights(content.get("model_state_dict")):
        return "model_state_dict", content["model_state_dict"]
    if "model_state_dict" in content:
        return None
    if content and _are_weights(content):
        return None, content
    for key in _OTHER_KEYS:
        if content.get(key) and _are_weights(content[key]):
            return key, content[key]
    return None


def _are_weights(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(name, str) for name in value)
        and all(is_tensor(one) for one in value.values())
    )


def _is_defect(weights: Weights) -> bool:
    return any(name.startswith("classifier.") for name in weights)


def _has_config(content: Mapping[str, Any]) -> bool:
    return any(isinstance(content.get(name), Mapping) for name in ("config", "model_info"))


def _hyper_parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    """The model's configuration among those that Lightning keeps, if it is there."""
    kept = content.get("hyper_parameters")
    if not isinstance(kept, Mapping):
        return {}
    config = kept["config"] if isinstance(kept.get("config"), Mapping) else kept
    return {"config": dict(config)} if config.keys() & {"architecture", "model"} else {}


def _told(content: Any) -> str:
    if not isinstance(content, dict):
        return f": it holds a {type(content).__name__}"
    names = ", ".join(repr(str(name)[:40]) for name in list(content)[:5])
    return f": it holds {names}{', ...' if len(content) > 5 else ''}" if names else ": it holds nothing"
