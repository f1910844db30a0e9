"""The dashboard is what its code prints, and every query of it finds data of a real run."""

import json
import math
import time

import dashboard
import pytest
from conftest import ROOT
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import ROWS

FILE = ROOT / "helm/hedgerow/files/dashboard.json"
QUIET = {
    ("Work now", "requests {{instance}}"),
    ("Work now", "rows {{instance}}"),
    ("Work now", "queued rows {{instance}}"),
    ("Rows in shadow", "dropped {{slot}}"),
    ("Rows of windows", "not counted {{slot}}"),
    ("Journal: lag", "{{instance}}"),
    ("Exported log: lag", "{{slot}}"),
    ("Cost of waiting, per hour", "{{slot}}"),
}
"""Queries that may be 0 or less: nothing waited when it was looked, and nothing was lost."""
CHOICES = {
    "$__rate_interval": "10s",
    '=~"$namespace"': '=~".*"',
    '=~"$job"': '=~".*"',
    '=~"$slot"': '=~".*"',
}
QUERIES = [
    (panel.title, legend, expression)
    for panels in ROWS.values()
    for panel in panels
    for legend, expression in panel.queries.items()
]


def test_the_file_is_what_the_code_prints():
    assert FILE.read_text() == dashboard.text(), "run examples/grafana/dashboard.py"


def targets(panel):
    """A panel's queries; a row has none."""
    return getattr(panel, "targets", None) or []


def test_the_file_is_a_dashboard_of_grafana():
    register_default_plugins()
    parsed = Dashboard.from_json(json.loads(FILE.read_text()))
    shown = [target.expr for panel in parsed.panels for target in targets(panel)]
    assert shown == [expression for _, _, expression in QUERIES]
    assert len({panel.id_val for panel in parsed.panels}) == len(parsed.panels)


@pytest.fixture(scope="module")
def moments(story):
    """From the server's start to now: Grafana asks for ranges."""
    _, scraper = story
    now = time.time()
    return {"start": now - scraper.value("hedgerow_uptime_seconds"), "end": now, "step": 1}


@pytest.mark.parametrize("title, legend, expression", QUERIES)
def test_a_query_finds_data(story, moments, title, legend, expression):
    _, scraper = story
    for name, value in CHOICES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    result = scraper.get("query_range", query=expression, **moments)["result"]
    values = [float(value) for series in result for _, value in series["values"]]
    finite = [value for value in values if math.isfinite(value)]
    assert finite, f"{title}: no data for {expression}"
    assert max(finite) > 0 or (title, legend) in QUIET, f"{title}: all 0"
    labels = {name.strip("{}") for name in legend.split() if name.startswith("{{")}
    named = set().union(*(series["metric"] for series in result))
    assert labels <= named | {"__name__"}, f"{title}: the legend names labels that are not there"
