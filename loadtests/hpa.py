#!/usr/bin/env python3
"""Shows what Kubernetes' own HPA controller does with the chart: make hpa-demo.

A real API server has the chart's Deployment and HPA, installed by helm; the real controllers make the
pods, and read the metrics by the API server. Nothing runs the pods: one real server stands for each,
and gets the load of all divided by their number; a real Prometheus scrapes it as each of them. Every decision is held against scaling.py, which must decide the same. Standard library
only; scripts/hpa.sh has what it needs.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.append(str(ROOT / "examples/fraud-stream"))

from autoscale import FEATURES, ROWS, SETTINGS, STREAM, TARGET_FACTOR, TARGET_ROWS
from controlplane import MERGE, ControlPlane, Pods
from custom_metrics import CustomMetrics
from open_loop import Client
from scaling import STABILIZATION_S, Autoscaler
from scrape import Prometheus
from server import Server

NAMESPACE, RELEASE = "prod", "hedgerow"
HPA = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{RELEASE}"
P95, IN_FLIGHT, CPU = "hedgerow_p95_milliseconds", "hedgerow_rows_in_flight", "cpu"
ADAPTER = ROOT / "helm/examples/prometheus-adapter-values.yaml"
# The status is written after the last line of a look.
STATUS_AFTER_S = 1
FAILED = "failed to compute desired number of replicas"
RULES_CHART = {
    "Chart.yaml": "{apiVersion: v2, name: rules, version: 0.0.0}",
    "templates/rules.yaml": '{{ toJson (dict "rules" .Values.rules.custom) }}',
}
LOOK_EVERY_S = 15
# Of each part of the show: loads, in multiples of what one replica computes at the most, and for how many
# looks of the controller.
WITH_CPU = ((0.3, 3), (1.0, 5), (3.0, 4), (0.5, 4))
WITHOUT_CPU = ((0.5, 9), (0.0, 3))
UNSEEN = ((0.0, 3),)


@dataclass
class Look:
    """One look of the controller, as it logged it. None where nothing was decided."""

    moment: float
    wish: int = None
    decided: int = None


class Looks:
    """The controller's looks, read from its log while it grows."""

    def __init__(self, path):
        self.log = path.open()
        self.rest = ""
        self.wish = None

    def new(self):
        """Those that were finished since the last call."""
        lines = (self.rest + self.log.read()).split("\n")
        self.rest = lines.pop()
        return [look for line in lines if line.startswith("{") and (look := self.read(json.loads(line)))]

    def read(self, entry):
        moment, words = entry["ts"] / 1000, entry.get("msg", "")
        if words == "Proposing desired replicas":
            self.wish = entry["desiredReplicas"]
        elif words in ("Decided not to scale", "Successfully rescaled"):
            wish, self.wish = self.wish, None
            return Look(moment, wish, entry["desiredReplicas"])
        elif FAILED in entry.get("err", ""):
            return Look(moment)
        return None


