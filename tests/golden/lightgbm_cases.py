"""Tiny models of the current LightGBM: every objective, boosting kind and missing rule."""

from common import NAMES, NAN, category_edges, classes, output, score, table, with_categories

import lightgbm
import numpy as np
import pandas

import golden

OUT = output("lightgbm", lightgbm.__version__)
ROWS = table()
TARGET = score(ROWS)
POSITIVE = np.exp(TARGET / 2)
BINARY = (TARGET > 0).astype(float)
THREE = classes(TARGET, 3)
UNIT = 1 / (1 + np.exp(-TARGET))
COUNTS = np.floor(POSITIVE * 2)
GROUPS = [10] * 30
BASE = {
    "num_threads": 1,
    "seed": 5,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_leaves": 7,
    "learning_rate": 0.2,
    "min_data_in_leaf": 5,
}
RF = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.7}
FEW_GAPS = np.where(np.isnan(ROWS), 0.5, ROWS)
FEW_GAPS[[3, 77], 0] = NAN

# case: (parameters, labels, rows)
CASES = {
    "lgb-regression": ({"objective": "regression"}, TARGET, ROWS),
    "lgb-reg-sqrt": ({"objective": "regression", "reg_sqrt": True}, TARGET * 3, ROWS),
    "lgb-l1": ({"objective": "regression_l1"}, TARGET, ROWS),
    "lgb-huber": ({"objective": "huber"}, TARGET, ROWS),
    "lgb-fair": ({"objective": "fair"}, TARGET, ROWS),
    "lgb-poisson": ({"objective": "poisson"}, COUNTS, ROWS),
    "lgb-quantile": ({"objective": "quantile", "alpha": 0.8}, TARGET, ROWS),
    "lgb-mape": ({"objective": "mape"}, POSITIVE, ROWS),
    "lgb-gamma": ({"objective": "gamma"}, POSITIVE, ROWS),
    "lgb-tweedie": ({"objective": "tweedie"}, COUNTS, ROWS),
    "lgb-binary": ({"objective": "binary"}, BINARY, ROWS),
    "lgb-binary-sigmoid": ({"objective": "binary", "sigmoid": 0.7}, BINARY, ROWS),
    "lgb-unbalance": ({"objective": "binary", "is_unbalance": True}, (TARGET > 1) * 1.0, ROWS),
    "lgb-no-average": ({"objective": "binary", "boost_from_average": False}, BINARY, ROWS),
    "lgb-multiclass": ({"objective": "multiclass", "num_class": 3}, THREE, ROWS),
    "lgb-multiclassova": (
        {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.3},
        THREE,
        ROWS,
    ),
    "lgb-xentropy": ({"objective": "cross_entropy"}, UNIT, ROWS),
    "lgb-xentlambda": ({"objective": "cross_entropy_lambda"}, UNIT, ROWS),
    "lgb-lambdarank": ({"objective": "lambdarank"}, THREE, ROWS),
    "lgb-xendcg": ({"objective": "rank_xendcg"}, THREE, ROWS),
    "lgb-dart": ({"objective": "binary", "boosting": "dart", "drop_rate": 0.4}, BINARY, ROWS),
    "lgb-goss": ({"objective": "binary", "data_sample_strategy": "goss"}, BINARY, ROWS),
    "lgb-rf": ({"objective": "binary", **RF}, BINARY, ROWS),
    "lgb-rf-regression": ({"objective": "regression", **RF}, TARGET, ROWS),
    "lgb-rf-multiclass": ({"objective": "multiclass", "num_class": 3, **RF}, THREE, ROWS),
    "lgb-zero-as-missing": ({"objective": "binary", "zero_as_missing": True}, BINARY, ROWS),
    "lgb-no-missing": ({"objective": "binary", "use_missing": False}, BINARY, ROWS),
    "lgb-never-missing": ({"objective": "regression"}, TARGET, np.nan_to_num(ROWS)),
    "lgb-few-missing": ({"objective": "regression"}, TARGET, FEW_GAPS),
    "lgb-extra-trees": ({"objective": "regression", "extra_trees": True}, TARGET, ROWS),
    "lgb-one-leaf": ({"objective": "binary", "min_data_in_leaf": 1000}, BINARY, ROWS),
    "lgb-one-leaf-regression": (
        {"objective": "regression", "min_data_in_leaf": 1000},
        TARGET,
        ROWS,
    ),
    "lgb-monotone": (
        {"objective": "regression", "monotone_constraints": [1, 0, 1, 0, 0, -1]},
        TARGET,
        ROWS,
    ),
    "lgb-deep": (
        {
            "objective": "regression",
            "max_bin": 1023,
            "num_leaves": 120,
            "min_data_in_leaf": 1,
            "min_data_in_bin": 1,
            "min_sum_hessian_in_leaf": 0,
        },
        TARGET,
        ROWS,
    ),
    "lgb-path-smooth": ({"objective": "regression", "path_smooth": 2.0}, TARGET, ROWS),
    "lgb-quantized": ({"objective": "regression", "use_quantized_grad": True}, TARGET, ROWS),
}


