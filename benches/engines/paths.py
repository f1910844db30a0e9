"""Where things lie: sources in benches/, everything that is made in target/engines/."""

import pathlib

SOURCES = pathlib.Path(__file__).resolve().parent
ROOT = SOURCES.parent.parent
OUT = ROOT / "target" / "engines"
RESULTS = ROOT / "benches" / "results"
