"""`make loadtest`: what a service lives through, in some minutes: each scenario has one table and
judges itself, by ratios within the run.

The measuring is that of `make bench-tails`, over REST and gRPC, in closed and open loops; k6, ghz and
perf_analyzer come last. Options: --seconds S (per window), --pairs N, --soak MINUTES,
--scenarios A,B (parts of names), --binary FILE; --smoke: debug builds, short, no times judged.
"""

import argparse
import dataclasses
import sys

import places  # noqa: F401, I001  Makes the engines' modules importable: before them.

import bursts
import cargo
import footprint
import judged
import machine
import plan
import process
import servers
import shadow
import sides
import slow
import soak
import table
import tails
import tools
import train

PROTOCOLS = (servers.REST, servers.RAW)
MODEL = plan.MAIN
# A closed loop's P99 is some 1.2 to 1.7 times its P50 on a core of its own.
STEADY_P99 = 6
# Open loops on one core wait for a slice of the scheduler, 4 ms, whenever a thread of low priority
# gets one: their P99 in units of the closed loop's undisturbed P50.
OPEN_P99 = 40
# Closed loops, disturbed : undisturbed.
CLOSED_P99, CLOSED_RPS = 3, 0.7
SLOW_CLIENTS = 200
SLOW_EVERY_S = 0.05


def steady(run):
    """Nothing else happens."""
    verdict = judged.Verdict(
        "Steady",
        f"{tails.CONNECTIONS} connections, nothing else; the open loop at {tails.SHARE:.0%} of the closed",
        [
            "protocol",
            "loop",
            "requests/s",
            "P50",
            "P99",
            "P99.9",
            "CPU per request",
            "memory",
            "failed",
        ],
    )
    site = run.site("load-steady", {MODEL: train.model_file(MODEL)}, {})
    try:
        for protocol in PROTOCOLS:
            closed = tails.Measured(None, "closed", None, protocol)
            closed.quiet = [run.run(site, closed, turn) for turn in range(run.pairs)]
            opened = tails.Measured(
                None, "open", closed.median("quiet", "rps") * tails.SHARE, protocol
            )
            opened.quiet = [run.run(site, opened, turn) for turn in range(run.pairs)]
            for one in (closed, opened):
                steady_row(verdict, one)
            judge_open(verdict, opened, closed, "quiet")
            name = f"{title(protocol)}, closed: P99 in units of P50"
            p50, p99 = (closed.median("quiet", it) for it in ("p50_us", "p99_us"))
            verdict.at_most(name, judged.ratio(p99, p50), STEADY_P99, True)
    finally:
        site.process.close()
    return verdict


def steady_row(verdict, one):
    figures = [
        judged.number(one.median("quiet", it)) for it in ("rps", "p50_us", "p99_us", "p999_us")
    ]
    cpu = f"{one.median('quiet', 'cpu_us_per_request'):.1f} µs"
    memory = f"{one.median('quiet', 'rss_mb'):.0f} MB"
    verdict.rows.append([title(one.protocol), one.loop, *figures, cpu, memory, lost(one)])
    verdict.at_most(f"{title(one.protocol)}, {one.loop}: failed", lost(one), 0)


def judge_open(verdict, opened, closed, which):
    """An open loop has answered what was due, and its P99 is in bounds."""
    name = f"{title(opened.protocol)}, open"
    answered = judged.ratio(opened.median(which, "rps"), opened.rate)
    verdict.at_least(f"{name}: answered of what was due", answered, 0.97, True)
    in_units = judged.ratio(opened.median(which, "p99_us"), closed.median("quiet", "p50_us"))
    verdict.at_most(f"{name}: P99 in units of the closed loop's P50", in_units, OPEN_P99, True)


def swaps(run):
    case = next(case for case in tails.cases(run.rows) if case.name == "swaps")
    measured = run.measure(case, PROTOCOLS)
    verdict = disturbed("Hot swap under load", case.title, measured)
    done = sum(one.swaps for one in measured)
    verdict.at_least("swaps", done, 1)
    verdict.at_least("swaps, a window each", done, len(measured), True)
    return verdict


def slow_clients(run):
    clients = slow.Clients(SLOW_CLIENTS, MODEL, run.rows[:1])
    case = tails.Case(
        "slow-clients",
        f"{SLOW_CLIENTS} more connections, HTTP and gRPC, that send byte by byte or never read",
        *(clients, SLOW_EVERY_S),
    )
    try:
        measured = run.measure(case, PROTOCOLS)
    finally:
        clients.close()
    verdict = disturbed("Slow clients", case.title, measured)
    verdict.at_least("steps of the slow clients", min(one.per_s for one in measured), 1)
    return verdict


def disturbed(name, about, measured):
    """Undisturbed against disturbed windows."""
    verdict = judged.Verdict(
        name,
        f"{about}; undisturbed → disturbed (factor), P50 and P99 in µs",
        ["protocol", "loop", "requests/s", "P50", "P99", "failed"],
    )
    for closed, opened in zip(measured[::2], measured[1::2], strict=True):
        for one in (closed, opened):
            cells = [
                judged.change(one.median("quiet", it), one.median("disturbed", it))
                for it in ("rps", "p50_us", "p99_us")
            ]
            verdict.rows.append([title(one.protocol), one.loop, *cells, lost(one)])
            verdict.at_most(f"{title(one.protocol)}, {one.loop}: failed", lost(one), 0)
        rps, p99 = (
            judged.ratio(closed.median("disturbed", it), closed.median("quiet", it))
            for it in ("rps", "p99_us")
        )
        verdict.at_least(f"{title(closed.protocol)}, closed: requests/s, factor", rps, CLOSED_RPS, True)
        verdict.at_most(f"{title(closed.protocol)}, closed: P99, factor", p99, CLOSED_P99, True)
        judge_open(verdict, opened, closed, "disturbed")
    failures = [it for one in measured for it in one.failures]
    verdict.at_most("disturbances that failed", len(failures), 0)
    return verdict


