"""The rules are proven by promtool, cover what they say, and hold on real servers."""

import re
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from conftest import ROOT, RULES, admin, start, until
from scrape import Prometheus

TESTS = sorted((ROOT / "tests/rules").glob("*.yaml"))
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
NAMED = re.compile(r'alertname="(\w+)"')
HAPPENED = {
    "HedgerowAlarmNotDelivered",
    "HedgerowDrift",
    "HedgerowSwapRefused",
    "HedgerowTurnedBack",
}
"""Alerts that the story raises at once; the others take longer than the story."""


def test_promtool_proves_every_case():
    subprocess.run(["promtool", "check", "rules", RULES], check=True)
    subprocess.run(["promtool", "test", "rules", *TESTS], check=True)


def cases():
    """Alert, whether the query expects it, and whether there are series that must not raise it."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            jobs = " ".join(series["series"] for series in test["input_series"])
            for query in test.get("promql_expr_test", []):
                for alert in NAMED.findall(query["expr"]):
                    yield alert, bool(query["exp_samples"]), 'job="near"' in jobs


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_raises_it_and_one_that_does_not(alert):
    found = [case[1:] for case in cases() if case[0] == alert]
    assert any(fires for fires, _ in found)
    assert any(not fires or near for fires, near in found)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    anchor = rule["annotations"]["runbook_url"].rpartition("/docs/operate.md#")[2]
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/operate.md").read_text(), re.M)
    assert alert in sections and anchor == alert.lower()


def test_every_section_of_the_runbook_is_of_an_alert():
    sections = re.findall(r"^## (Hedgerow\w+)$", (ROOT / "docs/operate.md").read_text(), re.M)
    assert sections == list(ALERTS)


def test_the_rules_name_metrics_and_buckets_that_a_server_has(story):
    _, scraper = story
    text = RULES.read_text()
    for name in sorted(set(re.findall(r"\bhedgerow_[a-z_]+", text))):
        assert scraper.value(f"count(last_over_time({name}[10m]))"), f"{name} is not exposed"
    for bound in sorted(set(re.findall(r'le="([\d.]+)"', text))):
        bucket = f'hedgerow_request_duration_seconds_bucket{{le="{bound}"}}'
        assert scraper.value(f"count({bucket})"), f"there is no bucket {bound}"


def test_what_happened_raises_its_alerts(story):
    _, scraper = story

    def raised():
        found = {alert["labels"]["alertname"] for alert in scraper.get("alerts")["alerts"]}
        return HAPPENED <= found

    until(raised, 30)
    rules = [rule for group in scraper.get("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    words = [alert["annotations"] for alert in scraper.get("alerts")["alerts"]]
    assert "error expanding" not in str(words)


def test_a_server_without_traffic_raises_nothing(tmp_path):
    server = start(tmp_path)
    scraper = None
    try:
        scraper = Prometheus(tmp_path / "prometheus", {"idle": [admin(server)]}, rules=RULES)
        until(lambda: scraper.value("hedgerow_uptime_seconds"))
        begun = datetime.now(timezone.utc)

        def evaluated_twice():
            groups = scraper.get("rules")["groups"]
            times = [datetime.fromisoformat(it["lastEvaluation"][:19] + "+00:00") for it in groups]
            return len(groups) == len(GROUPS) and min(times) > begun + timedelta(seconds=2)

        until(evaluated_twice)
        assert scraper.get("alerts")["alerts"] == []
        assert scraper.query('{__name__=~"hedgerow:.*ratio.*"}') == []
    finally:
        if scraper:
            scraper.stop()
        server.stop()
