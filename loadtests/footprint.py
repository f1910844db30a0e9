"""Memory: what each part of a server takes, one server per part, after the same load."""

import dataclasses
import http.client
import pathlib
import time

import bodies
import disturbances
import grown
import judged
import plan
import process
import train

CACHE_BYTES = 4 << 20
CONNECTIONS = 900
ROWS_EACH = 64
MEGABYTE = 1 << 20
# A part may take this many times what it is said to take, and the allocator's slack.
TIMES, SLACK_MB = 2.0, 8


@dataclasses.dataclass(frozen=True)
class Part:
    """A server that differs from another in one thing."""

    title: str
    # The part that it is compared with.
    base: str = ""
    models: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    # A model's file that is new in it, for the table.
    file: pathlib.Path | None = None
    # Whether `file` arrives while it serves.
    arrives: bool = False
    # Connections that stay open, and ask nothing more.
    idle: int = 0


def parts():
    main, deep, tiny = train.model_file(plan.MAIN), grown.deep(), grown.tiny()
    two = {"tiny": tiny, plan.MAIN: main}
    cache = {"HEDGEROW__CACHE__CAPACITY_BYTES": str(CACHE_BYTES)}
    record, drift = {"HEDGEROW__ROLLOUT__RECORD": "true"}, {"HEDGEROW__DRIFT__WATCH": "on"}
    return {
        "tiny": Part("a model of 3 trees", models={"tiny": tiny}, file=tiny),
        "main": Part(train.TITLES[plan.MAIN], "tiny", two, file=main),
        "next": Part("its next revision; the last one stays", "main", two, file=main, arrives=True),
        "deep": Part("5,000 trees of depth 6", "main", {**two, "deep": deep}, file=deep),
        "record": Part("predictions are recorded in SQLite", "main", two, record),
        "drift": Part("drift of 30 features", "main", two, drift),
        "cache": Part(f"a cache of {CACHE_BYTES // MEGABYTE} MiB, full", "main", two, cache),
        "idle": Part(f"{CONNECTIONS} idle connections", "main", two, idle=CONNECTIONS),
    }


def measure(run):
    verdict = judged.Verdict(
        "Memory",
        "resident, after 20,000 different rows in requests of 64; each server differs in one thing "
        "from the one that it is compared with",
        ["server", "what is new", "compared with", "model file", "resident", "difference"],
    )
    taken, more = {}, {}
    for name, part in parts().items():
        taken[name] = resident(run, name, part)
        more[name] = taken[name] - taken[part.base] if part.base else None
        size = f"{part.file.stat().st_size / 1e6:.1f} MB" if part.file else ""
        difference = f"{more[name]:+.1f} MB" if part.base else ""
        verdict.rows.append(
            [name, part.title, part.base, size, f"{taken[name]:.1f} MB", difference]
        )
    most = TIMES * CACHE_BYTES / MEGABYTE + SLACK_MB
    verdict.at_most("cache, MB", more["cache"], most)
    verdict.at_most("next revision, MB", more["next"], TIMES * more["main"] + SLACK_MB)
    return verdict


def resident(run, name, part):
    """MB of a server after the load."""
    environment = {"HEDGEROW__MODELS__SETTLE_MS": "0", **part.environment}
    slot, rows = (plan.MAIN, run.rows) if plan.MAIN in part.models else ("tiny", run.rows[:, :5])
    site = disturbances.Site(run.hedgerow, f"load-memory-{name}", part.models, environment)
    path = f"/v2/models/{slot}/infer"
    requests = [
        bodies.open_inference(slot, rows[at : at + ROWS_EACH])
        for at in range(0, len(rows), ROWS_EACH)
    ]
    try:
        site.process.until(lambda: (process.post(site.http, path, requests[0]) or [0])[0] == 200)
        if part.arrives:
            site.add(slot, 2, part.file)
            site.process.until(lambda: site.swaps(slot) > 0)
        for request in requests:
            disturbances.ask(site.http, path, request)
        open_connections = [connect(site.http) for _ in range(part.idle)]
        # What was recorded is written, and what was retired is gone.
        time.sleep(0.5)
        found = process.memory_mb(site.process.tree())
        for connection in open_connections:
            connection.close()
        return found
    finally:
        site.process.close()


def connect(port):
    """A connection that has asked once."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/v2/health/live")
    connection.getresponse().read()
    return connection
