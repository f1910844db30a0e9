#!/usr/bin/env python3
"""Shows without a server that the demo's story holds: who is better when, and by how many labels.

    venv/bin/python examples/fraud-stream/check.py --seeds 20

For each behaviour: AUC, F1, recall and cost of each revision. For each step of the story: how many
matured labels a betting e-process on costs (Waudby-Smith and Ramdas 2021) and a confidence sequence
on the paired AUC difference (DeLong 1988; Waudby-Smith et al. 2024) need, over many seeds. Its
tests are its own and simpler than the server's: they say whether there is something to find.
"""

import argparse
import sys

import numpy as np
import xgboost

sys.dont_write_bytecode = True

import stream
from train import HERE, payments, rows_of

SEED = 30_000
HORIZON = 16.0
REVIEW_COST = 25.0
COST_LIMIT = 500.0
LABELS_MIN = 1000
POSITIVES_MIN = 50
AUC_MARGIN = -0.01

STEPS = (
    ("2 replaces 1", "2", "1", 46, 100, 0.05, True),
    ("3 replaces 2", "3", "2", 82, 124, 0.05, True),
    ("2 is better than 3", "2", "3", 82, 124, 0.05, True),
    ("4 replaces 2", "4", "2", 122, 164, 0.05, True),
    ("2 replaces 4 again", "2", "4", 154, 230, 0.01, False),
)
"""Name, challenger, champion, first hour, last hour, error budget, whether the AUC must hold."""


def load():
    boosters = {}
    for name in "1234":
        path = HERE / "models/fraud" / name / "model.json"
        boosters[name] = xgboost.Booster({"nthread": 1}, model_file=str(path))
    return boosters


def scores_of(boosters, some):
    rows = rows_of(some).astype(np.float32)
    return {
        name: booster.inplace_predict(rows, validate_features=False)
        for name, booster in boosters.items()
    }


def costs(scores, labels, amounts):
    """What each decision costs: a missed fraud its amount, a false alarm a review."""
    flagged = scores >= 0.5
    return np.where(labels, np.where(flagged, 0.0, amounts), np.where(flagged, REVIEW_COST, 0.0))


def midranks(values):
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, values, "left")
    last = np.searchsorted(ordered, values, "right")
    return 0.5 * (first + last + 1)


def placements(scores, labels):
    """AUC, and each positive's and negative's share of the others that it is ranked right of."""
    m, n = labels.sum(), (~labels).sum()
    every = midranks(scores)
    above = (every[labels] - midranks(scores[labels])) / n
    below = 1.0 - (every[~labels] - midranks(scores[~labels])) / m
    return above.mean(), above, below


def auc_lower(challenger, champion, labels, alpha, t_star=100.0):
    """The AUC difference and its lower bound, at any number of looks."""
    m, n = labels.sum(), (~labels).sum()
    if m < POSITIVES_MIN or n < 2:
        return np.nan, -np.inf
    auc_b, above_b, below_b = placements(challenger, labels)
    auc_a, above_a, below_a = placements(champion, labels)
    variance = np.var(above_b - above_a, ddof=1) / m + np.var(below_b - below_a, ddof=1) / n
    budget = 2.0 * alpha
    rho2 = (-2.0 * np.log(budget) + np.log(1.0 - 2.0 * np.log(budget))) / t_star
    root = np.sqrt(m * rho2 + 1.0)
    factor = 2.0 * (m * rho2 + 1.0) / (m * rho2) * np.log(1.0 + root / (2.0 * alpha))
    return auc_b - auc_a, auc_b - auc_a - np.sqrt(variance * factor)


def betting(differences, alpha, bet_max=0.5):
    """Log wealth after each row, betting that the mean difference is above 0."""
    bounded = np.clip(differences / COST_LIMIT, -1.0, 1.0)
    wealth, out, total, squares = 0.0, [], 0.0, 0.01
    for count, value in enumerate(bounded, start=1):
        mean = total / count
        bet = min(max(mean / (squares / count + mean * mean), 0.0), bet_max)
        wealth += np.log1p(bet * value)
        total += value
        squares += value * value
        out.append(wealth)
    return np.array(out)


def matured(some, wait_for_all):
    """(time, index) in order of maturity: when the label came, or at the horizon."""
    events = []
    for index, payment in enumerate(some):
        time = payment.time + HORIZON
        if payment.label and not wait_for_all:
            time = min(time, payment.label.time)
        events.append((time, index))
    return sorted(events)


def step(scores, some, labels, amounts, which, wait_for_all):
    """Matured labels and hours until the gates pass; the final estimates."""
    _, challenger, champion, start, end, alpha, with_auc = which
    events = [
        (time, index)
        for time, index in matured(some, wait_for_all)
        if some[index].time >= start and time < end
    ]
    order = np.array([index for _, index in events])
    saved = costs(scores[champion], labels, amounts) - costs(scores[challenger], labels, amounts)
    wealth = betting(saved[order], alpha)
    passed = None
    for count in range(LABELS_MIN, len(order) + 1, 250):
        seen = order[:count]
        if wealth[:count].max() < np.log(1.0 / alpha) or labels[seen].sum() < POSITIVES_MIN:
            continue
        pair = scores[challenger][seen], scores[champion][seen]
        if with_auc and auc_lower(*pair, labels[seen], alpha)[1] <= AUC_MARGIN:
            continue
        passed = (count, labels[seen].sum(), events[count - 1][0] - start)
        break
    auc = auc_lower(scores[challenger][order], scores[champion][order], labels[order], alpha)[0]
    return passed, saved[order].mean() * 1000.0, auc, len(order), wealth.max()


