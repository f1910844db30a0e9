"""`make bench-servers`: Hedgerow beside other servers of the same models, and beside bare ones.

The environments are made by run.sh. Options: --quick, --rounds N, --seconds S (per window),
--warmup S, --models A,B, --servers A,B (names, or parts of them), --closed (no open loops).
"""

import argparse
import sys

import places  # noqa: F401, I001  Makes the engines' modules importable: before them.
import cargo
import machine
import plan
import plot
import process
import rounds
import servers
import table
import train
import windows


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--models", default="")
    parser.add_argument("--servers", default="")
    parser.add_argument("--closed", action="store_true")
    chosen = parser.parse_args()
    asked = [chosen.models, chosen.servers, chosen.closed, chosen.rounds, chosen.seconds]
    chosen.part = chosen.quick or any(asked)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    chosen.seconds = chosen.seconds or (1.0 if chosen.quick else 1.2)
    default = [plan.MAIN] if chosen.quick else plan.MODELS
    chosen.models = chosen.models.split(",") if chosen.models else default
    return chosen


def wanted(server, chosen):
    names = [name for name in chosen.servers.split(",") if name]
    return (server.quick or not chosen.quick) and (
        not names or any(name in server.name for name in names)
    )


def measure_model(bench, model, taking_part, chosen):
    standings = []
    try:
        for server in taking_part:
            standings.append(rounds.Standing(server, model))
            bench.start(standings[-1])
        closed_loops(bench, standings, plan.closed(model, chosen.quick), chosen)
        if model == plan.MAIN and not chosen.closed:
            open_loops(bench, standings, chosen)
    finally:
        for standing in standings:
            standing.close()
    return standings


def closed_loops(bench, standings, scenarios, chosen):
    for turn in range(chosen.rounds):
        for scenario in scenarios:
            for standing in standings:
                if plan.takes_part(standing.server, scenario):
                    bench.measure(standing, scenario, turn)
        print(f"  {scenarios[0].model}: round {turn + 1} of {chosen.rounds}", flush=True)


def open_loops(bench, standings, chosen):
    """Rates are shares of what the closed loops have shown, so they come after those."""
    ours = {}
    for standing in standings:
        if standing.server.kind == servers.PRODUCT:
            ours = capacity(standing)
    work = []
    for standing in standings:
        if not standing.skipped:
            loops = plan.open_loops(standing.server, capacity(standing), ours)
            work += [(standing, loop) for loop in loops]
    for scenario in [] if chosen.quick else plan.sweep(ours):
        swept = (one for one in standings if one.server.name in plan.SWEPT)
        work += [(one, scenario) for one in swept if (one, scenario) not in work]
    for turn in range(chosen.rounds):
        for standing, scenario in work:
            bench.measure(standing, scenario, turn)
        print(f"  open loops: round {turn + 1} of {chosen.rounds}", flush=True)


def capacity(standing):
    """The most requests of one row per second, by protocol."""
    most = {}
    for scenario in standing.windows:
        if scenario.rows == 1 and scenario.rate is None:
            rps = standing.medians(scenario)["rps"]
            most[scenario.protocol] = max(most.get(scenario.protocol, 0), rps)
    return most


def main():
    chosen = options()
    here = machine.describe()
    try:
        hedgerow, programs = cargo.hedgerow(), cargo.load_and_bare()
    except cargo.CannotBuild as error:
        print(f"servers: {error}", file=sys.stderr)
        return 1
    about = train.prepare(chosen.models)
    bench = rounds.Bench(programs["load"], windows.Window(chosen.seconds, chosen.warmup))
    process.stay_off_the_servers_core()
    every = [servers.hedgerow(hedgerow), *servers.limits(programs["bare"]), *servers.peers()]
    taking_part = [server for server in every if wanted(server, chosen)]
    standings = []
    for model in about:
        standings += measure_model(bench, model, taking_part, chosen)
    length = f"{chosen.rounds} rounds of {chosen.seconds:g} s windows"
    command = f"{'QUICK=1 ' * chosen.quick}make bench-servers"
    text = table.page(standings, here, command, length)
    folder = table.save("servers", text, table.entries(standings), chosen.part)
    plot.write(standings, folder / "latency.svg")
    ours = [one for one in standings if one.server.kind == servers.PRODUCT]
    for one in ours:
        if one.skipped:
            print(f"hedgerow on {one.model}: {one.skipped}", file=sys.stderr)
    return 1 if any(one.skipped for one in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
