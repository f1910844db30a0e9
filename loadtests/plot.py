"""Latency over rate as an SVG: Hedgerow beside the parse-only limit, written by hand."""

import math

import plan

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 64, 56
COLOURS = {"hedgerow": "#1b7f4b", "axum-parse": "#8a8f98"}
QUANTILES = {"p50_us": ("P50", ""), "p99_us": ("P99", "7 4"), "p999_us": ("P99.9", "2 3")}
# Closest that two labels at the ends of lines may stand.
LABEL_PIXELS = 15


def write(standings, path):
    """Draws the open loops over REST of the servers that were swept; nothing if there are none."""
    lines = curves(standings)
    if lines:
        path.write_text(drawing(lines))


def curves(standings):
    """`{(server, quantile): [(requests per second, µs)]}`, by rate."""
    found = {}
    for one in standings:
        if one.server.name not in plan.SWEPT:
            continue
        swept = filter(plan.is_swept, one.windows)
        for scenario in sorted(swept, key=lambda it: it.rate):
            figures = one.medians(scenario)
            for quantile in QUANTILES:
                if figures[quantile]:
                    points = found.setdefault((one.server.name, quantile), [])
                    points.append((scenario.rate, figures[quantile]))
    return found


def drawing(lines):
    points = [point for line in lines.values() for point in line]
    rate_max = max(rate for rate, _ in points) * 1.02
    low = 10 ** math.floor(math.log10(min(latency for _, latency in points)))
    high = 10 ** math.ceil(math.log10(max(latency for _, latency in points)))

    def x(rate):
        return LEFT + rate / rate_max * (WIDTH - LEFT - RIGHT)

    def y(latency):
        share = math.log(latency / low) / math.log(high / low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif" '
        'font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16">Latency over rate: REST, 1 row, '
        "XGBoost 100 trees of depth 6</text>",
        f'<text x="{LEFT}" y="45" fill="#666">Poisson arrivals, one core; from the time a request '
        "was due to its whole answer</text>",
    ]
    parts += rules(low, high, rate_max, x, y)
    parts += [curve(key, points, x, y) for key, points in lines.items()]
    parts += labels(lines, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def rules(low, high, rate_max, x, y):
    """Grid and axes: decades up, round numbers of requests across."""
    parts, right, foot = [], WIDTH - RIGHT, HEIGHT - BOTTOM
    for decade in range(round(math.log10(low)), round(math.log10(high)) + 1):
        for factor in range(1, 10):
            at = factor * 10**decade
            if at > high:
                break
            shade = "#ccc" if factor == 1 else "#eee"
            parts.append(rule(LEFT, y(at), right, y(at), shade))
        parts.append(text(LEFT - 8, y(10**decade) + 4, duration(10**decade), "end"))
    step = round_step(rate_max / 6)
    for at in range(0, int(rate_max) + 1, step):
        parts.append(rule(x(at), foot, x(at), foot + 5, "#999"))
        parts.append(text(x(at), foot + 20, f"{at:,}", "middle"))
    parts.append(rule(LEFT, foot, right, foot, "#999"))
    parts.append(text((LEFT + right) / 2, foot + 42, "requests per second, asked", "middle"))
    return parts


def rule(x1, y1, x2, y2, colour):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(x, y, words, anchor="start", colour="#333"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def curve(key, points, x, y):
    name, quantile = key
    path = " ".join(f"{x(rate):.1f},{y(latency):.1f}" for rate, latency in points)
    dots = "".join(
        f'<circle cx="{x(rate):.1f}" cy="{y(latency):.1f}" r="2.5" stroke="none"/>'
        for rate, latency in points
    )
    colour, dash = COLOURS[name], QUANTILES[quantile][1]
    return (
        f'<g stroke="{colour}" fill="{colour}"><polyline points="{path}" fill="none" '
        f'stroke-width="2" stroke-dasharray="{dash}"/>{dots}</g>'
    )


def labels(lines, x, y):
    """Each line's name at its right end, pushed apart where ends are close."""
    ends = sorted((y(points[-1][1]), key, points[-1][0]) for key, points in lines.items())
    parts, last = [], -math.inf
    for at, (name, quantile), rate in ends:
        last = max(at, last + LABEL_PIXELS)
        words = f"{name} {QUANTILES[quantile][0]}"
        parts.append(text(x(rate) + 9, last + 4, words, colour=COLOURS[name]))
    return parts


def duration(us):
    if us >= 1e6:
        return f"{us / 1e6:g} s"
    return f"{us / 1e3:g} ms" if us >= 1e3 else f"{us:g} µs"


def round_step(least):
    """The first of 1, 2, 5, 10, 20, … that is no less."""
    base = 10 ** math.floor(math.log10(max(least, 1)))
    return next(base * factor for factor in (1, 2, 5, 10) if base * factor >= least)
