"""The tables: loadtests/results/servers.md for people, servers.json for programs."""

import datetime
import json

import plan
import servers
import train
from places import OUT, RESULTS, ROOT
from servers import LIMIT, PEER, PRODUCT

PERCENTILES = ["p50_us", "p90_us", "p95_us", "p99_us", "p999_us"]
NOTHING = "–"


def save(name, text, entries, part):
    """Writes and prints a page; `part` of a benchmark must not pass for all of it."""
    folder = OUT / "results" if part else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    document = json.dumps(entries, indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(document + "\n")
    print(text)
    print(f"saved as {name}.md and {name}.json in {folder.relative_to(ROOT)}")
    return folder


def entries(standings):
    """A list of one object per server and scenario; skipped ones carry the reason."""
    listed = []
    for one in standings:
        common = {
            "server": one.server.name,
            "version": one.server.version(),
            "model": one.model,
            "via": one.server.via,
        }
        if one.skipped:
            listed.append({**common, "skipped": one.skipped})
        for scenario in one.windows:
            listed.append(entry(one, common, scenario))
    return listed


def entry(one, common, scenario):
    figures = one.medians(scenario)
    return {
        **common,
        "protocol": scenario.protocol,
        "rows": scenario.rows,
        "connections": scenario.connections,
        "rate": scenario.rate and round(scenario.rate, 1),
        "share": scenario.share,
        "rps": round(figures["rps"], 1),
        "rows_per_s": round(figures["rps"] * scenario.rows, 1),
        **{name: round(figures[name], 1) for name in PERCENTILES},
        **{name: figures[name] for name in ("requests", "errors", "refused", "dropped")},
        "rss_mb": round(figures["rss_mb"], 1),
        "cpu_us_per_request": round(figures["cpu_us_per_request"], 2),
        "start_ms": round(one.start_ms, 1),
        "max_abs_diff": max(one.differences.values(), default=None),
    }


def heading(title, command, machine, rounds):
    now = datetime.datetime.now(datetime.UTC)
    return [
        f"# {title}",
        "",
        f"Made by `{command}` on {now:%Y-%m-%d %H:%M} UTC: {rounds}. "
        "What each column means: [loadtests/README.md](../README.md).",
        "",
        f"Machine: {machine['cpu']} ({machine['family']}, {machine['architecture']}), "
        f"{machine['cores']} cores, {' '.join(machine['instructions'])}; {machine['system']}; "
        f"load average at the start {machine['load_average']:.2f}; {machine['rustc']}.",
        "",
    ]


def page(standings, machine, command, rounds):
    lines = heading("Servers, side by side", command, machine, rounds)
    lines += [
        "The server has core 0, the load generator core 1. Cells are requests per second and, in "
        "brackets, P50 / P99 in µs; medians over rounds. **Bold**: the best peer of a column.",
    ]
    models = list(dict.fromkeys(one.model for one in standings))
    for model in models:
        of_model = [one for one in standings if one.model == model]
        lines += ["", f"## {train.TITLES[model]}", "", *about(of_model)]
        for protocol in servers.PROTOCOLS:
            for rows in plan.ROWS:
                lines += closed_loop(of_model, protocol, rows)
    lines += open_loops(standings)
    return "\n".join(lines) + "\n"


def about(standings):
    lines = [
        "| server | start | memory | largest difference | how |",
        "|---|--:|--:|--:|---|",
    ]
    for one in standings:
        name = f"{one.server.name} {one.server.version()}".strip()
        if one.skipped:
            lines.append(f"| {name} | – | – | – | skipped: {one.skipped.replace('|', '/')} |")
            continue
        difference = max(one.differences.values(), default=None)
        agrees = NOTHING if difference is None else f"{difference:.1e}" if difference else "exact"
        memory = max((one.medians(scenario)["rss_mb"] for scenario in one.windows), default=0)
        lines.append(
            f"| {name} | {one.start_ms:,.0f} ms | {memory:,.0f} MB | {agrees} | {one.server.via} |"
        )
    return lines


def closed_loop(standings, protocol, rows):
    """One table: servers by connections."""

    def figures(one, connections):
        for scenario in one.windows:
            wanted = (protocol, rows, connections, None)
            if wanted == (scenario.protocol, scenario.rows, scenario.connections, scenario.rate):
                return one.medians(scenario)
        return None

    connections = [
        count for count in plan.CONNECTIONS if any(figures(one, count) for one in standings)
    ]
    if not connections:
        return []
    columns = [plural(count, "connection") for count in connections]
    lines = [
        "",
        f"### {servers.TITLES[protocol]}, {plural(rows, 'row')} per request",
        "",
        "| server | " + " | ".join(columns) + " | rows/s | CPU per request | errors |",
        "|---|" + "--:|" * (len(columns) + 3),
    ]
    measured = [(one, [figures(one, count) for count in connections]) for one in standings]
    measured = [(one, found) for one, found in measured if any(found)]
    best = [best_of(measured, PEER, column) for column in range(len(columns))]
    for one, found in measured:
        cells = [cell(it, it is not None and best[at] is it) for at, it in enumerate(found)]
        most = max((it for it in found if it), key=lambda it: it["rps"])
        cells += [
            f"{most['rps'] * rows:,.0f}",
            f"{most['cpu_us_per_request']:,.1f} µs",
            str(sum(it["errors"] + it["refused"] for it in found if it)),
        ]
        lines.append(f"| {one.server.name} | " + " | ".join(cells) + " |")
    return lines + ratios(measured, best)


def best_of(measured, kind, column, suffix=""):
    """The figures of the server of a kind with the most requests per second; or None."""
    found = [
        found[column]
        for one, found in measured
        if one.server.kind == kind and one.server.name.endswith(suffix) and found[column]
    ]
    return max(found, key=lambda figures: figures["rps"], default=None)


def ratios(measured, best):
    """How many times the requests per second of others Hedgerow answers."""
    lines = []
    ours = [best_of(measured, PRODUCT, column) for column in range(len(best))]
    limits = [best_of(measured, LIMIT, column, "parse") for column in range(len(best))]
    for title, others in (("hedgerow : parse-only limit", limits), ("hedgerow : best peer", best)):
        cells = [
            f"{mine['rps'] / other['rps']:.2f}" if mine and other and other["rps"] else NOTHING
            for mine, other in zip(ours, others, strict=True)
        ]
        lines.append(f"| *{title}* | " + " | ".join(cells) + " | | | |")
    return lines


def cell(figures, is_best):
    if figures is None:
        return NOTHING
    text = f"{figures['rps']:,.0f} ({figures['p50_us']:,.0f} / {figures['p99_us']:,.0f})"
    return f"**{text}**" if is_best else text


def open_loops(standings):
    """One table of the open loops that all have, then the plot, which has more."""
    found = [
        (one, scenario)
        for one in standings
        for scenario in one.windows
        if scenario.share in plan.SHARES[one.server.kind]
    ]
    if not found:
        return []
    lines = [
        "",
        f"## Open loop: {train.TITLES[plan.MAIN]}, 1 row per request",
        "",
        f"Poisson arrivals on {plan.OPEN_CONNECTIONS} connections; latency from the time a request "
        "was due. Shares are of Hedgerow's capacity for Hedgerow and the limits, of their own for "
        "peers. µs.",
        "",
        "| server | protocol | share | asked | answered | P50 | P90 | P99 | P99.9 "
        "| failed, refused, dropped |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    order = {protocol: at for at, protocol in enumerate(servers.PROTOCOLS)}
    found.sort(key=lambda it: (order[it[1].protocol], it[1].share))
    for one, scenario in found:
        figures = one.medians(scenario)
        latencies = [figures[name] for name in ("p50_us", "p90_us", "p99_us", "p999_us")]
        cells = [
            *(one.server.name, servers.TITLES[scenario.protocol], f"{scenario.share:.0%}"),
            *(f"{scenario.rate:,.0f}/s", f"{figures['rps']:,.0f}/s"),
            *(f"{latency:,.0f}" for latency in latencies),
            f"{figures['errors']}, {figures['refused']}, {figures['dropped']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines + ["", "![Latency over rate](latency.svg)"]


def plural(count, noun):
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
