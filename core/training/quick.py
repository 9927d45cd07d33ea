"""Brief training of both models on freshly generated data, for the checkpoints that ship.

    python -m core.training.quick signal --minutes 35 --out core/checkpoints/signal.pt
    python -m core.training.quick defect --minutes 8 --out core/checkpoints/defect.pt

The best model so far is kept in the file, so that a run can be stopped at any time.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from core.training.quick_defect import train_defect
from core.training.quick_signal import train_signal

log = logging.getLogger(__name__)


def main() -> None:
    """Train the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("signal", "defect"))
    parser.add_argument("--minutes", type=float, default=20.0, help="time to train, evaluation included")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    train = train_signal if given.model == "signal" else train_defect
    train(given.out, given.minutes, given.seed)


if __name__ == "__main__":
    main()
