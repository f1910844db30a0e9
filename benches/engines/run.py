"""`make bench-engines`: trains, builds, measures all engines in one run, and writes the table.

The environment is made by run.sh. Options: --quick, --rounds N, --milliseconds N (per engine, row
count and round), --models A,B, --engines A,B (names, or parts of them).
"""

import argparse
import sys

import engines
import machine
import measure
import report
import train


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--milliseconds", type=int, default=100)
    parser.add_argument("--models", default=",".join(train.RECIPES))
    parser.add_argument("--engines", default="")
    chosen = parser.parse_args()
    every = ",".join(train.RECIPES)
    chosen.part = chosen.quick or bool(chosen.engines) or chosen.models != every
    chosen.rounds = chosen.rounds or (2 if chosen.quick else 5)
    return chosen


def wanted(engine, model, chosen):
    names = [name for name in chosen.engines.split(",") if name]
    return (
        model in engine.models
        and not (chosen.quick and engine.slow)
        and (not names or any(name in engine.name for name in names))
    )


def main():
    chosen = options()
    here = machine.describe()
    about = train.prepare(chosen.models.split(","))
    results = []
    for model in about:
        taking_part = [engine for engine in engines.ENGINES if wanted(engine, model, chosen)]
        results += measure.measure(model, taking_part, chosen.rounds, chosen.milliseconds)
    report.write(results, about, here, chosen)
    ours = [one for one in results if one.engine.package == "hedgerow"]
    faults = [one for one in ours if one.skipped or not one.max_abs_diff <= one.engine.tolerance]
    for one in faults:
        reason = one.skipped or f"differs by {one.max_abs_diff:.3g} from the library"
        print(f"hedgerow on {one.model}: {reason}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
