"""docs/observe.md and docs/drift.md name every metric of a server in which everything is on."""

import re

from conftest import ROOT

NAME = re.compile(r"`(\w+)(?:\{[^`]*\})?`")
"""A whole name; labels may follow it."""


def named(text):
    """Names in backticks, and what an ending stands for: `a_b_c_d`, `_x` in one cell is a_b_x or a_b_c_x."""
    known = set(NAME.findall(text))
    for cell in re.findall(r"^\| (.*?) \|", text, re.M):
        first, *others = NAME.findall(cell) or [""]
        starts = [first[: place.start()] for place in re.finditer("_", first)][1:]
        known |= {start + other for other in others for start in starts if other.startswith("_")}
    return known


def missing(families, known):
    """Metrics that are not among the known names."""
    full = [name + "_total" * (kind == "counter") for name, kind in families]
    return [name for name in full if name not in known]


def test_every_metric_is_in_the_docs(story):
    server, _ = story
    text = "".join((ROOT / "docs" / name).read_text() for name in ("observe.md", "drift.md"))
    families = re.findall(r"^# TYPE (\w+) (\w+)$", server.ask("admin", "GET", "/metrics")[1], re.M)
    assert len(families) > 60
    assert missing(families, named(text)) == []


def test_only_a_whole_name_is_documented():
    known = named("Counters end in `_total`.\n| `h_cache_hits_total`, `_misses_total` | `h_queue{slot}` h_bare |\n")
    there = [("h_cache_hits", "counter"), ("h_cache_misses", "counter"), ("h_queue", "gauge")]
    absent = [("h_cache", "counter"), ("h_misses", "counter"), ("h_cache_hits", "gauge"), ("h_queue_bytes", "gauge"), ("h_bare", "gauge")]
    assert missing(there, known) == []
    assert len(missing(absent, known)) == len(absent)
