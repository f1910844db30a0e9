"""The examples beside the chart: their schemas, and that the server does what they rest on."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from chart import EXAMPLES, ROOT, combinations, merged, only, render, validate_core
from custom import check_canary, check_kserve, check_pod, check_types
from server import probe


def read(name):
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def test_argo_cd_and_rollouts():
    check_types(read("argocd/application.yaml") + read("rollouts/analysis.yaml"))


def test_the_values_in_the_application_render():
    (application,) = read("argocd/application.yaml")
    source = application["spec"]["source"]
    assert (ROOT / source["path"] / "Chart.yaml").exists()
    resources = render(source["helm"]["valuesObject"], source["helm"]["releaseName"])
    assert only(resources, "Deployment")["metadata"]["name"] == "hedgerow"


def test_flagger():
    (canary,) = read("flagger/canary.yaml")
    check_canary(canary)
    canary["spec"]["analysis"]["stepWeigth"] = 1
    with pytest.raises(AssertionError, match="stepWeigth"):
        check_canary(canary)


def test_kserve_types():
    (runtime,) = read("kserve/runtime.yaml")
    check_kserve(runtime, "V1alpha1ServingRuntime")
    check_pod({key: runtime["spec"][key] for key in ("containers", "volumes")})
    services = read("kserve/service.yaml")
    formats = [it["spec"]["predictor"]["model"]["modelFormat"]["name"] for it in services]
    assert formats == [it["name"] for it in runtime["spec"]["supportedModelFormats"]]
    for it in services:
        check_kserve(it, "V1beta1InferenceService")
        model = it["spec"]["predictor"]["model"]
        assert model["runtime"] == runtime["metadata"]["name"]
        assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    services[0]["spec"]["predictor"]["model"]["storageURI"] = "x"
    with pytest.raises(AssertionError, match="storageURI"):
        check_kserve(services[0], "V1beta1InferenceService")


SAMPLES = {"fraud": "fraud-xgb", "churn": "churn-lgbm", "cancer": "cancer-catboost"}


def test_kserves_container_serves_what_its_services_name(server, tmp_path):
    """The runtime's arguments and variables, with each service's folder as /mnt/models."""
    (runtime,) = read("kserve/runtime.yaml")
    (container,) = runtime["spec"]["containers"]
    env = {it["name"]: it["value"] for it in container["env"]}
    env |= {"HEDGEROW__SERVER__DRAIN_DELAY_MS": "0", "HEDGEROW__SERVER__ADMIN": "127.0.0.1:0"}
    for service in read("kserve/service.yaml"):
        name = service["metadata"]["name"]
        # What storageUri names: a folder of revisions, or one model's.
        ends_in_revision = service["spec"]["predictor"]["model"]["storageUri"].endswith(("/1", "/3"))
        place = tmp_path / name if ends_in_revision else tmp_path / name / "3"
        shutil.copytree(ROOT / "models" / SAMPLES[name] / "1", place)
        arguments = [re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", it) for it in container["args"]]
        said = {"/mnt/models": str(tmp_path / name), "{{.Name}}": name}
        mounted = [said.get(it, it) for it in arguments]
        assert len(set(mounted) - set(arguments)) == 2
        running = server(mounted, env)
        for kind in ("startupProbe", "readinessProbe"):
            running.ask("HTTP", container[kind]["httpGet"]["path"])
        there = env | {"HEDGEROW__SERVER__ADMIN": running.addresses["admin"]}
        assert probe(container["livenessProbe"], env=there) == 0
        assert json.loads(running.ask("HTTP", f"/v2/models/{name}"))["versions"] == [
            "1" if ends_in_revision else "3"
        ]
        assert running.stop() == 0


def test_the_verdict_is_where_argo_and_flagger_look(server, tmp_path):
    (template,) = read("rollouts/analysis.yaml")
    (metric,) = template["spec"]["metrics"]
    web = metric["provider"]["web"]
    url = web["url"].replace("{{args.slot}}", "fraud-xgb")
    path = url.removeprefix("{{args.admin}}")
    assert path != url
    arguments = ["serve", str(ROOT / "models")]
    for listener in ("http", "grpc", "admin"):
        arguments += [f"--{listener}", "127.0.0.1:0"]
    env = {
        "HEDGEROW__ROLLOUT__RECORD": "true",
        "HEDGEROW__JOURNAL__STORE": str(tmp_path / "journal"),
        "HEDGEROW__MODELS__NATIVE_DIR": str(ROOT / "native"),
    }
    running = server(arguments, env)
    assert web["jsonPath"] == "{$.data}"
    result = json.loads(running.ask("admin", path))["data"]
    for condition in (metric["successCondition"], metric["failureCondition"]):
        for field in re.findall(r"result\.(\w+)", condition):
            assert field in result
    # No challenger: neither condition holds, so the analysis is inconclusive and the rollout waits.
    assert result["decision"] == "hold"
    assert result["ok"] is True
    # As Flagger posts to its webhooks: nothing is proven, nothing has to go back.
    (canary,) = read("flagger/canary.yaml")
    hooks = canary["spec"]["analysis"]["webhooks"]
    assert [it["type"] for it in hooks] == ["confirm-promotion", "rollback"]
    for hook in hooks:
        body = {"name": "app", "namespace": "shop", "phase": "Progressing", "checksum": "1"}
        body["metadata"] = {key: "fraud-xgb" for key in hook["metadata"]}
        path = hook["url"].removeprefix("http://hedgerow-admin.serving.svc:8082")
        assert running.post("admin", path, body) == 409


@pytest.fixture(scope="module")
def sidecar():
    # Distributions without a package of kubectl have the command alone.
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    done = subprocess.run([*command, EXAMPLES / "sidecar"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_the_sidecar_fits_the_schema(sidecar):
    for version in ("1.29", "1.37"):
        validate_core(sidecar, version)
    pod = only(sidecar, "Deployment")["spec"]["template"]["spec"]
    # The container that was there is still there.
    assert pod["containers"][0]["image"] == "registry.example/app:1.0.0"
    rendered = render(yaml.safe_load((EXAMPLES / "sidecar/values.yaml").read_text()), "hedgerow")
    configs = [it["configMap"]["name"] for it in pod["volumes"] if "configMap" in it]
    assert configs == [it["metadata"]["name"] for it in rendered]


def test_the_sidecar_serves_on_loopback_and_sockets(server, sidecar, tmp_path):
    """The rendered configuration with its folders in a temporary one; the probe's command; a socket."""
    pod = only(sidecar, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    values = yaml.safe_load((EXAMPLES / "sidecar/values.yaml").read_text())
    (config,) = render(values, "hedgerow")
    text = re.sub(r'"127\.0\.0\.1:\d+"', '"127.0.0.1:0"', config["data"]["hedgerow.toml"])
    mounts = [it["mountPath"] for it in container["volumeMounts"] if "subPath" not in it]
    for it in [*mounts, "/etc/hedgerow"]:
        (tmp_path / it[1:]).mkdir(parents=True)
    text = re.sub(f'"({"|".join(mounts)})', rf'"{tmp_path}\1', text)
    shutil.copytree(ROOT / "models/fraud-xgb", tmp_path / "models/fraud-xgb")
    (tmp_path / "etc/hedgerow/hedgerow.toml").write_text(text)
    (mount,) = [it for it in container["volumeMounts"] if "subPath" in it]
    assert mount["mountPath"] == container["args"][-1] and mount["subPath"] in config["data"]
    arguments = [it.replace("/etc", f"{tmp_path}/etc") for it in container["args"]]
    running = server(arguments)
    assert running.addresses["HTTP"].startswith("127.0.0.1:")
    socket = tmp_path / "run/hedgerow/http.sock"
    asked = subprocess.run(
        ["curl", "-sf", "--unix-socket", socket, "http://localhost/v2/models/fraud-xgb/ready"],
        capture_output=True,
    )
    assert asked.returncode == 0
    env = {"HEDGEROW__SERVER__ADMIN": running.addresses["admin"]}

    def codes():
        for kind in ("startupProbe", "livenessProbe"):
            yield probe(container[kind], {"/etc": f"{tmp_path}/etc"}, env)

    assert list(codes()) == [0, 0]
    assert running.stop() == 0
    assert 0 not in codes()


def queries():
    """Each query that something scales on, with its name: KEDA's, and the adapter's as it expands them."""
    for slot in ("", "fraud"):
        values = merged(combinations()["pvc-serviceMonitor-keda"], {"autoscaling": {"slot": slot}})
        scaled = only(render(values), "ScaledObject")
        for number, trigger in enumerate(scaled["spec"]["triggers"]):
            if trigger["type"] == "prometheus":
                yield f"keda{number}{slot}", trigger["metadata"]["query"]
    (adapter,) = read("prometheus-adapter-values.yaml")
    for rule in adapter["rules"]["custom"]:
        series = re.match(r"\w+", rule["seriesQuery"])[0]
        expanded = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.GroupBy>>", "pod")
        matchers = 'namespace="serving",pod=~"shop-hedgerow-7c9d-a+|shop-hedgerow-7c9d-b+"'
        yield rule.get("name", {}).get("as", series), expanded.replace("<<.LabelMatchers>>", matchers)


def test_what_is_scaled_on_is_measured(server):
    arguments = ["serve", str(ROOT / "models")]
    for listener in ("http", "grpc", "admin"):
        arguments += [f"--{listener}", "127.0.0.1:0"]
    running = server(arguments, {"HEDGEROW__MODELS__NATIVE_DIR": str(ROOT / "native")})
    metrics = running.ask("admin", "/metrics")
    for name, query in queries():
        for series in re.findall(r"hedgerow_\w+", query):
            assert re.search(rf"^{series}\{{", metrics, re.MULTILINE), f"{name}: {series}"
    assert re.search(r'^hedgerow_latency_seconds\{.*quantile="0\.95".*\} 0', metrics, re.MULTILINE)
    hpa = only(render(combinations()["pvc-serviceMonitor-adapter"]), "HorizontalPodAutoscaler")
    asked = {it["pods"]["metric"]["name"] for it in hpa["spec"]["metrics"] if it["type"] == "Pods"}
    assert asked == {name for name, _ in queries() if name.startswith("hedgerow_")}


def test_scaling_is_told_a_number_while_a_pod_is_scraped(tmp_path):
    """By promtool: with load, without requests, and without any pod, which is no value and no 0."""
    expressions = dict(queries())

    def series(latencies, queued):
        for pod, latency in latencies.items():
            labels = f'namespace="serving",pod="shop-hedgerow-7c9d-{pod * 5}"'
            for slot, value in latency.items():
                yield f'hedgerow_latency_seconds{{{labels},slot="{slot}",quantile="0.95"}}', value
                yield f'hedgerow_latency_seconds{{{labels},slot="{slot}",quantile="0.99"}}', 9
            yield f"hedgerow_rows_in_flight{{{labels}}}", queued
        # Somebody else's: another namespace, Flagger's primary, another release.
        for pod in ("primary-7c9d-aaaaa", "fraud-7c9d-aaaaa"):
            yield f'hedgerow_rows_in_flight{{namespace="serving",pod="shop-hedgerow-{pod}"}}', 7
        yield 'hedgerow_latency_seconds{namespace="other",pod="x-y",slot="z",quantile="0.95"}', 7
        yield 'hedgerow_rows_in_flight{namespace="other",pod="x-y"}', 7

    def one(value):
        return [] if value is None else [{"labels": "{}", "value": value}]

    def each(a, b):
        return [{"labels": '{pod="shop-hedgerow-7c9d-aaaaa"}', "value": a}, {"labels": '{pod="shop-hedgerow-7c9d-bbbbb"}', "value": b}]

    busy = {"a": {"fraud": 0.004, "churn": 0.008}, "b": {"fraud": 0.002, "churn": 0.001}}
    idle = {pod: dict.fromkeys(slots, 0) for pod, slots in busy.items()}
    cases = [
        (series(busy, 32), (5, 64), (3, 64), each(8, 2), each(32, 32)),
        (series(idle, 0), (0, 0), (0, 0), each(0, 0), each(0, 0)),
        (series({}, 0), (None, None), (None, None), [], []),
    ]
    tests = []
    for given, all_slots, one_slot, p95, rows in cases:
        expected = {
            "keda1": one(all_slots[0]),
            "keda2": one(all_slots[1]),
            "keda1fraud": one(one_slot[0]),
            "keda2fraud": one(one_slot[1]),
            "hedgerow_p95_milliseconds": p95,
            "hedgerow_rows_in_flight": rows,
        }
        assert expected.keys() == expressions.keys()
        tests.append(
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": f"{value}x8"} for name, value in given],
                "promql_expr_test": [
                    {"expr": expressions[name], "eval_time": "2m", "exp_samples": samples}
                    for name, samples in expected.items()
                ],
            }
        )
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
