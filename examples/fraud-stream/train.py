#!/usr/bin/env python3
"""Trains the four revisions of the demo, on streams of other seeds than the demo's.

    python3 -m venv venv && venv/bin/pip install -r examples/fraud-stream/requirements.txt
    venv/bin/python examples/fraud-stream/train.py

Seeds are fixed and XGBoost runs on one thread, so the same versions write the same bytes. The
demo needs none of this: the models are committed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import xgboost

import stream

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "models"))
sys.dont_write_bytecode = True

import golden

SEED = 20_000
"""The first seed of training; check.py uses seeds from 30,000, the demo's default is 7."""

HOURS = 24 * 14

FRAUD_WEIGHT = 8.0
"""A missed fraud costs about 200, a review 25: with this weight 0.5 is the cheapest threshold."""

PARAMS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.2,
    "min_child_weight": 20.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "nthread": 1,
    "seed": 7,
}

ROUNDS = 50


def payments(seed, behaviour, hours=HOURS):
    """Payments of a stream in which nobody changes."""
    source = stream.Stream(seed, [(0, behaviour)])
    return [payment for _ in range(hours) for payment in source.hour()]


def rows_of(some):
    """[payments, features] doubles; a missing value is NaN."""
    return np.array(
        [
            [np.nan if value is None else value for value in payment.features.values()]
            for payment in some
        ],
        dtype=np.float64,
    )


def reported(some):
    """The labels that a team with patience has: a fraud that nobody reported is genuine."""
    return np.array([payment.label is not None and payment.label.value for payment in some])


def hasty(some):
    """The labels of a team in a hurry: only frauds that were labelled within 90 minutes."""
    return np.array(
        [
            payment.label is not None
            and payment.label.value
            and payment.label.time - payment.time < 1.5
            for payment in some
        ]
    )


def train(rows, labels):
    matrix = xgboost.DMatrix(rows, labels, feature_names=list(stream.FEATURES), nthread=1)
    settings = {**PARAMS, "scale_pos_weight": FRAUD_WEIGHT}
    return xgboost.train(settings, matrix, num_boost_round=ROUNDS)


def write_golden(folder, real, seed):
    """Records answers of the library on real rows and on the models' own thresholds."""
    booster = xgboost.Booster({"nthread": 1}, model_file=str(folder / "model.json"))
    model = json.loads((folder / "model.json").read_text())
    thresholds = golden.xgboost_thresholds(model, len(stream.FEATURES))
    rows = golden.edge_rows(real, thresholds, seed=seed)
    predict = booster.inplace_predict(rows, validate_features=False)
    raw = booster.inplace_predict(rows, validate_features=False, predict_type="margin")
    golden.write(
        folder,
        library="xgboost",
        library_version=xgboost.__version__,
        tolerance=0.0,
        columns=list(stream.FEATURES),
        rows=rows,
        outputs={"predict": golden.rows_of(predict), "raw": golden.rows_of(raw)},
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "models/fraud")
    out = parser.parse_args().out
    old = payments(SEED, stream.STOLEN_CARDS)
    new = payments(SEED + 1, stream.ACCOUNT_TAKEOVER)
    late = payments(SEED + 2, stream.SCRIPTS)
    both = rows_of(old + new)
    revisions = {
        "1": (rows_of(old), reported(old)),
        "2": (both, reported(old + new)),
        "3": (both, np.concatenate([reported(old), hasty(new)])),
        "4": (rows_of(late), reported(late)),
    }
    for name, (rows, labels) in revisions.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        booster = train(rows, labels)
        booster.save_model(folder / "model.json")
        write_golden(folder, rows[:2000], seed=40 + int(name))
        size = (folder / "model.json").stat().st_size / 1000
        print(f"revision {name}: {len(rows)} payments, {labels.mean():.2%} fraud, {size:.0f} kB")


if __name__ == "__main__":
    main()
