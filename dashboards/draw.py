"""Draw the dashboards as pictures, from what a Prometheus has: for documents, and where there is no Grafana.

    .venv/bin/python -m dashboards.draw [--prometheus URL] [--minutes 5] [--window 1m] [--into docs/images]

One picture per dashboard, ``dashboard-NAME.png``, with the panels in their order; heatmaps over their buckets.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from dashboards.pages import PAGES
from dashboards.panels import USUAL_THRESHOLD, Dashboard, Panel, Query, fill_variables

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
STEP_S = 2
PER_ROW = 3
Series = dict[str, tuple[list[float], list[float]]]  # name -> minutes from the start, values

_UNITS: dict[str, tuple[float, str]] = {
    "s": (1000, "ms"),
    "percentunit": (100, "%"),
    "bytes": (1 / 2**20, "MiB"),
    "cps": (1, "per s"),
    "short": (1, ""),
}


class MetricsSource:
    """A Prometheus, and the time that is looked at.

    Args:
        window: of rates, a PromQL duration of at least two scrapes.
    """

    def __init__(self, address: str, minutes: float, window: str) -> None:
        self._address = address
        self._window = window
        self._end = time.time()
        self._start = self._end - 60 * minutes

    def series(self, query: Query) -> Series:
        """The lines of a query.

        Raises:
            OSError: Prometheus does not answer; urllib's HTTPError where it refuses the query.
        """
        span = {"start": self._start, "end": self._end, "step": STEP_S}
        asked = urllib.parse.urlencode({"query": fill_variables(query.expression, self._window), **span})
        with urllib.request.urlopen(f"{self._address}/api/v1/query_range?{asked}", timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        return {_legend(query, each["metric"]): self._points(each["values"]) for each in found}

    def _points(self, values: list[Any]) -> tuple[list[float], list[float]]:
        return [(at - self._start) / 60 for at, _ in values], [float(value) for _, value in values]


def _legend(query: Query, labels: dict[str, str]) -> str:
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), query.legend)
    return text.replace("$threshold", USUAL_THRESHOLD)


def picture_of(page: Dashboard) -> str:
    """The name of its picture."""
    return f"dashboard-{page.name.removeprefix('caststream-')}.png"


def draw(page: Dashboard, source: MetricsSource, path: Path) -> None:
    """Write the picture of a dashboard."""
    rows = -(-len(page.panels) // PER_ROW)
    figure, axes = plt.subplots(rows, PER_ROW, figsize=(5 * PER_ROW, 3.2 * rows), squeeze=False)
    for axis, panel in zip(axes.flat, page.panels, strict=False):
        _draw_panel(axis, panel, source)
    for axis in axes.flat[len(page.panels) :]:
        axis.set_visible(False)
    figure.suptitle(f"{page.title}, over minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _draw_panel(axis: Axes, panel: Panel, source: MetricsSource) -> None:
    factor, unit = _UNITS[panel.unit]
    lines = {name: points for query in panel.queries for name, points in source.series(query).items()}
    axis.set_title(f"{panel.title}{f', {unit}' if unit else ''}", fontsize=10)
    axis.tick_params(labelsize=8)
    if panel.look == "heatmap" and lines:
        _draw_heatmap(axis, lines, factor)
        return
    if panel.look == "stacked" and lines:
        _draw_stacked(axis, lines, factor)
    else:
        for name, (minutes, values) in lines.items():
            axis.plot(minutes, factor * np.asarray(values), label=name, linewidth=1)
    axis.set_ylim(bottom=0, top=1.05 * (axis.get_ylim()[1] if _is_any(lines) else 1))
    axis.grid(alpha=0.3)
    if lines:
        axis.legend(fontsize=7, loc="best")


def _is_any(lines: Series) -> bool:
    return any(value for _, values in lines.values() for value in values)


def _draw_stacked(axis: Axes, lines: Series, factor: float) -> None:
    times = sorted({at for minutes, _ in lines.values() for at in minutes})
    heights = [np.interp(times, minutes, values, left=0, right=0) * factor for minutes, values in lines.values()]
    axis.stackplot(times, heights, labels=list(lines), alpha=0.7)


def _draw_heatmap(axis: Axes, lines: Series, factor: float) -> None:
    """Prometheus's buckets are cumulative, so a cell is the difference of two."""
    bounds = sorted(lines, key=float)
    times = sorted({at for minutes, _ in lines.values() for at in minutes})
    heights = np.array([np.interp(times, *lines[bound]) for bound in bounds])
    cells = np.maximum(np.diff(heights, axis=0, prepend=0), 0)
    # The square root shows the few slow ones beside the many fast.
    axis.pcolormesh(times, np.arange(len(bounds)), np.sqrt(cells), cmap="Oranges", shading="nearest")
    shown = FuncFormatter(lambda row, _: f"{factor * float(bounds[int(row)]):g}" if 0 <= row < len(bounds) else "")
    axis.yaxis.set_major_formatter(shown)


def main() -> int:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="where it is; default %(default)s")
    parser.add_argument("--minutes", type=float, default=5, help="until now; default %(default)s")
    parser.add_argument("--window", default="1m", help="of rates: two scrapes at least; default %(default)s")
    parser.add_argument("--into", type=Path, default=IMAGES, help="the folder; default docs/images")
    options = parser.parse_args()
    source = MetricsSource(options.prometheus, options.minutes, options.window)
    options.into.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        path = options.into / picture_of(page)
        try:
            draw(page, source, path)
        except urllib.error.HTTPError as error:
            print(f"the Prometheus at {options.prometheus} refuses: {error.read().decode()}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"the Prometheus at {options.prometheus} does not answer: {error}", file=sys.stderr)
            return 1
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
