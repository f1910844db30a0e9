"""Prints drift_estimate.tsv, which the tests of src/drift/estimate.rs read.

    pip install nannyml==0.13.1 scikit-learn==1.9.1
    python3 tests/oracles/drift_estimate.py > tests/oracles/drift_estimate.tsv

The isotonic fit is scikit-learn's, precision, recall, F1 and AUC are NannyML's, on one row per count.
"""

import warnings

import numpy as np
from draw import Draw, counts
from nannyml.performance_estimation.confidence_based.metrics import (
    estimate_f1,
    estimate_precision,
    estimate_recall,
    estimate_roc_auc,
)
from sklearn.isotonic import IsotonicRegression

warnings.filterwarnings("ignore")

print("# kind seed bins positives precision recall f1 auc probabilities")
for seed, bins in enumerate(2 * [2, 3, 5, 8, 10, 20, 50]):
    for kind in ["plain", "holes"]:
        draw = Draw(seed)
        rows = counts(draw, kind, bins)
        # More positives in higher bins, by and large.
        likely = [1 + place * n // bins + n // 9 for place, n in enumerate(rows)]
        positives = [min(n, draw.below(limit)) for n, limit in zip(rows, likely)]
        positives[0] = 0
        above, below = counts(draw, kind, bins), counts(draw, kind, bins)
        # The threshold lies in the middle bin.
        above[: bins // 2] = [0] * (bins // 2)
        below[bins // 2 + 1 :] = [0] * (bins - bins // 2 - 1)

        filled = np.array(rows) > 0
        places = np.arange(bins)
        share = np.array(positives)[filled] / np.array(rows)[filled]
        fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        # Between the bins that it was given, scikit-learn interpolates by place.
        p = fit.fit(places[filled], share, np.array(rows)[filled]).predict(places)
        places = np.r_[np.repeat(places, above), np.repeat(places, below)]
        predicted = np.r_[np.ones(sum(above)), np.zeros(sum(below))]
        calibrated = p[places]
        if calibrated.sum() == 0:
            continue  # NannyML says 0 or NaN where there is nothing to divide by.
        numbers = [
            calibrated.mean(),
            estimate_precision(predicted, calibrated),
            estimate_recall(predicted, calibrated),
            estimate_f1(predicted, calibrated),
            estimate_roc_auc(calibrated, places),
            *p,
        ]
        print(kind, seed, bins, *(repr(float(number)) for number in numbers), sep="\t")
