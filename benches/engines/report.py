"""The table: benches/results/engines.md for people, engines.json for programs."""

import datetime
import json
import math

import measure
import train
from paths import OUT, RESULTS, ROOT


def write(results, about, machine, options):
    # A run of a part must not pass for the table.
    folder = OUT / "results" if options.part else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    text = page(results, about, machine, options)
    (folder / "engines.md").write_text(text)
    document = json.dumps(entries(results), indent=1, allow_nan=False)
    (folder / "engines.json").write_text(document + "\n")
    print(text)
    print(f"saved as engines.md and engines.json in {folder.relative_to(ROOT)}")


def entries(results):
    """A list of one object per engine, model and row count; skipped ones carry the reason."""
    listed = []
    for one in results:
        common = {
            "engine": one.engine.name,
            "version": one.engine.version(),
            "model": one.model,
            "via": via(one),
        }
        if one.skipped:
            listed.append({**common, "skipped": one.skipped})
            continue
        for rows in measure.ROWS:
            listed.append(
                {
                    **common,
                    "rows": rows,
                    "ns_per_row": round(one.median(rows), 2),
                    "ns_per_row_min": round(one.lowest(rows), 2),
                    "load_ms": round(one.load_ms, 3),
                    "compile_ms": round(one.compile_ms, 3),
                    "memory_bytes": one.memory_bytes,
                    "max_abs_diff": None if math.isnan(one.max_abs_diff) else one.max_abs_diff,
                }
            )
    return listed


def page(results, about, machine, options):
    now = datetime.datetime.now(datetime.UTC)
    lines = [
        "# Engines, side by side",
        "",
        f"Made by `make bench-engines` on {now:%Y-%m-%d %H:%M} UTC: {options.rounds} rounds"
        + (", QUICK=1 (the slowest peers left out)" if options.quick else "")
        + ". What each column means: [benches/README.md](../README.md).",
        "",
        f"Machine: {machine['cpu']} ({machine['family']}, {machine['architecture']}), "
        f"{machine['cores']} cores, {' '.join(machine['instructions'])}; {machine['system']}; "
        f"load average at the start {machine['load_average']:.2f}; {machine['gcc']}; "
        f"{machine['rustc']}.",
        "",
        "One thread; ns per row in processor time, median over rounds (lowest in brackets). "
        "**Bold**: the lowest of its column.",
    ]
    for model in about:
        lines += ["", *section(model, about[model], [one for one in results if one.model == model])]
    return "\n".join(lines) + "\n"


def section(model, about, results):
    leaves = about["leaves"]
    lines = [
        f"## {train.TITLES[model]}",
        "",
        f"{about['trees']} trees, {leaves['mean']:.1f} leaves each on average ({leaves['min']} to "
        f"{leaves['max']}); {about['file_bytes'] / 1e6:.1f} MB as `{about['file']}`.",
        "",
        "| engine | "
        + " | ".join(f"{count(rows)}" for rows in measure.ROWS)
        + " | load | memory | largest difference | via |",
        "|---|" + "--:|" * (len(measure.ROWS) + 3) + "---|",
    ]
    done = [one for one in results if not one.skipped]
    best = {rows: min((one.median(rows) for one in done), default=0) for rows in measure.ROWS}
    lines += [row(one, best) for one in results]
    lines.append(ratios(done))
    return lines


def count(rows):
    return "1 row" if rows == 1 else f"{rows:,} rows"


def row(one, best):
    name = f"{one.engine.name} {one.engine.version()}"
    if one.skipped:
        blanks = " | ".join("–" for _ in range(len(measure.ROWS) + 3))
        return f"| {name} | {blanks} | skipped: {one.skipped.replace('|', '/')} |"
    cells = []
    for rows in measure.ROWS:
        median = one.median(rows)
        text = f"{figure(median)} ({figure(one.lowest(rows))})"
        cells.append(f"**{text}**" if median == best[rows] else text)
    cells += [duration(one.load_ms), f"{one.memory_bytes / 1e6:.1f} MB", agreement(one), via(one)]
    return f"| {name} | " + " | ".join(cells) + " |"


def via(one):
    return f"{one.engine.via} ({one.variant})" if one.variant else one.engine.via


def ratios(done):
    """How many times as long the best peer takes as Hedgerow: above 1, Hedgerow is ahead."""
    ours = [one for one in done if one.engine.package == "hedgerow"]
    peers = [one for one in done if one.engine.package != "hedgerow"]
    cells = []
    for rows in measure.ROWS:
        if not ours or not peers:
            cells.append("–")
            continue
        best = min(peers, key=lambda one: one.median(rows))
        by_median = best.median(rows) / ours[0].median(rows)
        by_lowest = min(one.lowest(rows) for one in peers) / ours[0].lowest(rows)
        cells.append(f"{by_median:.2f} ({by_lowest:.2f}), {best.engine.name}")
    return "| *best peer : hedgerow* | " + " | ".join(cells) + " | | | | |"


def figure(ns):
    return f"{ns:,.0f}" if ns >= 100 else f"{ns:.1f}"


def duration(milliseconds):
    return f"{milliseconds / 1e3:,.1f} s" if milliseconds >= 1e4 else f"{milliseconds:,.1f} ms"


def agreement(one):
    if math.isnan(one.max_abs_diff):
        return "NaN"
    if one.max_abs_diff == 0:
        return "exact"
    text = f"{one.max_abs_diff:.1e}"
    return text if one.max_abs_diff <= one.engine.tolerance else f"**{text}** (!)"
