"""The synthetic table all tiny models are trained on, and how a case is written.

Runs under every library version: standard library and NumPy only.
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "models"))

import numpy as np

import golden

NAN = float("nan")
NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
CATEGORY_NAMES = ["few", "many"]


def table(rows=300, seed=1):
    """Six columns: plain, wide with gaps, small integers, mostly zero, uniform, few gaps."""
    rng = np.random.default_rng(seed)
    values = np.column_stack(
        [
            rng.normal(size=rows),
            rng.normal(size=rows) * 10,
            rng.integers(0, 10, rows),
            np.where(rng.random(rows) < 0.6, 0.0, rng.normal(size=rows)),
            rng.random(rows),
            rng.lognormal(size=rows),
        ]
    )
    values[rng.random(rows) < 0.15, 1] = NAN
    values[rng.random(rows) < 0.02, 5] = NAN
    return values


def score(values, seed=2):
    """A smooth target with noise; missing values have their own effect."""
    rng = np.random.default_rng(seed)
    wide = np.where(np.isnan(values[:, 1]), 0.8, np.tanh(values[:, 1] / 8))
    late = np.where(np.isnan(values[:, 5]), -0.5, np.log1p(np.nan_to_num(values[:, 5])))
    total = values[:, 0] + wide + 0.2 * values[:, 2] + values[:, 3] * values[:, 4] + late
    return total - 1.6 + rng.normal(size=len(values)) * 0.3


def classes(target, count):
    edges = np.quantile(target, np.linspace(0, 1, count + 1)[1:-1])
    return np.digitize(target, edges).astype(float)


def with_categories(values, many=80, seed=3):
    """The table with two columns of integer codes in front, and what they add to the target."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 4, len(values))
    often = rng.integers(0, many, len(values))
    effect = rng.normal(size=4)[few] + rng.normal(size=many)[often]
    return np.column_stack([few, often, values]), effect


def category_edges(rows, seed):
    """Puts codes on their edges: unseen, negative, fractional, missing, far too large."""
    rng = np.random.default_rng(seed)
    odd = [3.0, 4.0, 99.0, 3.9, NAN, 0.0, -0.0, 79.0]
    for row in rows[8:]:
        for column in (0, 1):
            if rng.random() < 0.5:
                row[column] = odd[rng.integers(len(odd))]
    return rows


class Output:
    """Writes cases to a folder, with a line for each."""

    def __init__(self, folder, only, library, version):
        self.folder, self.only = folder, only
        self.library, self.version = library, version

    def wants(self, case):
        return self.only is None or self.only in case

    def case(self, case):
        path = self.folder / case
        path.mkdir(parents=True, exist_ok=True)
        return path

    def record(self, case, tolerance=0.0, **fields):
        head = {"library": self.library, "library_version": self.version}
        if "refused" not in fields:
            head["tolerance"] = tolerance
        golden.write(self.folder / case, **head, **fields)
        size = sum(path.stat().st_size for path in (self.folder / case).iterdir())
        count = len(fields.get("rows", []))
        what = f"refused: {fields['refused']}" if "refused" in fields else f"{count} rows"
        print(f"{self.library} {self.version} {case}: {what}, {size / 1000:.1f} kB", flush=True)


def output(library, version):
    """The Output that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write the cases to")
    parser.add_argument("--only", help="make only the cases whose name contains this")
    options = parser.parse_args()
    return Output(options.out.resolve(), options.only, library, version)
