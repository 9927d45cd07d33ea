"""The look of plots, and the way they are written: PNG files in a folder.

Figures are made without pyplot, so that nothing global is left behind. Colours are those of Okabe and Ito, which
colour-blind people tell apart, and lines differ in their style besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from core.errors import RunError, StartupError
from core.training.extras import require
from core.whole_file import whole_file

# matplotlib's types, which are not there where it is not installed.
Axes = Any
Figure = Any

BLUE, VERMILION, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#999999", "#000000"
MODEL: dict[str, Any] = {"color": BLUE, "linestyle": "-", "linewidth": 1.8}
LIMIT: dict[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 1.3}
BASELINE: dict[str, Any] = {"color": VERMILION, "linestyle": ":", "linewidth": 2.0}
REFERENCE: dict[str, Any] = {"color": GREY, "linestyle": "-", "linewidth": 0.8}

DPI = 120
STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def write_plots(plots: Mapping[str, Callable[[], Figure | None]], folder: Path) -> list[Path]:
    """Write the plots that have data, and remove old plots that have none now."""
    require("matplotlib.figure")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{folder}: plots cannot be written there: {error.strerror or error}") from error
    written = []
    for name, draw in plots.items():
        path = folder / f"{name}.png"
        try:
            with style():
                figure = draw()
                if figure is None:
                    path.unlink(missing_ok=True)
                    continue
                with whole_file(path) as partial, partial.open("xb") as file:
                    figure.savefig(file, dpi=DPI, format="png")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
        written.append(path)
    return written


def style() -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = require("matplotlib").rc_context(STYLE)
    return context


def new_figure(width: float, height: float) -> Figure:
    return require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def legend_above(axes: Axes) -> None:
    """Place the legend beside the title, where no curve can lie under it."""
    axes.set_title(axes.get_title(), loc="left")
    axes.set_title("")
    named = axes.get_legend_handles_labels()
    if named[0]:
        axes.legend(*named, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, columnspacing=1.2)
