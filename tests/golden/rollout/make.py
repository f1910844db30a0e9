#!/usr/bin/env python3
"""Writes cases.json: what the statistics of src/rollout must give, computed by others.

    pip install numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1 mpmath==1.4.1 confseq==0.0.11
    python3 tests/golden/rollout/make.py

Metrics come from scikit-learn. DeLong's comparison is written out here over all
pairs of a positive and a negative, without ranks. Two-sided sequences,
beta-binomial mixtures and betting come from confseq; one-sided bounds, which
confseq has in another form, and mixtures over a rate from mpmath at 50 digits.

confseq 0.0.11 has no wheel for Python 3.11. It builds with Boost's headers
(libboost-dev), after `pip install pybind11==2.13.6 scikit-build cmake ninja
"setuptools<70" wheel`, by `pip install --no-build-isolation confseq==0.0.11`.
"""

import json
from pathlib import Path

import mpmath
import numpy as np
from scipy.special import betaln
from sklearn import metrics

np.float_ = np.float64  # confseq 0.0.11 predates NumPy 2.
from confseq import betting, boundaries  # noqa: E402

mpmath.mp.dps = 50
HERE = Path(__file__).resolve().parent
RANDOM = np.random.default_rng(20)


def numbers(values):
    return [float(value) for value in values]


def binary_case(name, rows, digits=None, weighted=False, positives=0.3, threshold=0.5):
    labels = (RANDOM.random(rows) < positives).astype(float)
    labels[:2] = [0.0, 1.0]
    champion = 1 / (1 + np.exp(-(labels * 1.2 - 0.6 + RANDOM.normal(size=rows))))
    challenger = 1 / (1 + np.exp(-(labels * 1.6 - 0.8 + RANDOM.normal(size=rows))))
    if digits is not None:
        champion, challenger = champion.round(digits), challenger.round(digits)
    weights = RANDOM.choice([0.5, 1.0, 3.0, 40.0], size=rows) if weighted else np.ones(rows)
    # The core keeps weights in f32.
    weights = weights.astype(np.float32).astype(float)
    called = (champion >= threshold).astype(float)
    keyed = {"sample_weight": weights}
    return {
        "name": name,
        "threshold": threshold,
        "labels": numbers(labels),
        "champion": numbers(champion),
        "challenger": numbers(challenger),
        "weights": numbers(weights),
        "metrics": {
            "f1": metrics.f1_score(labels, called, **keyed),
            "precision": metrics.precision_score(labels, called, **keyed),
            "recall": metrics.recall_score(labels, called, **keyed),
            "auc": metrics.roc_auc_score(labels, champion, **keyed),
            "pr_auc": metrics.average_precision_score(labels, champion, **keyed),
            "log_loss": metrics.log_loss(labels, champion, **keyed),
            "brier": metrics.brier_score_loss(labels, champion, **keyed),
        },
        "delong": delong(labels, champion, challenger, weights),
    }


def delong(labels, champion, challenger, weights):
    """Placements over all pairs; variances linearised for weights."""
    positive, negative = labels == 1, labels == 0
    p, n = weights[positive], weights[negative]
    placed = []
    for scores in (champion, challenger):
        x, y = scores[positive][:, None], scores[negative][None, :]
        wins = (x > y) + 0.5 * (x == y)
        placed.append((wins @ n / n.sum(), p @ wins / p.sum()))
    aucs = [float(p @ v10 / p.sum()) for v10, _ in placed]
    variance = 0.0
    for side, w in ((0, p), (1, n)):
        delta = placed[1][side] - placed[0][side]
        mean = w @ delta / w.sum()
        count = len(w)
        variance += (w**2 @ (delta - mean) ** 2) / w.sum() ** 2 * count / (count - 1)
    if len(set(weights)) == 1:
        # The textbook form, with covariance matrices.
        s10 = np.cov(np.stack([v10 for v10, _ in placed]))
        s01 = np.cov(np.stack([v01 for _, v01 in placed]))
        s = s10 / len(p) + s01 / len(n)
        assert np.isclose(variance, s[0, 0] + s[1, 1] - 2 * s[0, 1], rtol=1e-10)
    return {
        "auc_champion": aucs[0],
        "auc_challenger": aucs[1],
        "difference": aucs[1] - aucs[0],
        "variance": float(variance),
        "positives": int(positive.sum()),
        "negatives": int(negative.sum()),
    }


