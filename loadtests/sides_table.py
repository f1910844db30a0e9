"""What was measured of `sides`: for programs, and as tables for people."""

import sides

QUANTILES = ["p50_us", "p99_us", "p999_us"]
TITLES = {
    "recorded": "recorded",
    "skipped": "above the rate",
    "record_dropped": "queue full",
    "scored": "shadowed",
    "misfit": "misfits",
    "invalid": "not finite",
    "shadow_dropped": "not shadowed",
    "written": "written",
    "dropped": "not written",
}


def entries(measured):
    """One object per side and loop; factors are to the case's first side."""
    firsts = {(one.case.name, one.loop): one for one in reversed(measured)}
    return [entry(one, firsts[one.case.name, one.loop]) for one in measured]


def entry(one, first):
    figures = {name: round(one.median(name), 1) for name in ("rps", *QUANTILES)}
    factors = {f"{name}_factor": one.factor(first, name) for name in ("rps", *QUANTILES)}
    factors = {name: value and round(value, 3) for name, value in factors.items()}
    return {
        "case": one.case.name,
        "side": one.side.name,
        "title": one.side.title,
        "loop": one.loop,
        "rate": one.rate and round(one.rate, 1),
        **figures,
        **factors,
        "rows": one.counts,
        "lag_s": round(one.lag_s, 3),
        "caught_up_s": round(one.caught_up_s, 3),
        "failed": one.failed(),
        "problems": one.problems,
    }


def section(measured):
    if not measured:
        return []
    lines = [
        "",
        "## Shadow traffic and the journal",
        "",
        "Servers that differ in one thing each, in turns under the same load; open loops at "
        f"{sides.SHARE:.0%} of what the first one's closed loop reached. Factors are to the first. "
        "Every answer was compared with the library's. Rows are those of all windows together.",
    ]
    cases = {one.case.name: one.case for one in measured}
    for case in cases.values():
        lines += case_table(case, [one for one in measured if one.case is case])
    return lines


def case_table(case, measured):
    columns = [TITLES[name] for name in case.columns]
    heads = ["server", "loop", "requests/s", "P50", "P99", "P99.9", *columns, "lag", "failed"]
    lines = [
        "",
        f"**{case.name}**: {case.title}.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---|---|" + "--:|" * (len(heads) - 2),
    ]
    return lines + [row(one, first_of(measured, one.loop)) for one in measured]


def first_of(measured, loop):
    return next(one for one in measured if one.loop == loop)


def row(one, first):
    cells = [one.side.title, one.loop]
    cells += [figure(one, first, name) for name in ("rps", *QUANTILES)]
    cells += [f"{one.counts[name]:,}" if one.side.has_loop else "" for name in one.case.columns]
    cells.append(lag(one) if one.side.has_loop else "")
    cells.append(str(one.failed() or len(one.problems)))
    return "| " + " | ".join(cells) + " |"


def figure(one, first, name):
    factor = one.factor(first, name)
    said = "" if factor is None or one is first else f" ({factor:.2f})"
    return f"{one.median(name):,.0f}{said}"


def lag(one):
    return f"{one.lag_s:.2f} s, over after {one.caught_up_s:.1f} s"
