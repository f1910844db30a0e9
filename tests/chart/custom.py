"""Checks custom resources against the types of the projects that they belong to."""

import ast
import json
import pathlib
import re
import subprocess
import sysconfig

import kubernetes_validate
import yaml
from chart import ROOT, SCHEMAS

TYPES = ROOT / ".venv/chart-types"
KSERVE = pathlib.Path(sysconfig.get_paths()["purelib"]) / "kserve/models"

# Kind and the module of its type, generated from the project's own Go types.
MODULES = {
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    "PrometheusRule": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    "Application": "@kubernetes-models/argo-cd/argoproj.io/v1alpha1",
    "AnalysisTemplate": "@kubernetes-models/argo-rollouts/argoproj.io/v1alpha1",
}


def check_types(resources):
    """By TypeScript: a missing, an unknown and a mistyped field are errors."""
    lines = [
        f'import type {{ I{kind} }} from "{MODULES[kind]}/{kind}";'
        for kind in sorted({it["kind"] for it in resources})
    ]
    lines += [
        f"export const r{number}: I{it['kind']} = {json.dumps(it)};"
        for number, it in enumerate(resources)
    ]
    source = TYPES / "resources.ts"
    source.write_text("\n".join(lines))
    options = "--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler"
    done = subprocess.run(
        [TYPES / "node_modules/.bin/tsc", *options.split(), "--target", "esnext", source],
        cwd=TYPES,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def described(name):
    """Fields and types of one of KServe's types, as its SDK describes them."""
    file = KSERVE / (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() + ".py")
    (model,) = [it for it in ast.parse(file.read_text()).body if isinstance(it, ast.ClassDef)]
    tables = {
        it.targets[0].id: ast.literal_eval(it.value)
        for it in model.body
        if isinstance(it, ast.Assign) and it.targets[0].id in ("openapi_types", "attribute_map")
    }
    return {json_name: tables["openapi_types"][field] for field, json_name in tables["attribute_map"].items()}


def core_fields(name):
    """Fields of one of Kubernetes' own types."""
    definitions = json.loads((SCHEMAS / "v1.37.0-local-strict/_definitions.json").read_text())
    (found,) = [
        it
        for full, it in definitions["$defs"].items()
        if full.endswith(f".v1.{name}") and full.startswith("io.k8s.api.core")
    ]
    return found["properties"]


def check_kserve(value, kind, where=""):
    """`value` against a type of KServe's SDK such as "V1beta1InferenceService"."""
    where = where or kind
    if kind.startswith("list["):
        assert isinstance(value, list), where
        for number, it in enumerate(value):
            check_kserve(it, kind[5:-1], f"{where}[{number}]")
    elif kind.startswith("dict("):
        assert isinstance(value, dict), where
    elif kind in ("str", "int", "bool", "float"):
        assert type(value).__name__ == kind, f"{where}: {value!r} is no {kind}"
    elif kind == "V1ObjectMeta":
        assert value["name"], where
    elif (KSERVE / (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower() + ".py")).exists():
        fields = described(kind)
        for field, it in value.items():
            assert field in fields, f"{where}: no field {field}"
            check_kserve(it, fields[field], f"{where}.{field}")
    elif kind == "V1Container":
        check_pod({"containers": [value]})
    else:
        # A type of Kubernetes' own, such as V1Volume.
        unknown = set(value) - set(core_fields(kind.removeprefix("V1")))
        assert not unknown, f"{where}: {unknown}"


def check_pod(spec):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.37", strict=True)


def check_canary(resource):
    """By Flagger's own Go types, see tests/chart/canary."""
    done = subprocess.run(["canary"], input=yaml.safe_dump(resource), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
