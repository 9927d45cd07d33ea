"""Write the dashboards as JSON for Grafana: `make dashboards`.

Import them by hand, or let Grafana read the folder (provisioning). They ask for a data source of type Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.pages import PAGES
from dashboards.panels import THRESHOLDS, USUAL_THRESHOLD, Dashboard, Panel, PanelLook, Query

FOLDER = Path(__file__).resolve().parent / "grafana"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
HEIGHT = 8
AnyPanel = timeseries.Panel | heatmap.Panel | stat.Panel


def write_all(folder: Path = FOLDER) -> list[Path]:
    """Write every dashboard into ``folder``. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in PAGES:
        path = folder / f"{page.name}.json"
        path.write_text(text_of(page))
        written.append(path)
    return written


def text_of(page: Dashboard) -> str:
    """A dashboard as Grafana imports it."""
    built = (
        dashboard.Dashboard(page.title)
        .uid(page.name)
        .description(page.says)
        .tags(["caststream"])
        .refresh("5s")
        .time("now-30m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
        .with_variable(_labels("job", "label_values(caststream_commit_age_seconds, job)"))
        .with_variable(_labels("instance", 'label_values(caststream_commit_age_seconds{job=~"$job"}, instance)'))
        .with_variable(_labels("task", 'label_values(caststream_task_info{job=~"$job"}, task)'))
    )
    if any("$threshold" in query.expression for panel in page.panels for query in panel.queries):
        built = built.with_variable(_threshold())
    for panel in page.panels:
        built = built.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _labels(name: str, query: str) -> dashboard.QueryVariable:
    """A choice among a label's values, all by default."""
    return (
        dashboard.QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _threshold() -> dashboard.CustomVariable:
    return (
        dashboard.CustomVariable("threshold")
        .label("Threshold")
        .values(",".join(THRESHOLDS))
        .current(VariableOption(selected=True, text=USUAL_THRESHOLD, value=USUAL_THRESHOLD))
    )


def _panel(panel: Panel) -> AnyPanel:
    built: AnyPanel = (
        _LOOKS[panel.look]().title(panel.title).description(panel.says).unit(panel.unit).datasource(SOURCE)
    )
    for number, query in enumerate(panel.queries):
        built = built.with_target(_target(query, chr(ord("A") + number), panel))
    if isinstance(built, heatmap.Panel):
        built = built.y_axis(heatmap.YAxisConfig().unit(panel.unit))
    return built.span(panel.width).height(HEIGHT)


def _target(query: Query, ref: str, panel: Panel) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
    return target.format(PromQueryFormat.HEATMAP) if panel.look == "heatmap" else target


def _lines() -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return timeseries.Panel().min(0).line_width(1).legend(legend.show_legend(True).calcs([]))


def _stacked() -> timeseries.Panel:
    return _lines().fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL))


def _heatmap() -> heatmap.Panel:
    return heatmap.Panel().calculate(False).cell_gap(1)


_LOOKS: dict[PanelLook, Callable[[], Any]] = {
    "lines": _lines,
    "stacked": _stacked,
    "heatmap": _heatmap,
    "number": stat.Panel,
}


if __name__ == "__main__":
    for file in write_all():
        print(f"wrote {file}")
