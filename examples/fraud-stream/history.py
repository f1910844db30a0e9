#!/usr/bin/env python3
"""Writes labelled payments as CSV: the features in their order, then is_fraud.

    examples/fraud-stream/history.py --revision 4 --rows 20000 -o history.csv
    hedgerow profile history.csv --label is_fraud --model examples/fraud-stream/models/fraud/4 \\
        -o examples/fraud-stream/models/fraud/4/profile.json

With --revision, the payments that train.py trains that revision on, labelled as there: what is asked
of a profile.json beside it. With --behaviour, those of other days. Of more payments than --rows, an
even part is taken. The same arguments write the same bytes. Standard library only.
"""

import argparse
import csv
import sys

sys.dont_write_bytecode = True

import stream

BEHAVIOURS = {
    "stolen-cards": stream.STOLEN_CARDS,
    "account-takeover": stream.ACCOUNT_TAKEOVER,
    "scripts": stream.SCRIPTS,
    "patient-hands": stream.PATIENT_HANDS,
}

SEED = 20_000
"""The first seed of train.py."""

HOURS = 24 * 14
"""Hours of each of its streams."""


def reported(payment):
    """A fraud that nobody reported is genuine."""
    return payment.label is not None and payment.label.value


def hasty(payment):
    """Only frauds that were labelled within 90 minutes."""
    return reported(payment) and payment.label.time - payment.time < 1.5


OLD = (SEED, "stolen-cards", reported)
NEW = (SEED + 1, "account-takeover", reported)
REVISIONS = {
    "1": [OLD],
    "2": [OLD, NEW],
    "3": [OLD, (SEED + 1, "account-takeover", hasty)],
    "4": [(SEED + 2, "scripts", reported)],
}
"""Seed, behaviour and labels of the streams that train.py trains each revision on."""


def payments(seed, behaviour, hours):
    """Payments of a stream in which nobody changes."""
    source = stream.Stream(seed, [(0, BEHAVIOURS[behaviour])])
    return [payment for _ in range(hours) for payment in source.hour()]


def labelled(streams, hours):
    """Features and label of every payment."""
    return [
        [*payment.features.values(), int(is_fraud(payment))]
        for seed, behaviour, is_fraud in streams
        for payment in payments(seed, behaviour, hours)
    ]


def spread(rows, most):
    """At most that many of the rows, evenly."""
    if most is None or len(rows) <= most:
        return rows
    return [rows[place * len(rows) // most] for place in range(most)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--revision", choices=REVISIONS, help="what it was trained on")
    what.add_argument("--behaviour", choices=BEHAVIOURS, help="how fraudsters act")
    parser.add_argument("--hours", type=int, default=HOURS, help="of each stream (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="with --behaviour (default %(default)s)")
    parser.add_argument("--rows", type=int, help="at most")
    parser.add_argument("-o", "--output", help="default: standard output")
    options = parser.parse_args()
    if options.revision:
        streams = REVISIONS[options.revision]
    else:
        streams = [(options.seed, options.behaviour, reported)]
    rows = spread(labelled(streams, options.hours), options.rows)
    output = open(options.output, "w", newline="") if options.output else sys.stdout
    with output:
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow([*stream.FEATURES, "is_fraud"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
