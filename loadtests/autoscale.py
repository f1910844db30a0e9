#!/usr/bin/env python3
"""Shows that autoscaling reads the latency that clients see: make autoscale-demo.

One real server stands for each of the replicas: it gets the load of all divided by their number. A
real Prometheus scrapes it. At the end of every step the chart's queries are asked (the sliding gauge, the
rows in flight), beside the P95 from the histogram and the client's own record, and the HPA's formula
says how many replicas the next step has. Then nothing is sent, and then the server is gone. Standard library
only; needs `prometheus` and a built server.
"""

import argparse
import bisect
import math
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
STREAM = HERE.parent / "examples/fraud-stream"
sys.path.append(str(STREAM))

from open_loop import Client, quantile
from scaling import Autoscaler
from scrape import Prometheus, shown
from server import Server

LABELS = {"namespace": "prod", "pod": "hedgerow-7c9d-abcde"}
SELECTOR = 'namespace="prod",pod=~"hedgerow-[a-z0-9]+-[a-z0-9]{5}"'
LATENCY = "hedgerow_request_duration_seconds_bucket"


def queries(window_s):
    """What is asked, in milliseconds: adapter and KEDA hand on no more than thousandths of a unit, and
    a thousandth of a second is too coarse. Where nothing was answered histogram_quantile is NaN: `>= 0`
    drops it, and 0 takes its place as long as there is a server; without one there is no value."""

    def p95(by):
        grouped = f"by ({by})" if by else ""
        rates = f'rate({LATENCY}{{{SELECTOR},outcome="ok"}}[{window_s}s])'
        found = f"histogram_quantile(0.95, sum by (le{', ' + by if by else ''}) ({rates}))"
        return found, f"1000 * ({found} >= 0 or 0 * max {grouped}(hedgerow_uptime_seconds{{{SELECTOR}}}))"

    return {
        "bare": f"1000 * {p95('pod')[0]}",
        "pod": p95("pod")[1],
        "all": p95("")[1],
        # What the chart asks, by prometheus-adapter's rule and by KEDA's trigger.
        "adapter": f'1000 * max by (pod) (hedgerow_latency_seconds{{{SELECTOR},quantile="0.95"}})',
        "keda": f'1000 * avg(max by (pod) (hedgerow_latency_seconds{{quantile="0.95",{SELECTOR}}}))',
        "rows": f"sum by (pod) (avg_over_time(hedgerow_rows_in_flight{{{SELECTOR}}}[{window_s}s]))",
    }


SETTINGS = """
workers = 1

[batch]
threads = 1
inline_us_max = 0

[telemetry]
window_s = {window_s}
log_level = "warn"

[drift]
watch = "off"
"""
FEATURES, ROWS = 14, 500
PLAN = (0.3, 0.6, 1.0, 1.0, 2.0, 2.0, 3.0, 0.5, 0.5, 0.5, 0.5)
"""Load of each step, in multiples of what one replica computes at the most."""
STEP_STANDS_FOR_S = 150
TARGET_FACTOR, TARGET_ROWS = 5.0, 2 * ROWS
"""P95 that is aimed at, in multiples of a request's time at the full load; rows in flight, two requests."""


@dataclass
class Step:
    """One line of the table; milliseconds, None where there is no value."""

    load: float
    replicas: int
    client: float
    count: int
    refused: int
    ping: float
    values: dict
    asked: dict = None
    decided: int = None


class Show:
    """The server, its client and its Prometheus."""

    def __init__(self, binary, folder, window_s):
        self.window_s = window_s
        self.queries = queries(window_s)
        self.server = Server(binary, folder, "fraud")
        self.server.add_revision(STREAM / "models/fraud/1")
        self.client = self.scraper = None
        try:
            self.server.start(SETTINGS.format(window_s=window_s))
            address = f"127.0.0.1:{self.server.ports['admin']}"
            self.scraper = Prometheus(folder / "prometheus", {"hedgerow": [address]}, labels=LABELS)
            self.client = Client(self.server.ports["http"], "fraud", FEATURES, ROWS)
            self.capacity = self.client.capacity()
            self.client.start()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.client:
            self.client.stop()
        if self.scraper:
            self.scraper.stop()
        self.server.stop()

    def bounds(self):
        """Upper bounds of the exposed buckets, in milliseconds; there are some once it was scraped."""
        found = self.scraper.query(f"count by (le) ({LATENCY})")
        return sorted(1000 * float(labels["le"]) for labels, _ in found)

    def step(self, load, replicas):
        """The load of a fleet of so many, each with its part, until the windows hold nothing else."""
        if load:
            self.client.set_rate(load * self.capacity / replicas)
        else:
            self.client.drain()
        # A scrape, and a twelfth of the window by which the gauge moves, may be older.
        time.sleep(self.window_s * 14 / 12 + 2)
        end = time.time()
        values = {name: self.scraper.value(query, end) for name, query in self.queries.items()}
        # rate() knows what was answered between the first scrape in its window and the last.
        scrapes = self.scraper.scraped("hedgerow_uptime_seconds", self.window_s, end)
        good, refused, ping = self.client.between(min(scrapes), max(scrapes))
        slowest = quantile(good, 0.95)
        return Step(
            load,
            replicas,
            None if slowest is None else 1000 * slowest,
            len(good),
            refused,
            None if ping is None else 1000 * ping,
            values,
        )

    def gone(self):
        """The values once the server has stopped and was not scraped since."""
        self.client.stop()
        self.server.stop()
        time.sleep(self.window_s + 3)
        values = {name: self.scraper.value(query) for name, query in self.queries.items()}
        return Step(0.0, 0, None, 0, 0, None, values)