class Show:
    """Everything that runs."""

    def __init__(self, options, folder):
        self.folder, self.helm = folder, options.helm
        self.started = []
        try:
            self.server = self.begin(Server(options.binary.resolve(), folder, "fraud"))
            self.server.add_revision(STREAM / "models/fraud/1")
            self.server.start(SETTINGS.format(window_s=options.window))
            self.client = self.begin(Client(self.server.ports["http"], "fraud", FEATURES, ROWS))
            self.capacity = self.client.capacity()
            self.client.start()
            self.plane = self.begin(ControlPlane(options.kube, folder / "plane"))
            self.plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
            self.pods = self.begin(Pods(self.plane, NAMESPACE))
            jobs = [{"job_name": "pods", "file_sd_configs": [{"files": [str(self.pods.targets)]}]}]
            self.scraper = self.begin(Prometheus(folder / "prometheus", {}, more=jobs))
            self.metrics = self.begin(CustomMetrics(self.plane, self.scraper, self.rules()))
            self.metrics.register(NAMESPACE)
            self.targets = {
                CPU: 70,
                P95: max(1, round(1000 / self.capacity * TARGET_FACTOR)),
                IN_FLIGHT: TARGET_ROWS,
            }
            self.looks = Looks(self.plane.log("controller-manager"))
            self.install()
        except BaseException:
            self.stop()
            raise

    def begin(self, part):
        self.started.append(part)
        return part

    def stop(self):
        while self.started:
            self.started.pop().stop()

    def rules(self):
        """The adapter's, read by helm, which knows YAML."""
        chart = self.folder / "rules"
        for path, text in RULES_CHART.items():
            (chart / path).parent.mkdir(parents=True, exist_ok=True)
            (chart / path).write_text(text)
        shown = self.run_helm("template", chart, "--values", ADAPTER)
        return json.loads(shown.splitlines()[-1])["rules"]

    def install(self):
        values = {
            "image.repository": "hedgerow",
            "models.pvc.claimName": "models",
            "ports.admin": self.server.ports["admin"],
            "admin.exposed": "true",
            "metrics.scrape": "annotations",
            "autoscaling.kind": "adapter",
            "autoscaling.minReplicas": 1,
            "autoscaling.targets.p95Milliseconds": self.targets[P95],
            "autoscaling.targets.rowsInFlight": self.targets[IN_FLIGHT],
        }
        words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        place = ["--kubeconfig", self.plane.kubeconfig, "--namespace", NAMESPACE]
        self.run_helm("install", RELEASE, ROOT / "helm/hedgerow", *place, *words)

    def run_helm(self, *words):
        own = {f"HELM_{it}_HOME": str(self.folder / "helm") for it in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [self.helm, *map(str, words)], env={**os.environ, **own}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"helm {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def next_look(self, load):
        """Waits for the controller's next look; meanwhile each pod gets its part of the load."""
        while not (found := self.looks.new()):
            self.client.set_rate(load * self.capacity / max(1, self.pods.running))
            time.sleep(0.1)
        time.sleep(STATUS_AFTER_S)
        return found[-1], self.plane.ask("GET", HPA)

    def without_cpu(self, stabilization_s):
        """Takes CPU out of the HPA, and has decreases wait for so long."""
        metrics = self.plane.ask("GET", HPA)["spec"]["metrics"]
        spec = {
            "metrics": [it for it in metrics if it["type"] == "Pods"],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": stabilization_s}},
        }
        self.plane.ask("PATCH", HPA, {"spec": spec}, MERGE)


def told(status):
    """What the HPA's status has of each metric, in thousandths."""
    found = {}
    for metric in status.get("currentMetrics") or []:
        if pods := metric.get("pods"):
            found[pods["metric"]["name"]] = thousandths(pods["current"]["averageValue"])
    return found


def thousandths(quantity):
    for suffix, factor in (("m", 1), ("k", 1_000_000), ("", 1000)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor


def why(status):
    """What holds the controller, in its own words."""
    conditions = {it["type"]: it for it in status.get("conditions", [])}
    for kind, held in (("ScalingActive", "False"), ("ScalingLimited", "True"), ("AbleToScale", "True")):
        if kind in conditions and conditions[kind]["status"] == held:
            return conditions[kind]["reason"]
    return ""


class Judge:
    """Holds each look of the controller against scaling.py."""

    def __init__(self, targets):
        self.scaler = Autoscaler(dict(targets))
        self.begun = None
        self.looks = 0
        self.missed = {"an increase", "a decrease", "a decrease that a missing metric stopped"}
        self.wrong = []

    def look(self, load, look, hpa, answers):
        """The line of the table."""
        self.begun = self.begun or look.moment
        self.looks += 1
        status = hpa["status"]
        current = status["currentReplicas"]
        means = {name: sum(it.values()) // len(it) for name, it in answers.items() if it}
        values = {name: means[name] / 1000 if name in means else None for name in self.scaler.targets}
        measured = {name: len(it) for name, it in answers.items()}
        asked, decided = self.scaler.decide(look.moment, current, values, measured)
        found = current if look.decided is None else look.decided
        known = [it for it in asked.values() if it is not None]
        self.see(current, found, len(known) < len(asked) and max(known, default=current) < current)
        at = f"{look.moment - self.begun:.0f} s"
        if told(status) != means:
            self.wrong.append(f"{at}: the HPA read {told(status)}, it was told {means}")
        if found != decided:
            self.wrong.append(f"{at}: the controller set {found}, scaling.py {decided}")
        if look.wish is not None and look.wish != max(known, default=None):
            self.wrong.append(f"{at}: the controller wished {look.wish}, scaling.py {asked}")
        return line(at, load, current, told(status), asked, decided, found, why(status))

    def see(self, current, found, stopped):
        if found > current:
            self.missed.discard("an increase")
        if found < current:
            self.missed.discard("a decrease")
        if stopped and found == current:
            self.missed.discard("a decrease that a missing metric stopped")

    def verdict(self):
        """What is wrong, and what the show was for and did not show."""
        return [*self.wrong, *(f"there was not {it}" for it in sorted(self.missed))]


HEADER = (
    f"{'time':>6} {'load':>5} {'pods':>5} | {'P95':>8} {'rows':>8} | {'by P95':>6} {'by rows':>7} "
    f"{'computed':>8} | {'HPA':>4}  its reason"
)


def line(at, load, current, values, asked, decided, found, reason):
    shown = (P95, IN_FLIGHT)
    p95, rows = (f"{values[it] / 1000:.1f}" if it in values else "none" for it in shown)
    by_p95, by_rows = ("keep" if asked[it] is None else asked[it] for it in shown)
    return (
        f"{at:>6} {load:5.1f} {current:5} | {p95:>8} {rows:>8} | {by_p95:>6} {by_rows:>7} {decided:8} | "
        f"{found:4}  {reason}"
    )


def play(show, stabilization_s):
    """The whole show; what disagreed."""
    judge = Judge(show.targets)

    def part(says, loads):
        print(f"\n{says}\n{HEADER}", flush=True)
        for load, looks in loads:
            for _ in range(looks):
                look, hpa = show.next_look(load)
                print(judge.look(load, look, hpa, show.metrics.answers), flush=True)

    print(
        f"Load 1 is what one server computes: {show.capacity:.0f} requests of {ROWS:,} rows a second. "
        f"Targets: P95 {show.targets[P95]} ms, {TARGET_ROWS:,} rows in flight a replica."
    )
    part("The chart as it is. CPU is one of its metrics, and nothing serves it.", WITH_CPU)
    show.without_cpu(stabilization_s)
    judge.scaler.targets.pop(CPU)
    judge.scaler.stabilization_s = stabilization_s
    waits = f"a decrease waits {stabilization_s} s (the chart: {STABILIZATION_S})"
    waiting = (WITHOUT_CPU[0][0], stabilization_s // LOOK_EVERY_S)
    part(f"CPU is taken out of the HPA, and {waits}.", (waiting, *WITHOUT_CPU))
    show.client.drain()
    show.server.stop()
    part("The server is gone, and no pod is scraped.", UNSEEN)
    return judge


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=20, help="telemetry.window_s of the server")
    parser.add_argument("--stabilization", type=int, default=60, help="seconds; the chart has 300")
    binary = ROOT / "target/release/hedgerow"
    parser.add_argument("--binary", type=Path, default=binary)
    parser.add_argument("--kube", type=Path, default=ROOT / ".venv/go/bin/kube")
    parser.add_argument("--helm", type=Path, default=ROOT / ".venv/go/bin/helm")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hedgerow-hpa-") as folder:
        show = Show(options, Path(folder))
        try:
            judge = play(show, options.stabilization)
        finally:
            show.stop()
    wrong = judge.verdict()
    for found in wrong:
        print(f"WRONG: {found}")
    print(f"\nThe controller decided in {judge.looks} looks {'NOT ' if wrong else ''}what scaling.py computes.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
