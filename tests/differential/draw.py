"""Random tables and rows that hurt."""

import numpy as np

NAN, INF = float("nan"), float("inf")

# Values on the edges of floats and of the libraries' own limits.
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, -1e-45, 1e-39, 5e-324, 1e-36, 1e-35, -1e-35,
    1.0000000180025095e-35, 2e-35, 1e30, -1e30, 3.4028234663852886e38, -3.4028234663852886e38,
]  # fmt: skip


def flip(rng, chance=0.5):
    return bool(rng.random() < chance)


def pick(rng, values):
    return values[rng.integers(len(values))]


class Table:
    """rows, per feature whether it is categorical, and a target that depends on them."""

    def __init__(self, rng, categories):
        count = int(rng.integers(60, 400))
        self.width = int(rng.integers(1, 9))
        self.categorical = [categories and flip(rng, 0.4) for _ in range(self.width)]
        self.missing = flip(rng, 0.7)
        columns = [self.column(rng, count, is_code) for is_code in self.categorical]
        self.rows = np.column_stack(columns)
        filled = np.nan_to_num(self.rows, nan=0.7)
        scale = np.maximum(np.abs(filled).max(axis=0), 1e-30)
        parts = np.where(self.categorical, np.sin(filled * 2.3), np.tanh(3 * filled / scale))
        weights = rng.normal(size=self.width)
        pairs = parts[:, 0] * parts[:, -1]
        self.target = parts @ weights + pairs + rng.normal(size=count) * 0.2
        self.weights = rng.random(count) * 3 + 0.01 if flip(rng, 0.3) else None

    def column(self, rng, count, is_code):
        if is_code:
            values = rng.integers(0, pick(rng, [2, 5, 12, 40, 90]), count).astype(float)
        else:
            draw = pick(rng, ["normal", "wide", "whole", "zeros", "tiny", "few"])
            values = {
                "normal": lambda: rng.normal(size=count),
                "wide": lambda: rng.normal(size=count) * 10.0 ** rng.integers(-3, 8),
                "whole": lambda: rng.integers(-3, 9, count).astype(float),
                "zeros": lambda: np.where(rng.random(count) < 0.6, 0.0, rng.normal(size=count)),
                "tiny": lambda: rng.normal(size=count) * 1e-30,
                "few": lambda: rng.choice(rng.normal(size=4), count),
            }[draw]()
        # The libraries that train in 32 bits are given what 32 bits hold.
        values = values.astype(np.float32).astype(float)
        if self.missing and flip(rng, 0.6):
            values[rng.random(count) < pick(rng, [0.02, 0.3, 0.9])] = NAN
        return values

    def classes(self, count):
        edges = np.quantile(self.target, np.linspace(0, 1, count + 1)[1:-1])
        return np.digitize(self.target, edges).astype(float)


def asked(rng, table, thresholds, *, single, infinite, missing=True, count=80):
    """Rows made of the table's values, thresholds and their neighbours, and edges.

    single: a neighbour is one 32-bit step away, and all values are 32-bit floats.
    """
    kind = np.float32 if single else np.float64
    rows = table.rows[rng.integers(len(table.rows), size=count)].copy()
    for index, row in enumerate(rows):
        for feature in range(table.width):
            if index >= 20:
                row[feature] = value(rng, row[feature], thresholds[feature], kind, table, feature)
            if not infinite and not np.isnan(row[feature]):
                row[feature] = np.clip(row[feature], -3e38, 3e38)
            if not missing and np.isnan(row[feature]):
                row[feature] = 0.0
    if missing:
        rows[-1] = NAN
    with np.errstate(over="ignore"):
        return rows.astype(kind).astype(float)


def value(rng, own, thresholds, kind, table, feature):
    if table.categorical[feature]:
        codes = [own, own, 0.0, 3.0, 3.7, 31.0, 32.0, 41.0, 99.0, 1e6, NAN]
        return float(pick(rng, codes))
    draw = rng.random()
    if draw < 0.15:
        return NAN
    if draw < 0.3:
        return pick(rng, EDGES)
    if draw < 0.35:
        return pick(rng, [INF, -INF])
    if draw < 0.75 and len(thresholds):
        at = kind(pick(rng, thresholds))
        toward = kind(pick(rng, [INF, -INF]))
        return float(pick(rng, [at, np.nextafter(at, toward)]))
    return own