def extremes_case():
    """Probabilities of exactly 0 and 1, on the wrong side too: the clipping of log loss."""
    case = binary_case("extremes", 40)
    labels = np.array(case["labels"])
    champion = np.array(case["champion"])
    champion[:4] = [1.0, 0.0, 0.0, 1.0]
    called = (champion >= 0.5).astype(float)
    case["champion"] = numbers(champion)
    case["metrics"] = {
        "f1": metrics.f1_score(labels, called),
        "log_loss": metrics.log_loss(labels, champion),
        "brier": metrics.brier_score_loss(labels, champion),
        "auc": metrics.roc_auc_score(labels, champion),
        "pr_auc": metrics.average_precision_score(labels, champion),
    }
    case["delong"] = delong(labels, champion, np.array(case["challenger"]), np.ones(40))
    return case


def regression_case():
    labels = RANDOM.normal(size=60) * 10
    scores = labels + RANDOM.normal(size=60)
    weights = RANDOM.choice([1.0, 2.0, 7.0], size=60)
    return {
        "labels": numbers(labels),
        "scores": numbers(scores),
        "weights": numbers(weights),
        "metrics": {
            "rmse": metrics.root_mean_squared_error(labels, scores, sample_weight=weights),
            "mae": metrics.mean_absolute_error(labels, scores, sample_weight=weights),
        },
    }