def disagreements(step, bounds):
    """How what was read differs from what the client saw, by more than a bucket; empty if it does not.

    A request's time in the server is at most the client's, which has the network, the kernel's queues
    and waking up besides: at most what the longest ping took under the same load.
    """
    wrong = []
    for name in ("pod", "all"):
        value = step.values[name]
        place = bisect.bisect_left(bounds, value)
        below, above = bounds[place - 1] if place else 0.0, bounds[place]
        if above == bounds[-2]:
            # The quantile is in the last bucket, and its value the last bound: it may be more.
            above = math.inf
        if step.client < below or step.client - step.ping > above:
            wrong.append(
                f"{name}: {value:.1f} ms lies in {below:.1f} to {above:.1f}, the client saw "
                f"{step.client:.1f} of which up to {step.ping:.1f} outside the server"
            )
    factor = bounds[1] / bounds[0]
    for name in ("adapter", "keda"):
        if not 1 / factor <= step.values[name] / step.values["pod"] <= factor:
            wrong.append(f"{name}: {step.values[name]:.1f}, from the histogram {step.values['pod']:.1f} ms")
    return wrong


HEADER = (
    f"{'load':>5} {'replicas':>8} {'requests':>8} {'refused':>7} | {'client':>7} {'ping':>5} {'adapter':>7} "
    f"{'KEDA':>7} | {'by pod':>7} {'of all':>7} {'bare':>7} | {'rows':>7} | {'by P95':>6} {'by rows':>7} {'HPA':>4}"
)


def line(step):
    values = {name: shown(value, 1) for name, value in step.values.items()}
    asked = {name: "keep" if wish is None else wish for name, wish in (step.asked or {}).items()}
    return (
        f"{step.load:5.1f} {step.replicas:8} {step.count:8} {step.refused:7} | {shown(step.client, 1):>7} "
        f"{shown(step.ping, 1):>5} {values['adapter']:>7} {values['keda']:>7} | {values['pod']:>7} {values['all']:>7} "
        f"{values['bare']:>7} | {values['rows']:>7} | {asked.get('p95', ''):>6} {asked.get('rows', ''):>7} "
        f"{step.decided if step.decided is not None else '':>4}"
    )


def play(show, plan):
    """The whole show; what disagreed."""
    target_ms = round(1000 / show.capacity * TARGET_FACTOR)
    scaler = Autoscaler({"p95": target_ms, "rows": TARGET_ROWS}, STEP_STANDS_FOR_S)
    replicas, wrong = 1, []
    print(
        f"Load 1 is what one server computes: {show.capacity:.0f} requests of {ROWS:,} rows a second. "
        f"Targets: P95 {target_ms} ms, "
        f"{TARGET_ROWS:,} rows in flight a replica.\nWindows of {show.window_s} s; milliseconds.\n"
    )
    print(HEADER, flush=True)
    for number, load in enumerate((*plan, 0.0)):
        step = show.step(load, replicas)
        values = {"p95": step.values["adapter"], "rows": step.values["rows"]}
        step.asked, step.decided = scaler.decide(number * STEP_STANDS_FOR_S, replicas, values)
        if step.client is not None:
            wrong += [f"load {load}, {replicas} replicas: {it}" for it in disagreements(step, show.bounds())]
        print(line(step), flush=True)
        replicas = step.decided
    step = show.gone()
    moment = (number + 1) * STEP_STANDS_FOR_S
    step.asked, step.decided = scaler.decide(moment, replicas, {"p95": None, "rows": None})
    step.replicas = replicas
    print(line(step) + "  (no server is scraped)")
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=20, help="seconds that are looked back")
    binary = HERE.parent / "target/release/hedgerow"
    parser.add_argument("--binary", type=Path, default=binary)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hedgerow-autoscale-") as folder:
        show = Show(options.binary.resolve(), Path(folder), options.window)
        try:
            wrong = play(show, PLAN)
        finally:
            show.stop()
    for found in wrong:
        print(f"WRONG: {found}")
    print(f"\nWhat is read {'is NOT' if wrong else 'is'} what the client saw, within a bucket.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
