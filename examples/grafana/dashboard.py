#!/usr/bin/env python3
"""Prints the Grafana dashboard, built of panels.py with Grafana's own types.

    pip install -r examples/grafana/requirements.txt
    python examples/grafana/dashboard.py > helm/hedgerow/files/dashboard.json
"""

import itertools
import json
import sys

sys.dont_write_bytecode = True

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from panels import ROWS

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
COLUMNS = 24


def lines():
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    return timeseries.Panel().legend(legend.placement(LegendPlacement.BOTTOM).show_legend(True))


BUILDERS = {
    "timeseries": lines,
    "stat": lambda: stat.Panel().graph_mode(BigValueGraphMode.AREA),
    "table": lambda: table.Panel().show_header(True),
}


def query(number, expression, legend, kind):
    built = prometheus.Dataquery().expr(expression).legend_format(legend)
    built = built.ref_id(chr(ord("A") + number))
    if kind == "table":
        return built.instant().format(PromQueryFormat.TABLE)
    return built.range()


def panel(number, spec):
    built = BUILDERS[spec.kind]().id(number).title(spec.title).description(spec.words).unit(spec.unit)
    built = built.datasource(SOURCE).span(COLUMNS // (4 if spec.kind == "stat" else 3))
    built = built.height(5 if spec.kind == "stat" else 8)
    for name, value in spec.limits.items():
        built = getattr(built, name)(value)
    for number, (legend, expression) in enumerate(spec.queries.items()):
        built = built.with_target(query(number, expression, legend, spec.kind))
    return built


def variable(name, source):
    """A choice among the values of a label, all of them at first. `.*` holds a missing label too."""
    built = dashboard.QueryVariable(name).label(name).datasource(SOURCE)
    built = built.query(f"label_values({source}, {name})")
    built = built.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True)
    everything = VariableOption(selected=True, text="All", value="$__all")
    return built.include_all(True).all_value(".*").current(everything)


def build():
    built = dashboard.Dashboard("Hedgerow").uid("hedgerow").tags(["hedgerow"])
    built = built.description("Serving, trials and drift of Hedgerow servers.")
    built = built.time("now-3h", "now").refresh("30s").timezone("browser")
    built = built.tooltip(DashboardCursorSync.CROSSHAIR)
    built = built.with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    built = built.with_variable(variable("namespace", "hedgerow_build_info"))
    built = built.with_variable(variable("job", "hedgerow_build_info"))
    built = built.with_variable(variable("slot", "hedgerow_swaps_total"))
    numbers = itertools.count(1)
    for title, specs in ROWS.items():
        built = built.with_row(dashboard.Row(title).id(next(numbers)))
        for spec in specs:
            built = built.with_panel(panel(next(numbers), spec))
    return built.build()


def text():
    return json.dumps(build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