def print_behaviours(boosters):
    print("behaviour, revision: AUC, F1, recall, false alarms and cost per 1000 payments")
    every = (stream.STOLEN_CARDS, stream.ACCOUNT_TAKEOVER, stream.SCRIPTS, stream.PATIENT_HANDS)
    for offset, kind in enumerate(every):
        some = payments(SEED + 900 + offset, kind, hours=240)
        labels = np.array([payment.fraud for payment in some])
        amounts = np.array([payment.amount for payment in some])
        print(f"{kind.name} ({len(some)} payments, {labels.sum()} frauds)")
        for name, scores in scores_of(boosters, some).items():
            flagged = scores >= 0.5
            hits = (flagged & labels).sum()
            f1 = 2.0 * hits / (flagged.sum() + labels.sum())
            per_1000 = costs(scores, labels, amounts).mean() * 1000.0
            alarms = (flagged & ~labels).mean() * 1000.0
            auc = placements(scores, labels)[0]
            print(
                f"  {name}: {auc:.3f}  {f1:.3f}  {hits / labels.sum():.3f}"
                f"  {alarms:5.1f}  {per_1000:6.0f}"
            )


def print_steps(boosters, seeds):
    for wait_for_all in (False, True):
        when = "at the horizon" if wait_for_all else "when its label comes"
        print(f"\na payment with a label counts {when}; {len(seeds)} seeds")
        results = {which[0]: [] for which in STEPS}
        for seed in seeds:
            source = stream.Stream(seed, stream.STORY)
            some = [payment for _ in range(230) for payment in source.hour()]
            labels = np.array([bool(payment.label and payment.label.value) for payment in some])
            amounts = np.array([payment.amount for payment in some])
            scores = scores_of(boosters, some)
            for which in STEPS:
                results[which[0]].append(step(scores, some, labels, amounts, which, wait_for_all))
        for name, outcomes in results.items():
            passed = np.array([outcome[0] for outcome in outcomes if outcome[0]])
            saved = np.mean([outcome[1] for outcome in outcomes])
            auc = np.nanmean([outcome[2] for outcome in outcomes])
            labels = np.mean([outcome[3] for outcome in outcomes])
            evidence = np.exp(np.median([outcome[4] for outcome in outcomes]))
            print(
                f"{name}: {len(passed)} of {len(outcomes)}; saved per 1000 {saved:.0f}, "
                f"AUC {auc:+.3f}, {labels:.0f} labels, median best e-value {evidence:.3g}"
            )
            if len(passed):
                middle, most = np.median(passed, axis=0), passed.max(axis=0)
                print(
                    f"  labels {middle[0]:.0f} (at most {most[0]:.0f}), frauds {middle[1]:.0f} "
                    f"({most[1]:.0f}), hours {middle[2]:.1f} ({most[2]:.1f})"
                )


def print_eager(boosters, seeds):
    """Revision 2, made to flag ten times too much, against revision 1: promoting it loses money.

    Where a reported fraud counts at once and a genuine payment only at the horizon, the first
    payments that count are mostly frauds, and a model that flags too much looks good.
    """
    print("\na challenger that flags too much")
    which = ("eager", "eager", "1", 10, 90, 0.05, False)
    for wait_for_all in (False, True):
        passed, saved = 0, []
        for seed in seeds:
            source = stream.Stream(seed, ((0, stream.ACCOUNT_TAKEOVER),))
            some = [payment for _ in range(90) for payment in source.hour()]
            labels = np.array([bool(payment.label and payment.label.value) for payment in some])
            amounts = np.array([payment.amount for payment in some])
            scores = scores_of({name: boosters[name] for name in "12"}, some)
            odds = scores["2"] / (1.0 - scores["2"]) * np.exp(4.75)
            scores["eager"] = odds / (1.0 + odds)
            passed += step(scores, some, labels, amounts, which, wait_for_all)[0] is not None
            truth = costs(scores["1"], labels, amounts) - costs(scores["eager"], labels, amounts)
            saved.append(truth.mean() * 1000.0)
        when = "at the horizon" if wait_for_all else "when its label comes"
        print(
            f"a payment counts {when}: promoted in {passed} of {len(seeds)}; "
            f"in truth it saves {np.mean(saved):.0f} per 1000 payments"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=SEED)
    options = parser.parse_args()
    boosters = load()
    print_behaviours(boosters)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print_steps(boosters, seeds)
    print_eager(boosters, seeds)


if __name__ == "__main__":
    main()
