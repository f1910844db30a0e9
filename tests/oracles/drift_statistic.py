"""Prints drift_statistic.tsv, which the tests of src/drift/statistic.rs read.

    pip install evidently==0.7.23 scipy==1.17.1 numpy==2.4.6 pandas==2.3.3
    python3 tests/oracles/drift_statistic.py > tests/oracles/drift_statistic.tsv

Every number is of SciPy, of Evidently or of exact fractions. What Evidently computes from rows is
computed here from counts, and compared with Evidently itself wherever the rows can be written out.
"""

import warnings
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
from draw import KINDS, Draw, counts
from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.kl_div import _kl_div
from evidently.legacy.calculations.stattests.psi import _psi
from evidently.legacy.core import ColumnType
from scipy.spatial import distance
from scipy.stats import chi2, chi2_contingency, entropy, ks_2samp, kstwobign, wasserstein_distance

warnings.filterwarnings("ignore")


def near(found, expected, relative=1e-10, absolute=1e-14):
    assert abs(found - expected) <= relative * abs(expected) + absolute, (found, expected)


def filled(histogram):
    """get_binned_data of Evidently from the line `if feel_zeroes` on."""
    shares = np.array([count / sum(histogram) for count in histogram])
    smallest = min(shares[shares != 0])
    np.place(shares, shares == 0, smallest / 10**6 if smallest <= 0.0001 else 0.0001)
    return shares


def psi(reference, live):
    p, q = filled(reference), filled(live)
    return np.sum((p - q) * np.log(p / q))


def wasserstein(edges, reference, live):
    """The integral of |F - G| in exact fractions."""
    n, m = sum(reference), sum(live)
    total, before = Fraction(0), Fraction(0)
    for low, high, r, l in zip(edges, edges[1:], reference, live):
        width, after = Fraction(high) - Fraction(low), before + Fraction(r, n) - Fraction(l, m)
        if before * after < 0:
            crossing = before / (before - after)
            area = crossing * abs(before) / 2 + (1 - crossing) * abs(after) / 2
        else:
            area = (abs(before) + abs(after)) / 2
        total, before = total + width * area, after
    return float(total)


def chi_squared(reference, live):
    """Pearson's statistic in exact fractions, and its degrees of freedom."""
    n, m = sum(reference), sum(live)
    pairs = [(r, l) for r, l in zip(reference, live) if r + l]
    statistic = Fraction(0)
    for r, l in pairs:
        for observed, size in [(r, n), (l, m)]:
            expected = Fraction((r + l) * size, n + m)
            statistic += (observed - expected) ** 2 / expected
    return float(statistic), len(pairs) - 1


def compare_rows(reference, live, edges):
    """The originals on rows, where there are few enough to write them out."""
    bins = np.arange(len(reference))
    rows = pd.Series(np.repeat(bins, reference)), pd.Series(np.repeat(bins, live))
    n, m = len(rows[0]), len(rows[1])
    near(ks_2samp(*rows, method="asymp").statistic, ks(reference, live))
    middles = [
        (np.array(edges[:-1]) + (np.arange(2000)[:, None] + 0.5) / 2000 * np.diff(edges)).T.ravel(),
    ]
    weights = [np.repeat(np.array(side) / 2000, 2000) for side in (reference, live)]
    near(
        wasserstein_distance(middles[0], middles[0], *weights),
        wasserstein(edges, reference, live),
        1e-3,
        1e-3,
    )
    pairs = [(r, l) for r, l in zip(reference, live) if r + l]
    if len(pairs) > 1:
        test = chi2_contingency(np.array(pairs).T, correction=False)
        near(test.statistic, chi_squared(reference, live)[0], 1e-9)
    if all(r > 0 for r, _ in pairs) and len(pairs) > 1:
        # Goodness of fit, which ours is not: larger by about 1 + m/n.
        fit = chi2.isf(_chi_stat_test(*rows, ColumnType.Categorical, 0.05)[0], len(pairs) - 1)
        assert not 0 < fit < 600 or fit > test.statistic
    if len(pairs) < len(reference):
        return  # Evidently has no category without rows.
    category = ColumnType.Categorical
    near(_psi(*rows, category, 0.1)[0], psi(reference, live))
    near(_kl_div(*rows, category, 0.1)[0], entropy(filled(reference), filled(live)))
    near(
        _jensenshannon(*rows, category, 0.1)[0],
        distance.jensenshannon(reference, live),
        1e-7,
        1e-8,
    )


def compare_numbers():
    """Evidently's own bins of numbers, with bins that are empty on both sides."""
    draw = np.random.default_rng(1)
    reference = np.r_[draw.normal(size=30_000), 40.0]
    live = np.r_[draw.normal(0.2, 1.1, size=3_000), -20.0]
    bins = np.histogram_bin_edges(np.r_[reference, live], bins="sturges")
    p, q = np.histogram(reference, bins)[0], np.histogram(live, bins)[0]
    assert ((p == 0) & (q == 0)).any()
    rows = pd.Series(reference), pd.Series(live)
    near(_psi(*rows, ColumnType.Numerical, 0.1)[0], psi(p.tolist(), q.tolist()))
    near(_kl_div(*rows, ColumnType.Numerical, 0.1)[0], entropy(filled(p.tolist()), filled(q.tolist())))


def ks(reference, live):
    n, m = sum(reference), sum(live)
    return max(
        abs(float(Fraction(sum(reference[: k + 1]), n) - Fraction(sum(live[: k + 1]), m)))
        for k in range(len(reference))
    )


def histograms():
    print("# kind seed bins psi kl js_distance ks ks_p wasserstein chi degrees chi_p")
    for seed, bins in enumerate([1, 2, 3, 5, 10, 20, 30, 50, 100, 1000]):
        for kind in KINDS:
            draw = Draw(seed)
            reference, live = counts(draw, kind, bins), counts(draw, kind, bins)
            edges = [-3.0]
            for _ in range(bins):
                edges.append(edges[-1] + draw.below(8) / 4)
            n, m = sum(reference), sum(live)
            if n + m < 1_000_000:
                compare_rows(reference, live, edges)
            d = ks(reference, live)
            statistic, degrees = chi_squared(reference, live)
            numbers = [
                psi(reference, live),
                entropy(filled(reference), filled(live)),
                distance.jensenshannon(np.array(reference) / n, np.array(live) / m),
                d,
                kstwobign.sf(d / sqrt(1 / n + 1 / m)),
                wasserstein(edges, reference, live),
                statistic,
                degrees,
                chi2.sf(statistic, degrees) if degrees else 1.0,
            ]
            print("histogram", kind, seed, bins, *(repr(float(number)) for number in numbers), sep="\t")


def tails():
    print("# chi2 degrees x p")
    for degrees in [1, 2, 3, 4, 7, 9, 19, 20, 50, 99, 400, 999, 9_999]:
        for factor in [1e-300, 1e-9, 1e-3, 0.3, 0.7, 0.97, 1, 1.001, 1.05, 1.3, 2, 5, 30, 600]:
            x = degrees * factor
            print("chi2", degrees, repr(float(x)), repr(float(chi2.sf(x, degrees))), sep="\t")
    print("# kolmogorov x p")
    for x in [1e-9, 0.05, 0.2, 0.3, 0.5, 0.8, 0.999, 1, 1.001, 1.36, 2, 5, 12, 18, 30]:
        print("kolmogorov", repr(float(x)), repr(float(kstwobign.sf(x))), sep="\t")


compare_numbers()
histograms()
tails()
