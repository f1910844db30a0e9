"""Every combination of the chart's switches is what Kubernetes and the operators take."""

import hashlib
import re

import pytest
import yaml
from chart import (
    BASE,
    CHART,
    IMAGE_VOLUME,
    VERSIONS,
    combinations,
    config,
    helm,
    is_core,
    merged,
    of_kind,
    only,
    render,
    validate_core,
)
from custom import check_types


def pod_of(resources):
    return only(resources, "Deployment")["spec"]["template"]["spec"]


def test_lint_is_content():
    for name in ("defaults", "sidecar", "copy-serviceMonitor-keda-everything"):
        done = helm("lint", "--strict", str(CHART), values=combinations()[name])
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_switches_are_all_there(rendered):
    assert len(rendered) > 70
    kinds = {it["kind"] for resources in rendered.values() for it in resources}
    assert kinds >= {
        "ConfigMap",
        "Deployment",
        "Service",
        "ServiceAccount",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "ScaledObject",
        "ServiceMonitor",
    }
    rules = (CHART / "files/rules.yaml").exists()
    assert ("PrometheusRule" in kinds) == rules


@pytest.mark.parametrize("version", VERSIONS)
def test_core_resources_fit_the_schemas(rendered, version):
    everything = []
    for name, resources in rendered.items():
        if not name.startswith("image-") or version in IMAGE_VOLUME:
            everything += resources
    # Equal ones of different combinations are checked once.
    distinct = {yaml.safe_dump(it): it for it in everything}
    validate_core(list(distinct.values()), version)


def test_custom_resources_fit_their_types(rendered):
    custom = [it for resources in rendered.values() for it in resources if not is_core(it)]
    distinct = {yaml.safe_dump(it): it for it in custom}
    assert len(distinct) >= 3
    check_types(list(distinct.values()))


def test_the_schemas_are_not_blind():
    """The validators see what they are there to see."""
    resources = render(BASE)
    pod_of(resources)["containers"][0]["livenessProbe"]["periodSecond"] = 1
    with pytest.raises(Exception, match="periodSecond"):
        validate_core(resources, "1.35")
    keda = render(combinations()["pvc-serviceMonitor-keda"])
    scaled = only(keda, "ScaledObject")
    scaled["spec"]["triggerz"] = []
    with pytest.raises(AssertionError, match="triggerz"):
        check_types([scaled])
    del scaled["spec"]["triggerz"], scaled["spec"]["triggers"]
    with pytest.raises(AssertionError, match="triggers"):
        check_types([scaled])


def test_a_pod_has_time_to_drain():
    def grace(server):
        return pod_of(render(merged(BASE, {"config": {"server": server}})))[
            "terminationGracePeriodSeconds"
        ]

    # Delay and timeout, by the server's defaults where they are null, and the rest of stopping.
    assert grace({}) == 5 + 20 + 25
    assert grace({"drain_delay_ms": 0, "drain_timeout_ms": 0}) == 25
    assert grace({"drain_delay_ms": 1500, "drain_timeout_ms": 60000}) == 62 + 25
    assert grace({"drain_delay_ms": None, "drain_timeout_ms": None}) == 0 + 20 + 25
    app = (CHART.parents[1] / "src/app.rs").read_text()
    limits = [int(it) for it in re.findall(r"Duration::from_secs\((\d+)\)", app)]
    assert len(limits) >= 3
    assert sum(limits) < 25, "stopping takes longer now: templates/deployment.yaml"


def test_selectors_and_ports_meet(rendered):
    for name, resources in rendered.items():
        if name.startswith("sidecar"):
            assert {it["kind"] for it in resources} == {"ConfigMap"}
            continue
        template = only(resources, "Deployment")["spec"]["template"]
        labels = template["metadata"]["labels"]
        (container,) = template["spec"]["containers"]
        ports = {it["name"] for it in container["ports"]}
        for service in of_kind(resources, "Service"):
            assert service["spec"]["selector"].items() <= labels.items()
            assert {it["targetPort"] for it in service["spec"]["ports"]} <= ports
        for kind in ("NetworkPolicy", "PodDisruptionBudget"):
            for it in of_kind(resources, kind):
                selector = it["spec"].get("podSelector") or it["spec"]["selector"]
                assert selector["matchLabels"].items() <= labels.items()
        for monitor in of_kind(resources, "ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            (service,) = [
                it for it in of_kind(resources, "Service") if wanted <= it["metadata"]["labels"].items()
            ]
            assert [it["name"] for it in service["spec"]["ports"]] == ["admin"]
        volumes = {it["name"] for it in template["spec"]["volumes"]}
        assert volumes == {it["name"] for it in container["volumeMounts"]}
        digest = hashlib.sha256(config(resources).strip().encode()).hexdigest()
        assert template["metadata"]["annotations"]["checksum/config"] == digest