def answers(booster, asked):
    return {
        "predict": golden.rows_of(booster.predict(asked, num_threads=1)),
        "raw": golden.rows_of(booster.predict(asked, raw_score=True, num_threads=1)),
    }


def finish(case, booster, real=ROWS, change=lambda rows: rows, **fields):
    if not OUT.wants(case):
        return
    path = OUT.case(case) / "model.txt"
    booster.save_model(path)
    text = path.read_text()
    splits = golden.lightgbm_thresholds(text, real.shape[1])
    rows = change(golden.edge_rows(real, splits, seed=len(case), single=False))
    loaded = lightgbm.Booster(model_file=path)
    OUT.record(
        case, columns=loaded.feature_name(), rows=rows, outputs=answers(loaded, rows), **fields
    )


def objectives():
    for case, (params, labels, rows) in CASES.items():
        if OUT.wants(case):
            ranked = {"group": GROUPS} if case in ("lgb-lambdarank", "lgb-xendcg") else {}
            data = lightgbm.Dataset(rows, labels, feature_name=NAMES, **ranked)
            finish(case, lightgbm.train({**BASE, **params}, data, 6))


def odd_codes(rows):
    """Codes no one trained on: negative, between, beyond 32 bits, infinite."""
    rows = category_edges(rows, 9)
    rows[9][0], rows[10][1], rows[11][0], rows[12][1] = -1.0, -0.5, 3e9, -7.0
    rows[13][0], rows[14][1], rows[15][0] = -0.9999, 1e300, 63.5
    return rows


def categories():
    rows, effect = with_categories(ROWS)
    labels = (TARGET + effect > 0).astype(float)
    loose = {"min_data_per_group": 2, "cat_smooth": 1, "cat_l2": 1, "max_cat_threshold": 64}
    complete = np.nan_to_num(rows)
    gaps = rows.copy()
    gaps[np.random.default_rng(8).random(gaps.shape) < 0.05] = NAN
    for case, data, params, target in (
        ("lgb-category", rows, {}, labels),
        ("lgb-category-missing", gaps, {}, labels),
        ("lgb-category-never-missing", complete, {}, labels),
        ("lgb-category-onehot", rows, {"max_cat_to_onehot": 100}, labels),
        ("lgb-category-no-missing", gaps, {"use_missing": False}, labels),
        ("lgb-category-zero-as-missing", gaps, {"zero_as_missing": True}, labels),
        ("lgb-category-multiclass", gaps, {"objective": "multiclass", "num_class": 3}, THREE),
    ):
        made = lightgbm.Dataset(
            data, target, feature_name=["few", "many"] + NAMES, categorical_feature=[0, 1]
        )
        booster = lightgbm.train({**BASE, "objective": "binary", **loose, **params}, made, 6)
        finish(case, booster, data, odd_codes)


def text_categories():
    """pandas text, number and bool categories, which the file keeps on its last line."""
    if not OUT.wants("lgb-text-category"):
        return
    rows, effect = with_categories(ROWS, many=30)
    rng = np.random.default_rng(6)
    cities = [f"city {number:02}" for number in range(30)]
    sizes = [10, 20, 45]
    frame = pandas.DataFrame(rows[:, 2:], columns=NAMES)
    frame.insert(0, "size", pandas.Categorical(rng.choice(sizes, len(rows)), categories=sizes))
    frame.insert(0, "city", pandas.Categorical([cities[int(c)] for c in rows[:, 1]], cities))
    frame.loc[rng.random(len(rows)) < 0.1, "city"] = None
    loose = {"min_data_per_group": 2, "cat_smooth": 1, "cat_l2": 1}
    booster = lightgbm.train(
        {**BASE, "objective": "binary", **loose}, lightgbm.Dataset(frame, TARGET + effect > 0), 6
    )
    path = OUT.case("lgb-text-category") / "model.txt"
    booster.save_model(path)
    loaded = lightgbm.Booster(model_file=path)
    splits = golden.lightgbm_thresholds(path.read_text(), 8)[2:]
    edges = golden.edge_rows(rows[:, 2:], splits, seed=6, single=False)
    asked = []
    for edge in edges:
        city = rng.choice([*cities, None, "Atlantis", ""])
        size = rng.choice(np.array([*sizes, None, 30], dtype=object))
        asked.append([city, size, *edge.tolist()])
    test = pandas.DataFrame(edges, columns=NAMES)
    test.insert(0, "size", pandas.Categorical([row[1] for row in asked]))
    test.insert(0, "city", pandas.Categorical([row[0] for row in asked]))
    OUT.record(
        "lgb-text-category",
        columns=list(test.columns),
        rows=asked,
        outputs=answers(loaded, test),
        note="a category the file does not list is missing",
    )


