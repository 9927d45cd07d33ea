"""A model that is trained by the loop and is none of the two that ship: it writes its checkpoints itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


class OwnModel(nn.Module):
    """A module with its own form of checkpoint."""

    def save(self, path: Path, optimizer: torch.optim.Optimizer | None = None, **content: Any) -> None:
        """Write the weights as ``model_state_dict``, the state of an optimizer as ``optimizer_state_dict``, and
        ``content`` beside them, whole or not at all.

        Raises:
            OSError, RuntimeError: the file cannot be written.
        """
        raise NotImplementedError
