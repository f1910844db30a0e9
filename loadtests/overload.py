"""Overload: twice the capacity for a while; what is still answered, and how soon it is over."""

import dataclasses
import subprocess

import beside
import grown
import plan
import process
import servers
import table
import train
import windows

# The capacity is that of so many connections: each more costs the caches of the processor.
CONNECTIONS = 256
# The best of several: a slow spell would make the overload none.
CAPACITY_WINDOWS = 3
# Shares of the capacity, one phase each.
PHASES = [0.5, 2.0, 0.5]
INTERVAL_MS = 100
# Between two requests of the probe that looks at the headers of a refusal.
PROBE_S = 0.02
# The load is over when P99 is no more than so many times the undisturbed one.
RECOVERED = 2


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    file: str
    rows: int
    environment: dict


def cases():
    light, heavy = "100 trees of depth 6, 1 row", "5,000 trees of depth 8, 64 rows"
    limit = {"HEDGEROW__BATCH__QUEUE_MS_MAX": "150"}
    return [
        Case("overload-light", f"{light}: inline", "light", 1, {}),
        Case("overload-heavy", f"{heavy}: compute threads", "heavy", 64, {}),
        Case("overload-limited", f"{heavy}: queue_ms_max = 150", "heavy", 64, limit),
    ]


class Probe:
    """Asks now and then on a connection of its own, and keeps what a refusal says."""

    def __init__(self, port, path, body):
        self.asked = (port, path, body)
        self.refused = 0
        self.with_retry_after = 0

    def around(self):
        return beside.every(PROBE_S, self.ask)

    def ask(self):
        answer = process.post(*self.asked)
        if answer is not None and answer[0] in (429, 503):
            self.refused += 1
            names = {name.lower() for name in answer[1]}
            self.with_retry_after += "retry-after" in names


def measure(tails, case, protocol=servers.REST):
    print(f"  {case.name}: {case.title}", flush=True)
    files = {
        "light": lambda: train.model_file(plan.MAIN),
        "heavy": grown.heavy,
        "deep": grown.deep,
    }
    site = tails.site(case.name, {plan.MAIN: files[case.file]()}, case.environment)
    try:
        target = tails.target(site, rows=case.rows, protocol=protocol)
        most = capacity(tails, target, site)
        probed = tails.target(site, rows=case.rows)
        probe = Probe(site.http, probed.path, probed.body.read_bytes())
        with probe.around():
            figures = run_phases(tails, target, most, PHASES)
    finally:
        site.process.close()
    return summary(case, most, figures, probe, tails.window.seconds)


def capacity(tails, target, site):
    """Requests per second of a closed loop, the best of several windows."""
    found = (
        windows.measure(tails.load, target, site.process, CONNECTIONS, tails.window)
        for _ in range(CAPACITY_WINDOWS)
    )
    return max(figures["rps"] for figures in found)


def run_phases(tails, target, capacity, shares, waiting_max=0):
    """The clients' own queue, of so many requests, would hide what the server does about overload."""
    seconds = tails.window.seconds
    rates = ",".join(f"{capacity * share:.3f}:{seconds}" for share in shares)
    words = windows.generator(
        *(tails.load, target, "--connections", CONNECTIONS, "--rate", rates),
        *("--warmup", tails.window.warmup, "--interval-ms", INTERVAL_MS),
        *("--waiting-max", waiting_max),
    )
    limit = seconds * len(shares) + windows.GENERATOR_SECONDS_MORE
    done = subprocess.run(words, capture_output=True, text=True, timeout=limit)
    return windows.read(done.returncode, done.stdout, done.stderr)


def summary(case, capacity, figures, probe, seconds):
    before, during, after = figures["phases"]
    return {
        "case": case.name,
        "title": case.title,
        "capacity_rps": round(capacity, 1),
        "goodput": round(during["rps"] / capacity, 3),
        "p99_us_before": before["p99_us"],
        "p99_us_during": during["p99_us"],
        "p99_us_after": after["p99_us"],
        "refused": during["refused"],
        "refused_p99_us": during["refused_p99_us"],
        "dropped": during["dropped"],
        "errors": figures["errors"],
        "refusals_probed": probe.refused,
        "refusals_with_retry_after": probe.with_retry_after,
        "recovered_ms": recovered_ms(figures["intervals"], before["p99_us"], seconds),
    }


def recovered_ms(intervals, undisturbed_us, seconds):
    """From the end of the overload to the end of the first interval that is as good as before."""
    over_ms = sum(seconds for _ in PHASES[:-1]) * 1e3
    for one in intervals:
        good = one["p99_us"] is not None and one["p99_us"] <= RECOVERED * (undisturbed_us or 0)
        if one["at_ms"] >= over_ms and good:
            return round(one["at_ms"] + INTERVAL_MS - over_ms)
    return None


def section(overloads):
    if not overloads:
        return []
    lines = [
        "",
        "## Overload",
        "",
        f"Open loop on {CONNECTIONS} connections at 50 %, 200 % and 50 % of what they reach in a "
        "closed loop. Goodput is what was answered at 200 %, over that; what finds no free connection "
        "is not sent. Recovered: from the end of the overload until P99 of "
        f"{INTERVAL_MS} ms is at most {RECOVERED} times that of the first phase. µs.",
        "",
        "| model | capacity | goodput | P99 before | P99 of accepted at 200 % | refused, P99 "
        "| Retry-After | not sent | errors | recovered |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    return lines + [row(one) for one in overloads]


def row(one):
    return "| " + " | ".join(cells(one)) + " |"


def cells(one):
    recovered = one["recovered_ms"]
    probed = one["refusals_probed"]
    return [
        one["title"],
        f"{one['capacity_rps']:,.0f}/s",
        f"{one['goodput']:.0%}",
        latency(one["p99_us_before"]),
        latency(one["p99_us_during"]),
        f"{one['refused']:,}, {latency(one['refused_p99_us'])}",
        f"{one['refusals_with_retry_after']} of {probed}" if probed else table.NOTHING,
        f"{one['dropped']:,}",
        f"{one['errors']:,}",
        "not within the phase" if recovered is None else f"{recovered:,} ms",
    ]


def latency(us):
    return table.NOTHING if us is None else f"{us:,.0f}"
