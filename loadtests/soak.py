"""Soak: an open loop for long, while revisions are swapped and clients come and go; what grows."""

import dataclasses
import os
import statistics

import beside
import disturbances
import judged
import plan
import process
import servers
import train
import windows

SHARE = 0.5
SAMPLES = 60
# In a short run the allocator has hardly settled by the second quarter, and gRPC comes later still.
MEMORY_SHARE, MEMORY_MB, FDS_MORE = 0.05, 8, 8
SWAPS = 6
# What the journal's file may grow by: 300 rows a second are some 100 MB in an hour.
ENVIRONMENT = {
    **{"HEDGEROW__ROLLOUT__RECORD": "true", "HEDGEROW__JOURNAL__ROWS_PER_SECOND_MAX": "300"},
    **{"HEDGEROW__MODELS__SETTLE_MS": "0", "HEDGEROW__MODELS__POLL_INTERVAL_MS": "50"},
}
CHURN_S = 0.05


class Watch:
    """Memory and open files of a server, every so often, in a thread."""

    def __init__(self, pid, every_s):
        self.pid = pid
        self.every_s = every_s
        self.samples = []

    def around(self):
        return beside.every(self.every_s, self.look)

    def look(self):
        self.samples.append((process.memory_mb([self.pid]), fds(self.pid)))

    def growth(self):
        """Medians of the second quarter, when all is warm, and of the last: memory and files."""
        quarter = max(len(self.samples) // 4, 1)
        parts = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        return [[statistics.median(column) for column in zip(*part)] for part in parts]


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def measure(tails, minutes):
    seconds = minutes * 60
    site = tails.site("load-soak", {plan.MAIN: train.model_file(plan.MAIN)}, ENVIRONMENT)
    halves = [servers.REST, servers.RAW]
    window = dataclasses.replace(tails.window, seconds=seconds / len(halves))
    swaps = disturbances.Disturbance(
        disturbances.swap(plan.MAIN, train.model_file(plan.MAIN)), seconds / SWAPS
    )
    target = tails.target(site)
    churn = disturbances.Disturbance(
        lambda _: disturbances.ask(site.http, target.path, target.body.read_bytes()), CHURN_S
    )
    # taskset becomes the server.
    watch = Watch(site.process.process.pid, max(seconds / SAMPLES, 0.2))
    found = []
    try:
        capacities = [
            windows.measure(
                tails.load, tails.target(site, protocol=it), site.process, 64, tails.window
            )
            for it in halves
        ]
        with watch.around(), swaps.around(site), churn.around(site):
            for protocol, capacity in zip(halves, capacities, strict=True):
                rate = capacity["rps"] * SHARE
                load = tails.target(site, protocol=protocol)
                found.append(windows.measure(tails.load, load, site.process, 64, window, rate))
    finally:
        site.process.close()
    return verdict(found, watch, (swaps, churn), minutes)


def verdict(found, watch, disturbances_, minutes):
    swaps, churn = disturbances_
    (memory, files), (memory_later, files_later) = watch.growth()
    verdict = judged.Verdict(
        "Soak",
        f"{minutes:g} minutes at {SHARE:.0%} of the capacity, half over REST, half over gRPC; "
        f"{swaps.done} swaps, {churn.done} connections that came and went, 300 rows recorded a "
        "second. Growth is from the second quarter to the last",
        ["protocol", "loop", "requests", "P50", "P99", "failed", "memory", "open files"],
    )
    for name, one in zip(("REST", "gRPC"), found, strict=True):
        failed = judged.lost(one)
        memory_cell = f"{memory:.1f} → {memory_later:.1f} MB"
        files_cell = f"{files:.0f} → {files_later:.0f}"
        figures = [judged.number(one[it]) for it in ("requests", "p50_us", "p99_us")]
        verdict.rows.append([name, "open", *figures, failed, memory_cell, files_cell])
        verdict.at_most(f"{name}: failed", failed, 0)
    most = MEMORY_SHARE * memory + MEMORY_MB
    verdict.at_most("memory, MB more", memory_later - memory, most, True)
    verdict.at_most("open files, more", files_later - files, FDS_MORE)
    verdict.at_most("disturbances that failed", len(swaps.failures + churn.failures), 0)
    verdict.at_least("swaps", swaps.done, 1)
    return verdict
