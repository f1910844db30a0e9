"""The same requests by clients that others wrote: k6, ghz and Triton's perf_analyzer.

They are far slower than the generator, so they find their own limits, not the server's: what is
judged is that they understand every answer, and that the open loops keep their rates.
"""

import csv
import json
import os
import subprocess

import judged
import plan
import train
from places import OUT, ROOT

K6 = "go.k6.io/k6@v1.8.1"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.121.0"
SECONDS = 3
CONNECTIONS = 8
RATE = 200
# Of a rate, what is answered at the least.
ANSWERED = 0.95
# perf_analyzer's code for "not for this machine".
NOT_HERE = 77
COLUMNS = ["protocol", "loop", "rows", "requests/s", "P50 ms", "P99 ms", "failed"]
FORMS = [("http", 1, ""), ("grpc", 1, ""), ("grpc", 64, "raw")]


def k6(run):
    verdict = judged.Verdict("k6", "", COLUMNS)
    program, verdict.title = tool(K6)
    if program:
        with_site(run, "load-k6", lambda site: k6_rows(verdict, program, site))
    return verdict


def k6_rows(verdict, program, site):
    for protocol, rows, form in FORMS:
        for rate in (None, RATE):
            summary = OUT / "work" / "k6.json"
            summary.unlink(missing_ok=True)
            given = {
                "ADDRESS": address(site, protocol, scheme=True),
                **{"MODEL": plan.MAIN, "FEATURES": 30, "ROWS": rows},
                **{"CONNECTIONS": CONNECTIONS, "DURATION": f"{SECONDS}s"},
                **({"RATE": rate} if rate else {}),
                **({"RAW": 1} if form else {}),
            }
            words = [program, "run", "--quiet", "--no-usage-report", "--summary-export", summary]
            words += [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
            code = call([*words, ROOT / "loadtests" / "k6" / f"{protocol}.js"])
            name = f"{label(protocol, form)}, {loop(rate)}, {rows} rows"
            verdict.at_most(f"{name}: k6's exit code, its thresholds included", code, 0)
            if not summary.exists():
                continue
            metrics = json.loads(summary.read_text())["metrics"]
            times = metrics["http_req_duration" if protocol == "http" else "grpc_req_duration"]
            rps, failed = metrics["iterations"]["rate"], metrics["checks"]["fails"]
            cells = [judged.number(rps), *(f"{times[it]:.2f}" for it in ("med", "p(99)")), failed]
            verdict.rows.append([label(protocol, form), loop(rate), rows, *cells])
            if rate:
                verdict.at_least(f"{name}: answered of what was due", rps / rate, ANSWERED, True)


def ghz(run):
    verdict = judged.Verdict("ghz", "", COLUMNS)
    program, verdict.title = tool(GHZ)
    if program:
        with_site(run, "load-ghz", lambda site: ghz_rows(verdict, program, site))
    return verdict


def ghz_rows(verdict, program, site):
    for rows, form in ((1, "typed"), (64, "raw")):
        for rate in (None, RATE):
            report = OUT / "work" / "ghz.json"
            report.unlink(missing_ok=True)
            words = [ROOT / "loadtests" / "ghz" / "ghz.sh", "open" if rate else "closed"]
            words += [plan.MAIN, 30, rows, form, "--", "--duration", f"{SECONDS}s"]
            words += ["--concurrency", CONNECTIONS, "--connections", CONNECTIONS]
            words += ["--rps", rate] if rate else []
            words += ["--format", "json", "--output", report, address(site, "grpc")]
            path = f"{os.path.dirname(program)}:{os.environ['PATH']}"
            code = call(words, {"PATH": path})
            name = f"{label('grpc', form)}, {loop(rate)}, {rows} rows"
            verdict.at_most(f"{name}: ghz's exit code", code, 0)
            if not report.exists():
                continue
            found = json.loads(report.read_text())
            times = {it["percentage"]: it["latency"] / 1e6 for it in found["latencyDistribution"]}
            failed = found["count"] - found["statusCodeDistribution"].get("OK", 0)
            cells = [judged.number(found["rps"]), f"{times[50]:.2f}", f"{times[99]:.2f}", failed]
            verdict.rows.append([label("grpc", form), loop(rate), rows, *cells])
            verdict.at_most(f"{name}: failed", failed, 0)
            if rate:
                verdict.at_least(f"{name}: answered of what was due", found["rps"] / rate, ANSWERED)


def perf_analyzer(run):
    script = ROOT / "loadtests" / "perf_analyzer.sh"
    fetched = call([script])
    if fetched == NOT_HERE:
        return judged.Verdict("perf_analyzer", "left out: there is none for this machine")
    verdict = judged.Verdict("perf_analyzer", "Triton's perf_analyzer 2.41.1", COLUMNS)
    verdict.at_most("fetched: exit code", fetched, 0)
    if verdict.holds:
        with_site(run, "load-perf-analyzer", lambda site: analyzer_rows(verdict, script, site))
    return verdict


def analyzer_rows(verdict, script, site):
    loops = {
        "closed": ("--concurrency-range", "4"),
        "open": ("--request-rate-range", RATE, "--request-distribution", "poisson"),
    }
    for protocol in ("http", "grpc"):
        for name, given in loops.items():
            rows = 1 if name == "open" else 64
            report = OUT / "work" / "perf_analyzer.csv"
            report.unlink(missing_ok=True)
            words = [script, protocol, address(site, protocol), plan.MAIN, 30, rows, "--", *given]
            # Ten windows, in which any two thirds of the figure are stable: it is not our judge.
            words += ["--stability-percentage", 66, "--max-trials", 10, "-f", report]
            code = call(words)
            who = f"{label(protocol, '')}, {name}, {rows} rows"
            verdict.at_most(f"{who}: perf_analyzer's exit code", code, 0)
            found = list(csv.DictReader(report.open())) if report.exists() else []
            verdict.at_least(f"{who}: lines of its report", len(found), 1)
            for line in found:
                rps = float(line["Inferences/Second"])
                times = [f"{float(line[it]) / 1e3:.2f}" for it in ("p50 latency", "p99 latency")]
                verdict.rows.append(
                    [
                        label(protocol, ""),
                        name,
                        rows,
                        judged.number(rps),
                        *times,
                        table_failed(code),
                    ]
                )


def table_failed(code):
    """It ends with an error at the first request that fails."""
    return 0 if code == 0 else "yes"


def with_site(run, name, body):
    site = run.site(name, {plan.MAIN: train.model_file(plan.MAIN)}, {})
    try:
        body(site)
    finally:
        site.process.close()


def tool(module):
    """The path of a tool built from its Go module, and what the table says of it."""
    done = subprocess.run(
        [ROOT / "scripts" / "go-tool.sh", module], stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        return None, f"left out: {module} cannot be built here"
    return done.stdout.strip(), module


def call(words, environment=None):
    """The exit code; what it prints goes to a log, and to the terminal if it failed."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode not in (0, NOT_HERE):
        print(done.stdout[-3_000:], flush=True)
    return done.returncode


def address(site, protocol, scheme=False):
    port = site.http if protocol == "http" else site.grpc
    return f"{'http://' * (scheme and protocol == 'http')}127.0.0.1:{port}"


def label(protocol, form):
    name = {"http": "REST", "grpc": "gRPC"}[protocol]
    return f"{name}, raw" if form == "raw" else name


def loop(rate):
    return f"open, {rate}/s" if rate else "closed"
