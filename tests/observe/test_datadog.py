"""Datadog's own check reads a server with the configuration in examples/datadog."""

import yaml
from conftest import ROOT
from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

CONFIG = ROOT / "examples/datadog/openmetrics.yaml"


def test_the_agents_check_takes_every_kind_of_metric(story):
    server, _ = story
    instance = yaml.safe_load(CONFIG.read_text())["instances"][0]
    instance["openmetrics_endpoint"] = f"http://127.0.0.1:{server.ports['admin']}/metrics"
    check = OpenMetricsBaseCheckV2("openmetrics", {}, [instance])
    aggregator.reset()
    for _ in range(2):
        assert check.run() == ""
    assert aggregator.metrics("hedgerow.uptime_seconds")
    rows = aggregator.metrics("hedgerow.rows.count")
    assert any("slot:fraud" in row.tags and row.value > 0 for row in rows)
    assert aggregator.metrics("hedgerow.drift_psi") or aggregator.metrics("hedgerow.drift_rows")
    buckets = aggregator.histogram_bucket("hedgerow.request_duration_seconds")
    assert any("outcome:ok" in bucket.tags and bucket.value > 0 for bucket in buckets)