def test_no_container_has_rights_that_it_does_not_need(rendered):
    for name, resources in rendered.items():
        if name.startswith("sidecar"):
            continue
        pod = pod_of(resources)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_admin_port_is_closed_unless_namespaces_are_named(rendered):
    def admin_rules(resources):
        policy = only(resources, "NetworkPolicy")
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        return [
            rule
            for rule in policy["spec"]["ingress"]
            if "ports" not in rule or any(it["port"] == "admin" for it in rule["ports"])
        ]

    closed = rendered["defaults"]
    assert 'admin = "127.0.0.1:8082"' in config(closed)
    assert admin_rules(closed) == []
    assert len(of_kind(closed, "Service")) == 1
    opened = rendered["pvc-serviceMonitor-none"]
    assert 'admin = "0.0.0.0:8082"' in config(opened)
    (rule,) = admin_rules(opened)
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring", "argo-rollouts"]
    # Exposed, and nobody named: still nobody is let in.
    nobody = render(merged(BASE, {"admin": {"exposed": True}}))
    assert admin_rules(nobody) == []


def test_who_sets_the_replicas(rendered):
    for name, resources in rendered.items():
        if name.startswith("sidecar"):
            continue
        scaled = of_kind(resources, "HorizontalPodAutoscaler") + of_kind(resources, "ScaledObject")
        deployment = only(resources, "Deployment")
        assert ("replicas" in deployment["spec"]) == (not scaled), name
        for it in scaled:
            assert it["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_names_stay_within_what_kubernetes_takes():
    """Also those that are made of them: a pod's, and KEDA's autoscaler's."""
    for values, release in (({}, "r" * 53), ({"fullnameOverride": "n" * 46}, "x")):
        for kind in ("cpu", "keda"):
            scaled = merged(combinations()[f"pvc-serviceMonitor-{kind}"], values)
            resources = render(scaled, release)
            names = {(it["kind"], it["metadata"]["name"]) for it in resources}
            assert len(names) == len(resources)
            assert all(len(name) <= 63 for _, name in names)
            name = only(resources, "Deployment")["metadata"]["name"]
            assert len(f"{name}-7c9d8b6f5d-x4x9z") == len(f"keda-hpa-{name}") + 8 == 63
            for it in of_kind(resources, "ScaledObject"):
                query = it["spec"]["triggers"][1]["metadata"]["query"]
                (pattern,) = re.findall(r'pod=~"(.*?)"', query)
                assert re.fullmatch(pattern, f"{name}-7c9d8b6f5d-x4x9z")


def test_a_pods_life_is_asked_on_the_admin_port(rendered):
    """By a command, with the file as it was when the container started; traffic comes by the public port."""
    for name, resources in rendered.items():
        if name.startswith("sidecar"):
            continue
        (container,) = pod_of(resources)["containers"]
        file = container["args"][-1]
        command = container["livenessProbe"]["exec"]["command"]
        assert command == ["hedgerow", "health", "--alive", "--config", file]
        (mount,) = [it for it in container["volumeMounts"] if it["name"] == "config"]
        assert (mount["mountPath"], mount["subPath"]) == (file, "hedgerow.toml")
        for kind in ("startupProbe", "readinessProbe"):
            assert container[kind]["httpGet"]["port"] == "http"


def test_a_service_of_both_families(rendered):
    policies = {
        name: only(resources, "Service")["spec"].get("ipFamilyPolicy")
        for name, resources in rendered.items()
        if name in ("defaults", "ipv6")
    }
    assert policies == {"defaults": None, "ipv6": "PreferDualStack"}
