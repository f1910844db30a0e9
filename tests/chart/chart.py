"""Renders the chart and checks what comes out. Run by scripts/chart.sh."""

import functools
import itertools
import json
import os
import pathlib
import subprocess

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/hedgerow"
EXAMPLES = ROOT / "helm/examples"
BINARY = pathlib.Path(os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow"))
SCHEMAS = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

# The oldest that the chart says it runs on, the first with image volumes by default, the newest known.
VERSIONS = ("1.29", "1.35", "1.37")
IMAGE_VOLUME = ("1.35", "1.37")

# The kinds of Kubernetes' own that the chart and its examples write.
CORE = (
    "configmap-v1",
    "persistentvolumeclaim-v1",
    "pod-v1",
    "deployment-apps-v1",
    "horizontalpodautoscaler-autoscaling-v2",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
    "serviceaccount-v1",
)

BASE = {
    "image": {"repository": "registry.example/hedgerow"},
    "models": {"source": "pvc", "pvc": {"claimName": "models"}},
}

MODELS = {
    "pvc": {"source": "pvc", "pvc": {"claimName": "models", "subPath": "serving"}},
    "image": {"source": "image", "image": {"reference": "registry.example/models:7"}},
    "copy": {
        "source": "copy",
        "copy": {
            "image": "registry.example/rclone:1",
            "args": ["copy", ":s3:models/serving", "/models"],
            "env": [{"name": "RCLONE_S3_REGION", "value": "eu-west-1"}],
        },
    },
}

EVERYTHING = {
    "imagePullSecrets": [{"name": "registry"}],
    "secretEnv": {"HEDGEROW__JOURNAL__STORE": {"secret": "hedgerow", "key": "url"}},
    "extraEnv": [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "k8s.pod.name=$(POD)"},
    ],
    "service": {"type": "LoadBalancer", "annotations": {"a.example/b": "c"}},
    "serviceAccount": {"name": "serving", "annotations": {"eks.amazonaws.com/role-arn": "arn:x"}},
    "podAnnotations": {"a.example/b": "c"},
    "podLabels": {"team": "risk"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "serving", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "serving",
    "podDisruptionBudget": {"maxUnavailable": "25%"},
}


def merged(*parts):
    """Values laid over each other, tables by key."""
    whole = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def combinations():
    """Every combination of the chart's switches that it allows, by name."""
    found = {}
    switches = itertools.product(
        MODELS,
        ("closed", "none", "annotations", "serviceMonitor"),
        ("none", "cpu", "adapter", "keda"),
        (False, True),
    )
    for models, scrape, scaling, everything in switches:
        if scrape in ("closed", "none") and scaling in ("adapter", "keda"):
            continue
        values = {"models": MODELS[models], "autoscaling": {"kind": scaling}}
        if scrape != "closed":
            values["admin"] = {"exposed": True}
            values["networkPolicy"] = {"adminNamespaces": ["monitoring", "argo-rollouts"]}
            values["metrics"] = {"scrape": scrape, "rules": scrape != "none", "dashboard": True}
        name = f"{models}-{scrape}-{scaling}"
        if everything:
            values = merged(values, EVERYTHING, {"autoscaling": {"slot": "fraud"}})
            name += "-everything"
        found[name] = merged(BASE, values)
    found["defaults"] = BASE
    found["one-replica"] = merged(BASE, {"replicas": 1, "state": {"claimName": "journal"}})
    found["bare"] = merged(
        BASE,
        {
            "networkPolicy": {"enabled": False},
            "podDisruptionBudget": {"enabled": False},
            "serviceAccount": {"create": False},
            "topologySpread": {"enabled": False},
            "image": {"digest": "sha256:" + "a" * 64},
            "fullnameOverride": "scores",
        },
    )
    found["sidecar"] = yaml.safe_load((EXAMPLES / "sidecar/values.yaml").read_text())
    found["sidecar-dashboard"] = merged(found["sidecar"], {"metrics": {"dashboard": True}})
    found["ipv6"] = merged(BASE, {"listen": "::", "service": {"ipFamilyPolicy": "PreferDualStack"}})
    return found


def helm(*arguments, values=None):
    """Runs helm with values on standard input."""
    command = ["helm", *arguments] + (["-f", "-"] if values is not None else [])
    text = json.dumps(values, ensure_ascii=False) if values is not None else None
    # YAML takes JSON but for raw DEL and line separators, and pairs of escapes for one character.
    for raw in "\x7f\u2028":
        text = text and text.replace(raw, f"\\u{ord(raw):04x}")
    return subprocess.run(command, input=text, capture_output=True, text=True)


def render(values, release="shop"):
    """The resources that the chart renders."""
    done = helm("template", release, str(CHART), "--namespace", "serving", values=values)
    assert done.returncode == 0, done.stderr
    return [it for it in yaml.safe_load_all(done.stdout) if it]


def of_kind(resources, kind):
    return [it for it in resources if it["kind"] == kind]


def only(resources, kind):
    (found,) = of_kind(resources, kind)
    return found


def config(resources):
    """The text of the configuration file."""
    for it in of_kind(resources, "ConfigMap"):
        if "hedgerow.toml" in it["data"]:
            return it["data"]["hedgerow.toml"]
    raise AssertionError("no ConfigMap has hedgerow.toml")


def is_core(resource):
    """Whether Kubernetes itself knows the kind."""
    group = resource["apiVersion"].partition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


@functools.cache
def local_schemas(version):
    """A version's schemas with references by file, which kubeconform follows."""
    target = ROOT / ".venv/chart-schemas" / version
    target.mkdir(parents=True, exist_ok=True)
    for kind in ("_definitions", *CORE):
        text = (SCHEMAS / f"v{version}.0-local-strict/{kind}.json").read_text()
        schema = json.loads(text.replace('"/api/_definitions.json#', '"_definitions.json#'))
        del schema["$id"]
        (target / f"{kind}.json").write_text(json.dumps(schema))
    return target


def validate_core(resources, version):
    """Against the schemas of a Kubernetes version, by both validators; unknown fields are errors."""
    core = [it for it in resources if is_core(it)]
    for it in core:
        kubernetes_validate.validate(it, version, strict=True)
    location = f"{local_schemas(version)}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    done = subprocess.run(
        ["kubeconform", "-strict", "-schema-location", location, "-output", "json", "-summary"],
        input=yaml.safe_dump_all(core),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["summary"]["valid"] == len(core), done.stdout