def multiclass_case():
    labels = RANDOM.integers(0, 4, size=60)
    raw = RANDOM.normal(size=(60, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    weights = RANDOM.choice([1.0, 2.0, 7.0], size=60)
    called = probabilities.argmax(axis=1)
    return {
        "labels": numbers(labels),
        "scores": numbers(probabilities[np.arange(60), labels]),
        "right": [bool(right) for right in called == labels],
        "weights": numbers(weights),
        "metrics": {
            "accuracy": metrics.accuracy_score(labels, called, sample_weight=weights),
            "log_loss": metrics.log_loss(labels, probabilities, sample_weight=weights),
        },
    }


def one_sided_radius(alpha, rho2, t, se):
    """The one-sided bound of arXiv:2103.06476, as the paper writes it."""
    alpha, rho2, t, se = map(mpmath.mpf, (alpha, rho2, t, se))
    deviation = se * mpmath.sqrt(t)
    inside = 2 * (t * rho2 + 1) / (t**2 * rho2)
    return float(
        deviation * mpmath.sqrt(inside * mpmath.log(1 + mpmath.sqrt(t * rho2 + 1) / (2 * alpha)))
    )


def sequences():
    cases = []
    for alpha in (0.05, 0.01):
        for t_star in (100.0, 2000.0):
            for t in (60.0, 1000.0, 50_000.0):
                for estimate, se in ((0.01, 0.004), (-0.003, 0.001), (5.0, 1.0)):
                    # confseq sums: s = t·estimate/σ, v = t, with σ = se·√t.
                    s = estimate * np.sqrt(t) / se
                    log_e = boundaries.normal_log_mixture(s, t, t_star, alpha, False)
                    half = boundaries.normal_log_mixture(s, t, t_star, alpha, True)
                    bound = boundaries.normal_mixture_bound(t, alpha, t_star, alpha, False)
                    logarithm = mpmath.log(1 / mpmath.mpf(alpha))
                    rho2 = (2 * logarithm + mpmath.log(1 + 2 * logarithm)) / t_star
                    one = mpmath.log(1 / (2 * mpmath.mpf(alpha)))
                    one_rho2 = (2 * one + mpmath.log(1 + 2 * one)) / t_star
                    cases.append({
                        "alpha": alpha,
                        "t_star": t_star,
                        "t": t,
                        "estimate": estimate,
                        "se": se,
                        "rho2": float(rho2),
                        "rho2_one_sided": float(one_rho2),
                        "log_e_two_sided": float(log_e),
                        "log_e_half_normal": float(half),
                        "radius": float(bound) * se / np.sqrt(t),
                        "radius_one_sided": one_sided_radius(alpha, one_rho2, t, se),
                    })
    return cases


def beta_binomials():
    """confseq tunes its mixture by v_opt; this v_opt gives Beta(10, 10)."""
    cases = []
    for better, worse in ((0, 0), (1, 0), (20, 5), (5, 20), (120, 80), (1100, 900), (40_000, 39_000)):
        count = better + worse
        plain = float(betaln(10 + better, 10 + worse) - betaln(10, 10) + count * np.log(2))
        logs = {}
        for one_sided, alpha in ((False, 0.05), (True, 0.1)):
            optimum = 5.25 * (2 * np.log(1 / alpha) + np.log(1 + 2 * np.log(1 / alpha)))
            logs[one_sided] = float(boundaries.beta_binomial_log_mixture(
                (better - worse) / 2, count / 4, optimum, 0.5, 0.5, 0.05, one_sided))
        assert np.isclose(plain, logs[False], rtol=1e-8, atol=1e-8), (plain, logs)
        cases.append({
            "better": better,
            "worse": worse,
            "log_e": logs[False],
            "log_e_above": logs[True],
        })
    return cases


def proportions():
    """The likelihood ratio averaged over rates in (limit, 1), by numerical integration."""
    cases = []
    for events, trials in ((0, 0), (0, 100), (1, 1), (2, 2), (2, 100), (12, 2000), (3, 50_000)):
        for limit in (0.001, 0.05):
            p0 = mpmath.mpf(limit)

            def ratio(p):
                return (p / p0) ** events * ((1 - p) / (1 - p0)) ** (trials - events)

            peak = min(max(mpmath.mpf(events + 1) / (trials + 2), p0 * mpmath.mpf("1.01")), 0.9)
            width = mpmath.sqrt(peak / (trials + 1))
            nodes = sorted({p0, 1, *(
                min(max(peak + k * width, p0), 1) for k in (-20, -8, -3, 0, 3, 8, 20, 60))})
            value = mpmath.quad(ratio, nodes) / (1 - p0)
            cases.append({
                "events": events, "trials": trials, "limit": limit,
                "log_e": float(mpmath.log(value)),
            })
    return cases


def shares():
    cases = []
    for expected, challenger, champion in ((0.05, 0, 0), (0.05, 50, 950), (0.05, 90, 910), (0.5, 900, 1100)):
        prior = 1 / min(expected, 1 - expected)
        a, b = prior * expected, prior * (1 - expected)
        value = betaln(a + challenger, b + champion) - betaln(a, b)
        value -= challenger * np.log(expected) + champion * np.log(1 - expected)
        cases.append({
            "expected": expected, "challenger": challenger, "champion": champion,
            "log_e": float(value),
        })
    return cases


def bets():
    """Wealth of four bettors by confseq, whose x lies in [0, 1] with mean 1/2: bets double."""
    cases = []
    for drift in (0.0, 0.3, -0.2):
        x = np.where(RANDOM.random(300) < 0.3, RANDOM.uniform(-1, 1, 300) + drift, 0.0).clip(-1, 1)
        learning = np.zeros(300)
        for i in range(1, 300):
            past = x[:i]
            spread = 4 * np.abs(past).max() ** 2 + past @ past
            learning[i] = np.clip(past.sum() / spread, 0, 0.9) if spread > 0 else 0.0

        def wealth(bet):
            return betting.betting_mart(
                (x + 1) / 2, 0.5, theta=1, trunc_scale=1, m_trunc=True,
                lambdas_fn_positive=lambda _, __: 2 * bet * np.ones(300))

        fixed = sum(wealth(bet) for bet in (0.9, 0.45, 0.225)) / 3
        total = (wealth(learning) + fixed) / 2
        cases.append({
            "x": numbers(x),
            "log_wealth": float(np.log(total[-1])),
            "log_wealth_max": float(max(0.0, np.log(total.max()))),
        })
    return cases


def main():
    cases = {
        "made_with": "numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1, mpmath 1.4.1, confseq 0.0.11",
        "tolerance": 1e-9,
        "binary": [
            binary_case("plain", 80),
            binary_case("ties", 80, digits=1),
            binary_case("weights", 80, weighted=True),
            binary_case("weights and ties", 80, digits=1, weighted=True, threshold=0.4),
            binary_case("few positives", 80, positives=0.05),
            extremes_case(),
        ],
        "regression": regression_case(),
        "multiclass": multiclass_case(),
        "sequences": sequences(),
        "beta_binomials": beta_binomials(),
        "proportions": proportions(),
        "shares": shares(),
        "bets": bets(),
    }
    (HERE / "cases.json").write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
