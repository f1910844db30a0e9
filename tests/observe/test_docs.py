"""docs/observe.md and docs/drift.md name every metric of a server in which everything is on."""

import re

from conftest import ROOT


def test_every_metric_is_in_the_docs(story):
    server, _ = story
    words = "".join((ROOT / "docs" / name).read_text() for name in ("observe.md", "drift.md"))
    families = re.findall(r"^# TYPE (\w+) (\w+)$", server.ask("admin", "GET", "/metrics")[1], re.M)
    missing = []
    for name, kind in families:
        name += "_total" if kind == "counter" else ""
        # `_lag_seconds` after a full name stands for one that ends so.
        ends = [name[place.start() :] for place in re.finditer("_", name)]
        if not any(f"`{known}`" in words for known in [name, *ends]):
            missing.append(name)
    assert len(families) > 60 and missing == []
