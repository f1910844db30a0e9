"""Tiny models of the current CatBoost, saved as its own JSON, and what the trained model answers.

CatBoost's own reader of JSON loses digits, so the answers are those of the model in memory, which
its binary format keeps. Sums and the logistic function are compared bit for bit; CatBoost's fast
exponential in other links differs from the C library's by a few ulp.
"""

import json

from common import NAMES, classes, output, score, table

import catboost
import numpy as np

import golden

OUT = output("catboost", catboost.__version__)
ROWS = table()
TARGET = score(ROWS)
UNIT = 1 / (1 + np.exp(-TARGET))
BINARY = (TARGET > 0).astype(int)
THREE = classes(TARGET, 3).astype(int)
COUNTS = np.floor(np.exp(TARGET / 2) * 2)
BOTH = np.column_stack([TARGET, UNIT])
FULL = np.nan_to_num(ROWS)
BASE = {
    "iterations": 6,
    "depth": 3,
    "random_seed": 5,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
}

# case: (parameters, labels, rows, prediction type, tolerance of its link)
CASES = {
    "cat-rmse": ({"loss_function": "RMSE"}, TARGET, ROWS, None, 0),
    "cat-nan-max": ({"loss_function": "RMSE", "nan_mode": "Max"}, TARGET, ROWS, None, 0),
    "cat-no-nan": ({"loss_function": "RMSE"}, TARGET, FULL, None, 0),
    "cat-quantile": ({"loss_function": "Quantile:alpha=0.8"}, TARGET, ROWS, None, 0),
    "cat-logloss": ({"loss_function": "Logloss"}, BINARY, ROWS, "Probability", 0),
    "cat-crossentropy": ({"loss_function": "CrossEntropy"}, UNIT, ROWS, "Probability", 0),
    "cat-multiclass": ({"loss_function": "MultiClass"}, THREE, ROWS, "Probability", 1e-15),
    "cat-one-vs-all": ({"loss_function": "MultiClassOneVsAll"}, THREE, ROWS, "Probability", 0),
    "cat-multirmse": ({"loss_function": "MultiRMSE"}, BOTH, ROWS, None, 0),
    "cat-poisson": ({"loss_function": "Poisson"}, COUNTS, ROWS, "Exponent", 1e-14),
    "cat-tweedie": (
        {"loss_function": "Tweedie:variance_power=1.5"},
        COUNTS,
        ROWS,
        "Exponent",
        1e-14,
    ),
    "cat-deep": ({"loss_function": "RMSE", "depth": 8, "iterations": 2}, TARGET, ROWS, None, 0),
    "cat-lossguide": (
        {"loss_function": "RMSE", "grow_policy": "Lossguide", "max_leaves": 9, "depth": 6},
        TARGET,
        ROWS,
        None,
        0,
    ),
    "cat-depthwise": (
        {"loss_function": "MultiClass", "grow_policy": "Depthwise"},
        THREE,
        ROWS,
        "Probability",
        1e-15,
    ),
    "cat-stump": ({"loss_function": "Logloss", "depth": 1}, BINARY, ROWS, "Probability", 0),
}


def borders(model):
    return [feature["borders"] for feature in model["features_info"]["float_features"]]


def main():
    for case, (params, labels, rows, kind, tolerance) in CASES.items():
        if not OUT.wants(case):
            continue
        pool = catboost.Pool(rows, labels, feature_names=NAMES)
        booster = catboost.CatBoost({**BASE, **params}).fit(pool)
        path = OUT.case(case) / "catboost.json"
        booster.save_model(str(path), format="json")
        model = json.loads(path.read_text())
        # What it says of the machine and the run is of no use to a prediction.
        model["model_info"]["params"] = {
            "loss_function": model["model_info"]["params"]["loss_function"]
        }
        for key in ("model_guid", "train_finish_time", "output_options", "training"):
            model["model_info"].pop(key, None)
        path.write_text(json.dumps(model) + "\n")
        asked = golden.edge_rows(rows, borders(model), seed=len(case), missing=rows is not FULL)
        raw = booster.predict(asked, prediction_type="RawFormulaVal", thread_count=1)
        made = raw if kind is None else booster.predict(asked, prediction_type=kind)
        if kind == "Probability" and np.asarray(raw).ndim == 1:
            made = made[:, 1]
        OUT.record(
            case,
            tolerance=tolerance,
            columns=NAMES,
            rows=asked,
            outputs={"predict": golden.rows_of(made), "raw": golden.rows_of(raw)},
        )


if __name__ == "__main__":
    main()