def early_stopping():
    train = lightgbm.Dataset(ROWS[:200], BINARY[:200])
    valid = lightgbm.Dataset(ROWS[200:], BINARY[200:], reference=train)
    params = {**BASE, "objective": "binary", "learning_rate": 0.7}
    booster = lightgbm.train(
        params, train, 60, valid_sets=[valid], callbacks=[lightgbm.early_stopping(4, verbose=False)]
    )
    finish(
        "lgb-early-stopping",
        booster,
        rounds=booster.current_iteration(),
        best_iteration=booster.best_iteration,
        note="save_model keeps the trees up to best_iteration alone",
    )


def custom_objective():
    def logistic(preds, data):
        p = 1 / (1 + np.exp(-preds))
        return p - data.get_label(), p * (1 - p)

    booster = lightgbm.train({**BASE, "objective": logistic}, lightgbm.Dataset(ROWS, BINARY), 6)
    finish("lgb-custom", booster, note="no objective in the file: predict is raw")


def shapes():
    options = {
        "n_estimators": 6,
        "num_leaves": 7,
        "n_jobs": 1,
        "random_state": 5,
        "min_child_samples": 5,
        "verbosity": -1,
    }
    classifier = lightgbm.LGBMClassifier(**options)
    classifier.fit(ROWS, np.array(["no", "yes"])[BINARY.astype(int)])
    finish("lgb-classifier", classifier.booster_)
    wide = ROWS.copy()
    wide[:, 4] = NAN
    booster = lightgbm.train({**BASE, "objective": "regression"}, lightgbm.Dataset(wide, TARGET), 6)
    finish("lgb-all-missing-column", booster)
    booster = lightgbm.train({**BASE, "objective": "regression"}, lightgbm.Dataset(ROWS, TARGET), 1)
    finish("lgb-one-round", booster)


def linear_leaves():
    """Linear models in leaves: a leaf's plain value answers where one of its features is missing."""
    rows, effect = with_categories(ROWS, many=20)
    category = {"categorical_feature": [0, 1]}
    loose = {"min_data_per_group": 2, "cat_smooth": 1, "cat_l2": 1}
    for case, params, data, labels, options in (
        ("lgb-linear", {"objective": "regression"}, np.nan_to_num(ROWS), TARGET, {}),
        ("lgb-linear-missing", {"objective": "regression"}, ROWS, TARGET, {}),
        ("lgb-linear-binary", {"objective": "binary", "linear_lambda": 0.1}, ROWS, BINARY, {}),
        ("lgb-linear-multiclass", {"objective": "multiclass", "num_class": 3}, ROWS, THREE, {}),
        ("lgb-linear-poisson", {"objective": "poisson"}, ROWS, COUNTS, {}),
        ("lgb-linear-quantile", {"objective": "quantile", "alpha": 0.2}, ROWS, TARGET, {}),
        ("lgb-linear-dart", {"objective": "regression", "boosting": "dart"}, ROWS, TARGET, {}),
        ("lgb-linear-rf", {"objective": "regression", **RF}, ROWS, TARGET, {}),
        ("lgb-linear-category", {"objective": "regression", **loose}, rows, TARGET + effect, category),
    ):
        if OUT.wants(case):
            made = lightgbm.Dataset(data, labels, params={"linear_tree": True}, **options)
            booster = lightgbm.train({**BASE, **params, "linear_tree": True}, made, 4)
            finish(case, booster, data, odd_codes if options else lambda made: made)


if __name__ == "__main__":
    objectives()
    for make in (categories, text_categories, early_stopping, custom_objective, shapes, linear_leaves):
        make()
