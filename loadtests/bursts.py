"""Sudden load: a spike below the capacity, and twice the capacity."""

import judged
import overload
import plan
import servers
import train

PROTOCOLS = {servers.REST: "REST", servers.RAW: "gRPC"}
# Shares of the capacity, one phase each.
SPIKE = [0.1, 0.8, 0.1]
# Below the capacity clients wait for a connection, and their latency has it.
WAITING = 1_000_000
GOODPUT = 0.8
# Refusing 64 rows means reading them first.
GOODPUT_REFUSING = 0.7


def spike(run):
    verdict = judged.Verdict(
        "Spike",
        f"an open loop on {overload.CONNECTIONS} connections at {SPIKE[0]:.0%}, {SPIKE[1]:.0%} and "
        f"{SPIKE[2]:.0%} of the capacity, P50 and P99 in µs",
        ["protocol", "phase", "asked", "answered", "P50", "P99", "failed", "not sent"],
    )
    site = run.site("load-spike", {plan.MAIN: train.model_file(plan.MAIN)}, {})
    try:
        for protocol, name in PROTOCOLS.items():
            target = run.target(site, protocol=protocol)
            capacity = overload.capacity(run, target, site)
            figures = overload.run_phases(run, target, capacity, SPIKE, WAITING)
            spike_rows(verdict, name, figures, run)
    finally:
        site.process.close()
    return verdict


def spike_rows(verdict, name, figures, run):
    for label, one in zip(("before", "spike", "after"), figures["phases"], strict=True):
        failed = judged.lost(one | {"dropped": 0})
        cells = [judged.number(one[it]) for it in ("rate", "rps", "p50_us", "p99_us")]
        verdict.rows.append([name, label, *cells, failed, one["dropped"]])
        verdict.at_most(f"{name}, {label}: failed", failed, 0)
        answered = judged.ratio(one["rps"], one["rate"])
        verdict.at_least(f"{name}, {label}: answered of what was due", answered, 0.95, True)
    before = figures["phases"][0]["p99_us"]
    recovered = overload.recovered_ms(figures["intervals"], before, run.window.seconds)
    share = judged.ratio(recovered, run.window.seconds * 1e3)
    verdict.at_most(f"{name}: until P99 is as before, in phases", share, 0.5, True)


def cases():
    """A light request, that is answered inline; and one that waits for compute threads, with a
    limit of that wait."""
    # What 256 connections can make wait for compute threads is longer than that anywhere.
    limit = {"HEDGEROW__BATCH__QUEUE_MS_MAX": "20"}
    deep = "5,000 trees of depth 6, 64 rows"
    return [
        overload.Case("load-overload-light", train.TITLES[plan.MAIN], "light", 1, {}),
        overload.Case("load-overload-limited", f"{deep}, queue_ms_max = 20", "deep", 64, limit),
    ]


def twice(run):
    verdict = judged.Verdict(
        "Overload",
        f"an open loop on {overload.CONNECTIONS} connections at twice the capacity between two at "
        "half of it; goodput is what was answered at twice, over the capacity. Of several turns the one "
        "of the median goodput",
        [
            *("protocol", "model", "capacity", "goodput", "P99 before", "P99 of accepted"),
            *("refused, P99", "Retry-After", "not sent", "errors", "recovered"),
        ],
    )
    for case in cases():
        for protocol, name in PROTOCOLS.items():
            found = middle([overload.measure(run, case, protocol) for _ in range(run.pairs)])
            verdict.rows.append([name, *overload.cells(found)])
            judge(verdict, f"{name}, {case.file}", case, found, run.window.seconds)
    return verdict


def middle(turns):
    """The turn of the median goodput, with the errors of all."""
    one = sorted(turns, key=lambda turn: turn["goodput"])[len(turns) // 2]
    return one | {"errors": sum(turn["errors"] for turn in turns)}


def judge(verdict, name, case, found, seconds):
    refuses = bool(case.environment)
    lowest = GOODPUT_REFUSING if refuses else GOODPUT
    verdict.at_least(f"{name}: goodput", found["goodput"], lowest, True)
    # Refusals are 429, 503, RESOURCE_EXHAUSTED or UNAVAILABLE; all else is an error.
    verdict.at_most(f"{name}: errors", found["errors"], 0)
    share = judged.ratio(found["recovered_ms"], seconds * 1e3)
    verdict.at_most(f"{name}: until P99 is as before, in phases", share, 1, True)
    if refuses:
        verdict.at_least(f"{name}: refused", found["refused"], 1)
        fast = judged.ratio(found["refused_p99_us"], found["p99_us_during"])
        verdict.at_most(f"{name}: P99 of refused : accepted", fast, 0.5, True)
        probed = judged.ratio(found["refusals_with_retry_after"], found["refusals_probed"])
        verdict.at_least(f"{name}: refusals with Retry-After", probed, 1)
