"""Train both models end to end, briefly, and hold them to a stated quality: exit status 1 if one falls short.

    make train-quick

Generates data, trains, and evaluates on data of another seed, all by the command line that users have. Under 5
minutes on 2 cores. The full trainings are those of `make train`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# What a quick training reaches at least, on fresh data: the figure, the bound, whether it is a highest value.
STATED: dict[str, dict[str, tuple[float, bool]]] = {
    "signal": {"mse_after_1s": (0.001, True), "correlation_after_1s": (0.998, False)},
    "defect": {"auc": (0.9, False), "brier": (0.065, True)},
}
DATA = {
    "signal": ("signals", "--samples", 120, 40),
    "defect": ("castings", "--casts", 3000, 1500),
}
TRAINING_SEED, FRESH_SEED = 11, 12


def caststream(*words: object) -> str:
    """Run a command, its progress on the terminal; what it prints for programs is returned."""
    command = [sys.executable, "-m", "stream_app.cli.main", *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def train(kind: str, folder: Path) -> dict[str, Any]:
    """Train one model from nothing; the figures of its evaluation on fresh data."""
    what, option, rows, fresh_rows = DATA[kind]
    file, fresh, out = (folder / f"{kind}{end}" for end in (".h5", "-fresh.h5", ".pt"))
    caststream("generate", what, file, option, rows, "--seed", TRAINING_SEED)
    caststream("generate", what, fresh, option, fresh_rows, "--seed", FRESH_SEED)
    caststream("train", kind, file, "--config", EXAMPLES / f"quick-{kind}.toml", "--out", out)
    plots = folder / f"{kind}-plots"
    printed = caststream("evaluate", kind, fresh, "--checkpoint", out, "--plots", plots, "--json")
    figures: dict[str, Any] = json.loads(printed)
    return figures


def shortcomings(kind: str, figures: dict[str, Any]) -> list[str]:
    """The stated figures that were missed, a line each."""
    found = []
    for name, (bound, highest) in STATED[kind].items():
        value = figures[name]
        if value is None or (value > bound if highest else value < bound):
            found.append(f"{kind}: {name} is {value}, stated is {'at most' if highest else 'at least'} {bound}")
    return found


def main(say: Callable[[str], None] = print) -> int:
    """Train both, say what they reach."""
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, stated in STATED.items():
            started = time.monotonic()
            figures = train(kind, Path(folder))
            shown = ", ".join(f"{name} {figures[name]:.4g} (stated {bound:g})" for name, (bound, _) in stated.items())
            say(f"{kind}: {shown}, in {time.monotonic() - started:.0f} s")
            missed += shortcomings(kind, figures)
    for line in missed:
        say(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
