"""Counts again what the story of drift sent, and compares it with what the server says.

It knows the server's bins, and computes everything else from the payments. What is wrong is returned
as lines for a person. Standard library only.
"""

import base64
import json
import math
import struct
import time
import urllib.request
from bisect import bisect_right

from narration import number, table

ROWS_MAX = 9_500
"""Within so many rows of the change, about a day, every feature that drifts is found to."""

PATIENCE_S = 60.0


def single(value):
    """A number as the model reads it, in 32 bits."""
    return struct.unpack("f", struct.pack("f", value))[0]


def counts(payments, name, edges):
    """Payments by bin, and at the end those without a value."""
    edges = [single(edge) for edge in edges]
    bins, missing = [0] * (len(edges) + 1), 0
    for payment in payments:
        value = payment.features[name]
        if value is None:
            missing += 1
        else:
            bins[bisect_right(edges, single(value))] += 1
    return bins + [missing]


def psi(reference, live):
    """(PSI, what chance alone gives) of counts, empty bins as the server takes them."""
    pairs = [pair for pair in zip(reference, live) if any(pair)]
    sums = [sum(side) for side in zip(*pairs)]
    sides = []
    for counted, whole in zip(zip(*pairs), sums):
        smallest = min(count for count in counted if count) / whole
        stand_in = smallest / 1e6 if smallest <= 1e-4 else 1e-4
        sides.append([count / whole or stand_in for count in counted])
    found = sum((p - q) * math.log(p / q) for p, q in zip(*sides))
    return found, (len(pairs) - 1) * (1 / sums[0] + 1 / sums[1])


def check(story, report, ignored):
    """What the server said and the payments do not give; empty when all is right."""
    wrong = []
    long = report["windows"][1]
    limits = {name: report["thresholds"][name] for name in ("watch", "act")}
    exact = {}
    for feature in long["features"]:
        name, bins = feature["name"], feature["bins"]
        reference = bins["reference"] + [bins["reference_missing"]]
        own = counts(story.watched, name, bins["edges"])
        if own != bins["live"] + [bins["live_missing"]]:
            wrong.append(f"{name}: counts {own}, the server's are {bins['live']}")
        if abs(psi(reference, own)[0] - feature["psi"]) > 1e-9:
            wrong.append(f"{name}: PSI {psi(reference, own)[0]}, the server's is {feature['psi']}")
        value, chance = psi(reference, counts(story.changed, name, bins["edges"]))
        if name not in ignored:
            exact[name] = value - chance
    for verdict, limit in limits.items():
        reached = story.reached[verdict]
        expected = {name for name, value in exact.items() if value >= limit}
        if set(reached) != expected:
            wrong.append(f"{verdict}: {sorted(reached)}, by all rows {sorted(expected)}")
        order = sorted(reached, key=lambda name: (reached[name], -exact.get(name, 0.0)))
        if order != sorted(reached, key=lambda name: -exact.get(name, 0.0)):
            wrong.append(f"{verdict}: came in the order {order}")
        wrong += [
            f"{name}: {verdict} only after {rows:,} rows"
            for name, rows in reached.items()
            if rows > ROWS_MAX
        ]
    if story.false_alarms:
        wrong.append(f"before the change: {sorted(story.false_alarms)}")
    if report["skipped_rows"]:
        wrong.append(f"{report['skipped_rows']} rows were skipped")
    print(f"\nBy all {len(story.changed):,} rows of the new market, counted by this script:\n")
    cells = [
        (name, f"{value:.3f}", *(number(story.reached[it].get(name)) for it in limits))
        for name, value in sorted(exact.items(), key=lambda pair: -pair[1])[:7]
    ]
    print(table(("feature", "PSI above chance", "rows until watch", "rows until act"), cells))
    return wrong


def check_alarm(report, receiver, expected, options):
    """As [check], of the alarm and what it called."""
    last = report["alarm"]["last"]
    if [call["outcome"] for call in last["calls"]] != ["delivered"]:
        return [f"the alarm's calls: {last['calls']}"]
    if options.prefect:
        run = last["calls"][0]["detail"]
        state = flow_run(options, run)
        print(f"Prefect's flow run {run} ended as {state}.")
        return [] if state == "COMPLETED" else [f"the flow run is {state}"]
    events = receiver.events
    if [event["id"] for _, event in events] != [last["id"]]:
        return [f"{len(events)} events came, and the alarm is {last['id']}"]
    kind, event = events[0]
    names = [feature["name"] for feature in event["data"]["features"]]
    print(f"The webhook got one {kind}: {event['type']} {event['id']}, for {', '.join(names)}.")
    return [] if set(names) >= expected else [f"the event names {names}"]


def flow_run(options, run):
    """How a flow run of Prefect ends."""
    base = options.prefect.rstrip("/")
    base = base if base.endswith("/api") else f"{base}/api"
    token = base64.b64encode(options.prefect_auth.encode()).decode()
    request = urllib.request.Request(f"{base}/flow_runs/{run}", headers={"Authorization": f"Basic {token}"})
    limit, state = time.monotonic() + PATIENCE_S, None
    while state not in ("COMPLETED", "FAILED", "CRASHED") and time.monotonic() < limit:
        with urllib.request.urlopen(request, timeout=10) as answer:
            state = json.load(answer)["state_type"]
        time.sleep(0.2)
    return state
