"""Values that are wrong are refused, and the reason says which."""

import json

import pytest
import yaml
from chart import BASE, CHART, helm, merged

REFUSED = [
    ({"image": {"repository": ""}}, "image.repository is required"),
    ({"image": {"repository": "registry.example/a:tag@x"}}, "/image/repository"),
    ({"image": {"digest": "sha256:short"}}, "/image/digest"),
    ({"replica": 3}, "replica"),
    ({"mode": "daemonset"}, "/mode"),
    ({"models": {"source": "s3"}}, "/models/source"),
    ({"models": {"source": "image"}}, "models.image.reference is required"),
    ({"models": {"source": "copy"}}, "models.copy.image is required"),
    ({"models": {"pvc": {"claimName": ""}}}, "models.pvc.claimName is required"),
    ({"models": {"pvc": {"claim": "x"}}}, "claim"),
    ({"ports": {"http": 80}}, "/ports/http"),
    ({"ports": {"http": 8081}}, "must differ"),
    ({"config": {"server": {"http": "0.0.0.0:1"}}}, "config.server.http is set by the chart"),
    ({"config": {"server": {"admin": "0.0.0.0:1"}}}, "config.server.admin is set by the chart"),
    ({"config": {"models": {"dir": "/x"}}}, "config.models.dir is set by the chart"),
    ({"config": {"server": 3}}, "/config/server"),
    ({"config": {"validate": {"rules": [{"a": 1}]}}}, "config: map has no place in a list"),
    ({"secretEnv": {"PATH": {"secret": "a", "key": "b"}}}, "PATH"),
    ({"secretEnv": {"HEDGEROW__JOURNAL__STORE": {"secret": "a"}}}, "key"),
    ({"admin": {"exposed": True}, "networkPolicy": {"enabled": False}}, "asks for no password"),
    ({"metrics": {"scrape": "serviceMonitor"}}, "metrics.scrape needs admin.exposed"),
    ({"metrics": {"scrape": "sometimes"}}, "/metrics/scrape"),
    ({"metrics": {"rules": True}}, "metrics.rules needs metrics.scrape"),
    ({"admin": {"exposed": True}, "metrics": {"rules": True}}, "HedgerowAbsent would page for ever"),
    ({"mode": "sidecar", "metrics": {"rules": True}}, 'metrics.rules is for mode "service"'),
    ({"listen": "localhost"}, "/listen"),
    ({"listen": "[::]"}, "/listen"),
    ({"service": {"ipFamilyPolicy": "DualStack"}}, "/service/ipFamilyPolicy"),
    ({"fullnameOverride": "n" * 47}, "/fullnameOverride"),
    ({"autoscaling": {"kind": "vpa"}}, "/autoscaling/kind"),
    ({"autoscaling": {"kind": "keda"}}, "needs metrics.scrape"),
    ({"autoscaling": {"kind": "adapter"}}, "needs metrics.scrape"),
    ({"autoscaling": {"minReplicas": 11}}, "is above"),
    ({"autoscaling": {"targets": {"p95Milliseconds": 0}}}, "p95Milliseconds"),
    ({"autoscaling": {"slot": 'x"} or up'}}, "/autoscaling/slot"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"state": {"claimName": "journal"}}, "holds the journal of one replica"),
    ({"networkPolicy": {"adminNamespaces": ["*"]}}, "adminNamespaces"),
]


@pytest.mark.parametrize(("values", "reason"), REFUSED, ids=[it[1] for it in REFUSED])
def test_wrong_values_are_refused(values, reason):
    done = helm("template", "x", str(CHART), values=merged(BASE, values))
    assert done.returncode != 0, done.stdout
    assert reason in done.stderr


def test_the_schema_has_every_value_and_no_other():
    def compare(schema, values, where):
        if not isinstance(values, dict) or "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, where
        known = set(schema["properties"]) - {"global", "claims"}
        # What is given in full by its own object and may be left out.
        assert set(values) <= known, where
        assert known - set(values) <= set(), f"{where}: {known - set(values)} have no default"
        for key, value in values.items():
            compare(schema["properties"][key], value, f"{where}.{key}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "values")