def lost(one):
    """Requests of an open or closed loop without a good answer."""
    return sum(judged.lost(it, bool(one.rate)) for it in [*one.quiet, *one.disturbed])


def shadowed(run):
    first, *others = shadow.sides(shadow.LOOP)
    kept = [next(it for it in others if it.name == name) for name in ("no-loop", "ordinary")]
    case = sides.Case(
        "load-shadow", "a challenger like the champion in shadow", [kept[0], first, kept[1]], ()
    )
    return compared("Shadow on", case, sides.measure(run, case, PROTOCOLS))


def slow_journal(run):
    import cluster
    import journals

    if not cluster.programs():
        return judged.Verdict("Slow journal", "left out: PostgreSQL is not installed")
    # A queue that overflows in the shortest window of the slowest machine.
    every = {it.name: it for it in journals.sides(shadow.LOOP)}
    stalled = every["stalled"].environment | {"HEDGEROW__JOURNAL__QUEUE_ROWS_MAX": "64"}
    every["stalled"] = dataclasses.replace(every["stalled"], environment=stalled)
    title_ = "a PostgreSQL that does not answer for half of each window"
    case = sides.Case("load-journal", title_, [every["no-loop"], every["stalled"]], ())
    return compared("Slow journal", case, sides.measure(run, case, PROTOCOLS))


def compared(name, case, measured):
    """Servers that differ in one thing each, in turns; all against the first."""
    verdict = judged.Verdict(
        name,
        f"{case.title}, beside a server that records nothing; every answer is compared with the "
        "library's. Factors are to that server",
        [
            "protocol",
            "server, loop",
            "requests/s",
            "P50",
            "P99",
            "recorded",
            "shadowed",
            "not written",
            "failed",
        ],
    )
    firsts = {}
    for one in measured:
        first = firsts.setdefault((one.protocol, one.loop), one)
        who = f"{title(one.protocol)}, {one.loop}, {one.side.name}"
        cells = [
            f"{judged.number(one.median(it))} ({judged.number(one.factor(first, it), 2)})"
            for it in ("rps", "p50_us", "p99_us")
        ]
        counts = [judged.number(one.counts[it]) for it in ("recorded", "scored", "dropped")]
        failed = one.failed()
        verdict.rows.append(
            [title(one.protocol), f"{one.side.title}, {one.loop}", *cells, *counts, failed]
        )
        verdict.at_most(f"{who}: failed requests and checks", failed + len(one.problems), 0)
        if one is first:
            continue
        if one.loop == "closed":
            rps, p99 = one.factor(first, "rps"), one.factor(first, "p99_us")
            verdict.at_least(f"{who}: requests/s, factor", rps, CLOSED_RPS, True)
            verdict.at_most(f"{who}: P99, factor", p99, CLOSED_P99, True)
        else:
            p50 = firsts[one.protocol, "closed"].median("p50_us")
            in_units = judged.ratio(one.median("p99_us"), p50)
            verdict.at_most(f"{who}: P99 in units of the closed loop's P50", in_units, OPEN_P99, True)
    return verdict


def title(protocol):
    return "REST" if protocol == servers.REST else "gRPC"


def scenarios(soak_minutes):
    return {
        "steady": steady,
        "spike": bursts.spike,
        "swap": swaps,
        "shadow": shadowed,
        "journal": slow_journal,
        "overload": bursts.twice,
        "slow-clients": slow_clients,
        "memory": footprint.measure,
        "soak": lambda run: soak.measure(run, soak_minutes),
        "k6": tools.k6,
        "ghz": tools.ghz,
        "perf_analyzer": tools.perf_analyzer,
    }


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--soak", type=float)
    parser.add_argument("--scenarios", default="")
    parser.add_argument("--binary")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    asked = [chosen.seconds, chosen.pairs, chosen.scenarios, chosen.binary, chosen.smoke]
    chosen.part = any(asked)
    chosen.seconds = chosen.seconds or (0.5 if chosen.smoke else 1.5)
    chosen.pairs = chosen.pairs or (1 if chosen.smoke else 3)
    chosen.soak = chosen.soak or (0.05 if chosen.smoke else 0.25)
    return chosen


def main():
    chosen = options()
    here = machine.describe()
    try:
        if chosen.smoke:
            judged.judges_times = False
            built = cargo.smoke()
            hedgerow, load = built["hedgerow"], built["load"]
        else:
            hedgerow, load = chosen.binary or cargo.hedgerow(), cargo.load()
    except cargo.CannotBuild as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    train.prepare([MODEL])
    run = tails.Tails(hedgerow, load, chosen)
    process.stay_off_the_servers_core()
    verdicts = []
    for name, scenario in scenarios(chosen.soak).items():
        if tails.wanted(name, chosen.scenarios):
            verdicts.append(scenario(run))
            print("\n".join(verdicts[-1].lines()), flush=True)
    length = f"{chosen.pairs} pairs of {chosen.seconds:g} s windows"
    lines = table.heading("Load tests", "make loadtest", here, length)
    lines.append(
        f"REST and raw gRPC, 1 row, {train.TITLES[MODEL]}; the server has core 0, clients core 1."
    )
    lines += [line for one in verdicts for line in one.lines()]
    table.save("loads", "\n".join(lines) + "\n", [one.entry() for one in verdicts], chosen.part)
    failed = [one.name for one in verdicts if not one.holds]
    if failed:
        print(f"loadtest: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
