"""`make bench-tails`: Hedgerow against itself, undisturbed and disturbed, and under overload.

Windows alternate (undisturbed, disturbed, undisturbed, …), so that a slow spell of the machine hits
both. What shadow traffic and the journal cost is in `sides`: servers that differ in one thing each.
Options: --quick, --seconds S (per window), --pairs N, --cases A,B (parts of names).
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable

import numpy as np

import places  # noqa: F401, I001  Makes the engines' modules importable: before them.

import bodies
import cargo
import disturbances
import grown
import journals
import machine
import overload
import plan
import process
import rounds
import servers
import shadow
import sides
import sides_table
import table
import train
import windows

SLOT = plan.MAIN
CONNECTIONS = sides.CONNECTIONS
SHARE = sides.SHARE
WARMUP = sides.WARMUP
TINY_SLOTS = 100
CHURNED_ROWS = 64
KEPT_BYTES = 65_536
NEEDED = ["xgb-100x6", "xgb-500x8"]
# Only the large model grows from it, and it takes the longest to train.
LARGE, LARGE_NEEDS = "large-model", ["lgb-1000x63"]


@dataclasses.dataclass(frozen=True)
class Case:
    """A disturbance, and the server that it disturbs."""

    name: str
    title: str
    # A step, and seconds between two; see disturbances.Disturbance.
    step: Callable
    every_s: float = 0.0
    # Further models, by slot: functions that make their files.
    models: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    # Where the difference is a setting: both servers are disturbed, and one of them has this.
    setting: dict = dataclasses.field(default_factory=dict)


def cases(rows):
    main = train.model_file(SLOT)
    watched = {"HEDGEROW__MODELS__SETTLE_MS": "0", "HEDGEROW__MODELS__POLL_INTERVAL_MS": "20"}
    many = {f"tiny-{number}": grown.tiny for number in range(TINY_SLOTS)}
    many["wide"] = grown.wide
    cache = {"HEDGEROW__CACHE__CAPACITY_BYTES": str(KEPT_BYTES)}
    return [
        Case(
            *("swaps", "a new revision twice a second", disturbances.swap(SLOT, main), 0.5),
            environment=watched,
        ),
        Case(
            *(LARGE, "a 100 MB model loaded and unloaded in another slot"),
            disturbances.load_and_unload("large"),
            models={"large": grown.large},
        ),
        Case(
            *("cache", "a cache of 64 KiB against none, 6,400 other rows a second beside"),
            *(disturbances.churn(SLOT, rows, CHURNED_ROWS), 0.01),
            setting=cache,
        ),
        Case(
            *("metrics-1", "/metrics once a second, 102 slots, one of 1,200 features"),
            *(disturbances.scrape, 1.0, many),
        ),
        Case(
            *("metrics-10", "/metrics ten times a second, 102 slots, one of 1,200 features"),
            *(disturbances.scrape, 0.1, many),
        ),
        Case(
            *("big-json", "10,000 rows of 30 as JSON in a loop"),
            disturbances.big_request(SLOT, rows.shape[1]),
        ),
        Case(
            *("big-binary", "10,000 rows of 30 as a binary tensor in a loop"),
            disturbances.big_request(SLOT, rows.shape[1], binary=True),
        ),
        Case(
            *("big-json-100", "10,000 rows of 100 as JSON in a loop"),
            disturbances.big_request("hundred", grown.HUNDRED_FEATURES),
            models={"hundred": grown.hundred},
        ),
    ]


@dataclasses.dataclass
class Measured:
    """A case in one kind of loop."""

    case: Case
    loop: str
    rate: float | None
    protocol: str = servers.REST
    quiet: list = dataclasses.field(default_factory=list)
    disturbed: list = dataclasses.field(default_factory=list)
    # What the disturbance did per second of disturbed windows, and what went wrong with it.
    per_s: float = 0.0
    swaps: int = 0
    failures: list = dataclasses.field(default_factory=list)

    def median(self, which, name):
        return rounds.median([figures[name] for figures in getattr(self, which)])

    def failed(self):
        every = [*self.quiet, *self.disturbed]
        return sum(figures["errors"] + figures["refused"] for figures in every)


class Tails:
    """The programs and the length of windows of one run."""

    def __init__(self, hedgerow, load, chosen):
        self.hedgerow = hedgerow
        self.load = load
        self.pairs = chosen.pairs
        self.window = windows.Window(chosen.seconds, WARMUP)
        self.rows = np.fromfile(train.OUT / "rows.f32", dtype=np.float32).reshape(-1, 30)

    def target(self, site, slot=SLOT, rows=1, protocol=servers.REST):
        body = bodies.file(servers.OPEN_INFERENCE[protocol], SLOT, self.rows[:rows])
        if protocol != servers.REST:
            return windows.Target(protocol, f"127.0.0.1:{site.grpc}", bodies.GRPC_PATH, body)
        path = f"/v2/models/{slot}/infer"
        return windows.Target(protocol, f"127.0.0.1:{site.http}", path, body)

    def site(self, name, models, environment):
        site = disturbances.Site(self.hedgerow, name, models, environment)
        waited = [self.target(site), *(self.target(site, it) for it in models if it == "large")]
        try:
            for target in waited:
                site.process.until(lambda it=target: rounds.answers(it, "open-inference"))
        except process.Failed:
            site.process.close()
            raise
        return site

    def measure(self, case, protocols=(servers.REST,)):
        """Of each protocol a closed loop, then an open one at a share of what the closed one reached
        undisturbed."""
        print(f"  {case.name}: {case.title}", flush=True)
        further = {slot: make() for slot, make in case.models.items()}
        models = {SLOT: train.model_file(SLOT), **further}
        site = self.site(f"tails-{case.name}", models, case.environment)
        other = site
        try:
            if case.setting:
                other = self.site(f"tails-{case.name}-set", models, case.setting)
                other.process.pause()
            measured = []
            for protocol in protocols:
                closed = Measured(case, "closed", None, protocol)
                self.alternate(closed, site, other)
                rate = closed.median("quiet", "rps") * SHARE
                opened = Measured(case, "open", rate, protocol)
                self.alternate(opened, site, other)
                measured += [closed, opened]
        finally:
            for one in {site, other}:
                one.process.close()
        return measured

    def alternate(self, measured, site, other):
        case = measured.case
        disturbance = disturbances.Disturbance(case.step, case.every_s)
        before = site.swaps(SLOT)
        for turn in range(self.pairs):
            for name, one in (("quiet", site), ("disturbed", other)):
                one.process.resume()
                if name == "disturbed" or case.setting:
                    with disturbance.around(one):
                        figures = self.run(one, measured, turn)
                else:
                    figures = self.run(one, measured, turn)
                getattr(measured, name).append(figures)
                if other is not site:
                    one.process.pause()
        seconds = self.pairs * (self.window.seconds + WARMUP) * (2 if case.setting else 1)
        measured.per_s = disturbance.done / seconds
        site.process.resume()
        measured.swaps = site.swaps(SLOT) - before
        measured.failures = disturbance.failures

    def run(self, site, measured, turn):
        window = dataclasses.replace(self.window, seed=turn + 1)
        target = self.target(site, protocol=measured.protocol)
        return windows.measure(self.load, target, site.process, CONNECTIONS, window, measured.rate)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--cases", default="")
    chosen = parser.parse_args()
    asked = [chosen.quick, chosen.seconds, chosen.pairs, chosen.cases]
    chosen.part = any(asked)
    chosen.seconds = chosen.seconds or (1.0 if chosen.quick else 4.0)
    chosen.pairs = chosen.pairs or (1 if chosen.quick else 3)
    return chosen


def wanted(name, cases):
    parts = [part for part in cases.split(",") if part]
    return not parts or any(part in name for part in parts)


def entry(measured):
    names = ("rps", "p50_us", "p99_us", "p999_us")
    figures = {
        f"{name}_{which}": round(measured.median(which, name), 1)
        for which in ("quiet", "disturbed")
        for name in names
    }
    return {
        "case": measured.case.name,
        "title": measured.case.title,
        "loop": measured.loop,
        "rate": measured.rate and round(measured.rate, 1),
        **figures,
        "failed": measured.failed(),
        "disturbances_per_s": round(measured.per_s, 2),
        "swaps": measured.swaps,
        "disturbance_failures": len(measured.failures),
    }


def page(entries, compared, overloads, here, command, length):
    lines = table.heading("Tails", command, here, length)
    if entries:
        lines += disturbed(entries)
    lines += sides_table.section(compared) + overload.section(overloads)
    return "\n".join(lines) + "\n"


def disturbed(entries):
    lines = [
        f"REST, 1 row, {train.TITLES[SLOT]}, {CONNECTIONS} connections; the server has core 0, the "
        f"generator and what disturbs have core 1. Open loops at {SHARE:.0%} of what the closed "
        "loop reached undisturbed. Medians over windows, µs, undisturbed → disturbed (factor).",
        "",
        "| disturbance | per second | loop | requests/s | P50 | P99 | P99.9 | failed |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for one in entries:
        cells = [f"{one['title']}", f"{one['disturbances_per_s']:,.1f}", one["loop"]]
        cells += [change(one, name) for name in ("rps", "p50_us", "p99_us", "p999_us")]
        cells.append(str(one["failed"]))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def change(one, name):
    quiet, disturbed = one[f"{name}_quiet"], one[f"{name}_disturbed"]
    factor = f"{disturbed / quiet:.2f}" if quiet else table.NOTHING
    return f"{quiet:,.0f} → {disturbed:,.0f} ({factor})"


def main():
    chosen = options()
    here = machine.describe()
    try:
        hedgerow, load = cargo.hedgerow(), cargo.load_and_bare()["load"]
    except cargo.CannotBuild as error:
        print(f"tails: {error}", file=sys.stderr)
        return 1
    train.prepare(NEEDED + LARGE_NEEDS * wanted(LARGE, chosen.cases))
    tails = Tails(hedgerow, load, chosen)
    process.stay_off_the_servers_core()
    measured = []
    for case in cases(tails.rows):
        if wanted(case.name, chosen.cases):
            measured += tails.measure(case)
    compared = []
    for case in [*shadow.cases(), *journals.cases()]:
        if wanted(case.name, chosen.cases):
            compared += sides.measure(tails, case)
    overloads = [
        overload.measure(tails, case)
        for case in overload.cases()
        if wanted(case.name, chosen.cases)
    ]
    entries = [entry(one) for one in measured]
    length = f"{chosen.pairs} pairs of {chosen.seconds:g} s windows"
    command = f"{'QUICK=1 ' * chosen.quick}make bench-tails"
    text = page(entries, compared, overloads, here, command, length)
    sided = sides_table.entries(compared)
    table.save("tails", text, entries + sided + overloads, chosen.part)
    for one in measured:
        for reason in one.failures[:1]:
            print(f"{one.case.name}: the disturbance failed: {reason}", file=sys.stderr)
    failed = [one["case"] for one in entries if one["failed"] or one["disturbance_failures"]]
    failed += [f"{one['case']} {one['side']}" for one in sided if one["failed"] or one["problems"]]
    if failed:
        print(f"failed requests or disturbances: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
