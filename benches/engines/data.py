"""Rows that look like card payments: made from a seed, so every run has the same ones.

30 features of the kinds that such models read (amounts, counts, ages, rates, flags, hours, scores),
no missing values: the peers' exports do not all agree on what a missing value means.
"""

import numpy as np

FEATURES = 30
SEED = 20240607
TRAIN_ROWS = 300_000
# Measured rows. More than any call takes, so that a call never sees the rows of the last one.
SERVED_ROWS = 20_000


def make():
    """Training rows, their labels, and the rows that are measured; rows are f32, row-major."""
    rng = np.random.default_rng(SEED)
    rows = features(rng, TRAIN_ROWS + SERVED_ROWS)
    labels = label(rng, rows)
    return rows[:TRAIN_ROWS], labels[:TRAIN_ROWS], rows[TRAIN_ROWS:]


def features(rng, count):
    amounts = rng.lognormal(3.2, 1.3, (count, 5))
    activity = rng.gamma(1.5, 1.0, (count, 1))
    counts = rng.poisson(activity * np.array([2.0, 5.0, 12.0, 30.0, 60.0]))
    ages = rng.exponential([3.0, 30.0, 400.0, 900.0], (count, 4))
    rates = rng.beta(2.0, [3.0, 5.0, 9.0, 20.0], (count, 4))
    flags = rng.random((count, 3)) < np.array([0.5, 0.15, 0.03])
    hour = rng.integers(0, 24, (count, 1))
    weekday = rng.integers(0, 7, (count, 1))
    scores = rng.multivariate_normal(np.zeros(7), 0.6 * np.eye(7) + 0.4, count)
    columns = [amounts, counts, ages, rates, flags, hour, weekday, scores]
    rows = np.hstack([np.asarray(column, dtype=np.float64) for column in columns])
    assert rows.shape == (count, FEATURES)
    return np.ascontiguousarray(rows, dtype=np.float32)


def label(rng, rows):
    """About one positive in six; the noise keeps trees from running out of things to split."""
    x = rows.astype(np.float64)
    amount, rate, score = np.log1p(x[:, 0:5]), x[:, 14:18], x[:, 23:30]
    logit = (
        0.5 * (amount[:, 0] - amount[:, 1])
        + 0.35 * amount[:, 2] * (x[:, 12] < 100)
        - 0.8 * np.log1p(x[:, 11] / 10) * rate[:, 1] * 4
        + 1.2 * ((x[:, 21] < 6) & (x[:, 5] > 3))
        + 0.9 * x[:, 19] * score[:, 0]
        + 0.6 * np.sin(2 * score[:, 1]) * score[:, 2]
        + 0.5 * np.abs(score[:, 3] - score[:, 4])
        + 3.0 * (rate[:, 0] - 0.4) * score[:, 5]
        + 0.2 * np.log1p(x[:, 9]) * (rate[:, 3] * 10 - 1)
    )
    logit = logit - np.quantile(logit, 0.84)
    return (rng.random(len(x)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
