"""Memory: what each part of a server takes, one server per part, after the same load."""

import time

import bodies
import disturbances
import grown
import judged
import plan
import process
import train

CACHE_BYTES = 4 << 20
ROWS_EACH = 64
RECORD = {"HEDGEROW__ROLLOUT__RECORD": "true"}
# A part may take this many times what it is said to take, and the allocator's slack.
TIMES, SLACK_MB = 2.0, 8
MEGABYTE = 1 << 20


def measure(run):
    verdict = judged.Verdict(
        "Memory",
        "resident, after 20,000 different rows in requests of 64; the difference is to the line above, "
        "which the line builds on. File: of the models that are new in a line",
        ["server", "new in this line", "file", "resident", "difference"],
    )
    main, deep, tiny = train.model_file(plan.MAIN), grown.deep(), grown.tiny()
    wide = {"tiny": tiny, plan.MAIN: main}
    bare = resident(run, "tiny", {"tiny": tiny}, {})
    one = resident(run, "one", wide, {})
    line(verdict, ("1 tiny model", "a model of 3 trees", tiny, bare, None))
    line(verdict, ("2 models", train.TITLES[plan.MAIN], main, one, bare))
    two = resident(run, "two", wide, {}, arrives=main)
    line(
        verdict,
        ("the same", "its next revision; the last one stays, to go back to", main, two, one),
    )
    large = resident(run, "deep", {**wide, "deep": deep}, {})
    line(verdict, ("3 models", "5,000 trees of depth 6", deep, large, one))
    recorded = resident(run, "record", wide, RECORD)
    line(verdict, ("2 models", "the journal, in SQLite", None, recorded, one))
    watched = resident(run, "drift", wide, {"HEDGEROW__DRIFT__WATCH": "on"})
    line(verdict, ("2 models", "drift, 30 features", None, watched, one))
    cached = resident(run, "cache", wide, {"HEDGEROW__CACHE__CAPACITY_BYTES": str(CACHE_BYTES)})
    line(
        verdict, ("2 models", f"a cache of {CACHE_BYTES // MEGABYTE} MiB, full", None, cached, one)
    )
    verdict.at_most(
        "cache, of its capacity in MB", cached - one, TIMES * CACHE_BYTES / MEGABYTE + SLACK_MB
    )
    verdict.at_most("next revision, times the first", judged.ratio(two - one, one - bare), TIMES)
    return verdict


def line(verdict, cells):
    server, new, file, now, before = cells
    size = f"{file.stat().st_size / 1e6:.1f} MB" if file else ""
    more = "" if before is None else f"{now - before:+.1f} MB"
    verdict.rows.append([server, new, size, f"{now:.1f} MB", more])


def resident(run, name, models, environment, arrives=None):
    """MB of a server of these models after the load; `arrives` is a second revision of the first
    large one."""
    environment = {"HEDGEROW__MODELS__SETTLE_MS": "0", **environment}
    slot, rows = (plan.MAIN, run.rows) if plan.MAIN in models else ("tiny", run.rows[:, :5])
    site = disturbances.Site(run.hedgerow, f"load-memory-{name}", models, environment)
    path = f"/v2/models/{slot}/infer"
    requests = [
        bodies.open_inference(slot, rows[at : at + ROWS_EACH])
        for at in range(0, len(rows), ROWS_EACH)
    ]
    try:
        site.process.until(lambda: (process.post(site.http, path, requests[0]) or [0])[0] == 200)
        if arrives:
            site.add(plan.MAIN, 2, arrives)
            site.process.until(lambda: site.swaps(plan.MAIN) > 0)
        for request in requests:
            disturbances.ask(site.http, path, request)
        # What was written lately has been, and what was retired is gone.
        time.sleep(0.5)
        return process.memory_mb(site.process.tree())
    finally:
        site.process.close()
