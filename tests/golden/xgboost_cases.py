"""Tiny models of the current XGBoost: every objective and every shape of model."""

import json

from common import NAMES, NAN, category_edges, classes, output, score, table, with_categories

import numpy as np
import pandas
import xgboost
from xgboost import DMatrix

import golden

OUT = output("xgboost", xgboost.__version__)
ROWS = table()
TARGET = score(ROWS)
POSITIVE = np.exp(TARGET / 2)
BINARY = (TARGET > 0).astype(float)
FIVE = classes(TARGET, 3)
UNIT = 1 / (1 + np.exp(-TARGET))
COUNTS = np.floor(POSITIVE * 2)
GROUPS = np.repeat(np.arange(30), 10)
BASE = {"nthread": 1, "seed": 5, "max_depth": 3, "eta": 0.3, "verbosity": 0}
VECTOR = {"tree_method": "hist", "multi_strategy": "multi_output_tree"}

OBJECTIVES = {
    "xgb-squarederror": ({"objective": "reg:squarederror"}, TARGET),
    "xgb-squaredlogerror": ({"objective": "reg:squaredlogerror"}, POSITIVE),
    "xgb-reg-logistic": ({"objective": "reg:logistic"}, UNIT),
    "xgb-pseudohuber": ({"objective": "reg:pseudohubererror"}, TARGET),
    "xgb-absoluteerror": ({"objective": "reg:absoluteerror"}, TARGET),
    "xgb-quantile": ({"objective": "reg:quantileerror", "quantile_alpha": 0.7}, TARGET),
    "xgb-quantile-3": (
        {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]},
        TARGET,
    ),
    "xgb-binary": ({"objective": "binary:logistic"}, BINARY),
    "xgb-binary-ubj": ({"objective": "binary:logistic"}, BINARY),
    "xgb-logitraw": ({"objective": "binary:logitraw"}, BINARY),
    "xgb-hinge": ({"objective": "binary:hinge"}, BINARY),
    "xgb-poisson": ({"objective": "count:poisson"}, COUNTS),
    "xgb-gamma": ({"objective": "reg:gamma"}, POSITIVE),
    "xgb-tweedie": ({"objective": "reg:tweedie", "tweedie_variance_power": 1.3}, COUNTS),
    "xgb-cox": ({"objective": "survival:cox"}, np.where(BINARY > 0, POSITIVE, -POSITIVE)),
    "xgb-softmax": ({"objective": "multi:softmax", "num_class": 3}, FIVE),
    "xgb-softprob": ({"objective": "multi:softprob", "num_class": 3}, FIVE),
    "xgb-dart": ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3}, BINARY),
    "xgb-dart-ubj": (
        {"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.3, "one_drop": 1},
        TARGET,
    ),
    "xgb-dart-softprob": (
        {
            "objective": "multi:softprob",
            "num_class": 3,
            "booster": "dart",
            "rate_drop": 0.4,
            "normalize_type": "forest",
        },
        FIVE,
    ),
    "xgb-forest": (
        {
            "objective": "binary:logistic",
            "num_parallel_tree": 4,
            "subsample": 0.7,
            "colsample_bynode": 0.7,
        },
        BINARY,
    ),
    "xgb-forest-softprob": (
        {
            "objective": "multi:softprob",
            "num_class": 3,
            "num_parallel_tree": 2,
            "subsample": 0.7,
        },
        FIVE,
    ),
    "xgb-base-score": ({"objective": "binary:logistic", "base_score": 0.05}, BINARY),
    "xgb-base-score-softprob": (
        {"objective": "multi:softprob", "num_class": 3, "base_score": 0.7},
        FIVE,
    ),
    "xgb-base-score-poisson": ({"objective": "count:poisson", "base_score": 3.25}, COUNTS),
    "xgb-one-leaf": ({"objective": "binary:logistic", "gamma": 1e9}, BINARY),
    "xgb-multi-output": (
        {"objective": "reg:squarederror"},
        np.column_stack([TARGET, UNIT, COUNTS]),
    ),
    "xgb-multi-label": ({"objective": "binary:logistic"}, np.column_stack([BINARY, FIVE > 1])),
    "xgb-deep-ubj": (
        {"objective": "reg:squarederror", "max_depth": 12, "min_child_weight": 0, "lambda": 0},
        TARGET,
    ),
    "xgb-exact": ({"objective": "binary:logistic", "tree_method": "exact"}, BINARY),
    "xgb-approx": ({"objective": "reg:squarederror", "tree_method": "approx"}, TARGET),
    "xgb-lossguide": (
        {"objective": "reg:squarederror", "grow_policy": "lossguide", "max_leaves": 9},
        TARGET,
    ),
    "xgb-monotone": (
        {"objective": "reg:squarederror", "monotone_constraints": "(1,0,1,0,0,-1)"},
        TARGET,
    ),
}


def predictions(booster, rows, paths):
    """predict and raw by the DMatrix path where it takes the row, else by the in-place path.

    The two paths must give the same bits, except for DART: there the in-place path computes
    ((leaf + base) - base) * weight per tree and rounds differently, and DMatrix takes all.
    """
    finite = ~(np.abs(rows) > np.finfo(np.float32).max).any(axis=1)
    matrix = DMatrix(
        rows[finite],
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    outputs = {}
    for name, margin in (("predict", False), ("raw", True)):
        asked = booster.predict(matrix, output_margin=margin)
        kind = "margin" if margin else "value"
        values = booster.inplace_predict(rows, validate_features=False, predict_type=kind)
        if paths == "equal" and not np.array_equal(asked, values[finite]):
            raise AssertionError("in-place and DMatrix predictions differ")
        if paths == "dmatrix" and not finite.all():
            raise AssertionError("DMatrix refuses infinite rows")
        outputs[name] = golden.rows_of(asked if paths == "dmatrix" else values)
    return outputs


def finish(case, booster, real=ROWS, change=lambda rows: rows, **fields):
    """Saves, loads again, and records what the loaded model answers."""
    if not OUT.wants(case):
        return
    file = "model.ubj" if case.endswith("ubj") else "model.json"
    path = OUT.case(case) / file
    booster.save_model(path)
    loaded = xgboost.Booster({"nthread": 1}, model_file=str(path))
    record(case, loaded, real, change, **fields)


def record(case, loaded, real=ROWS, change=lambda rows: rows, **fields):
    model = json.loads(bytes(loaded.save_raw("json")))
    splits = golden.xgboost_thresholds(model, real.shape[1])
    dart = "dart" in case
    rows = change(golden.edge_rows(real, splits, seed=len(case), infinite=not dart))
    if dart:
        fields["note"] = "predicted by the DMatrix path; the in-place path may differ by an ulp"
    names = loaded.feature_names or [f"f{i}" for i in range(real.shape[1])]
    outputs = predictions(loaded, rows, "dmatrix" if dart else "equal")
    OUT.record(case, columns=names, rows=rows, outputs=outputs, **fields)


def objectives():
    for case, (params, labels) in OBJECTIVES.items():
        if OUT.wants(case):
            matrix = DMatrix(ROWS, labels, feature_names=NAMES)
            rounds = 3 if "deep" in case else 6
            finish(case, xgboost.train({**BASE, **params}, matrix, rounds))


def survival_aft():
    matrix = DMatrix(ROWS, feature_names=NAMES)
    matrix.set_float_info("label_lower_bound", POSITIVE)
    matrix.set_float_info("label_upper_bound", np.where(BINARY > 0, np.inf, POSITIVE))
    params = {"objective": "survival:aft", "aft_loss_distribution": "normal"}
    finish("xgb-aft", xgboost.train({**BASE, **params}, matrix, 6))


def ranking():
    for objective in ("pairwise", "ndcg", "map"):
        case = f"xgb-rank-{objective}"
        labels = BINARY if objective == "map" else FIVE
        matrix = DMatrix(ROWS, labels, feature_names=NAMES, qid=GROUPS)
        finish(case, xgboost.train({**BASE, "objective": f"rank:{objective}"}, matrix, 6))


def huge_values():
    """What a double too large for float32 becomes."""
    booster = xgboost.train(
        {**BASE, "objective": "binary:logistic"}, DMatrix(ROWS, BINARY, feature_names=NAMES), 6
    )

    def change(rows):
        rows[0][0], rows[1][0], rows[2][5], rows[3][1] = 1e39, -1e300, 1.7e308, 5e-324
        rows[4][0], rows[5][0] = 3.4028235677973366e38, 3.4028235677973362e38
        return rows

    finish(
        "xgb-huge",
        booster,
        change=change,
        note="doubles beyond float32 become infinities; DMatrix refuses them, inplace does not",
    )


def categories():
    rows, effect = with_categories(ROWS)
    types = ["c", "c"] + ["q"] * 6
    names = ["few", "many"] + NAMES
    labels = (TARGET + effect > 0).astype(float)
    wanted = {
        "xgb-category-onehot": {"max_cat_to_onehot": 100},
        "xgb-category-partition": {"max_cat_to_onehot": 1},
        "xgb-category-mixed-ubj": {"max_cat_to_onehot": 10},
        "xgb-category-dart": {"max_cat_to_onehot": 10, "booster": "dart", "rate_drop": 0.3},
    }
    for case, params in wanted.items():
        matrix = DMatrix(
            rows, labels, feature_names=names, feature_types=types, enable_categorical=True
        )
        params = {**BASE, "objective": "binary:logistic", "tree_method": "hist", **params}
        finish(
            case,
            xgboost.train(params, matrix, 6),
            rows,
            lambda made: category_edges(finite_codes(made), 9),
        )


def finite_codes(rows):
    """Codes must stay finite and not negative: XGBoost has no answer for others."""
    for row in rows:
        for column in (0, 1):
            if not 0 <= row[column] < 1e6:
                row[column] = NAN
    return rows


def text_categories():
    """pandas text categories: the file carries them, and prediction goes by name."""
    colours = ["red", "green", "blue", "amber"]
    cities = [f"city {number:02}" for number in range(40)]
    rows, effect = with_categories(ROWS, many=40)
    labels = (TARGET + effect > 0).astype(float)

    def frame(columns, colour_order, city_order):
        made = pandas.DataFrame(dict(zip(NAMES, columns[2:])))
        made.insert(0, "city", pandas.Categorical(columns[1], categories=city_order))
        made.insert(0, "colour", pandas.Categorical(columns[0], categories=colour_order))
        return made

    named = [[colours[int(c)] for c in rows[:, 0]], [cities[int(c)] for c in rows[:, 1]]]
    train = frame(named + list(rows[:, 2:].T), colours, cities)
    for case in filter(OUT.wants, ("xgb-text-category", "xgb-text-category-ubj")):
        matrix = DMatrix(train, labels, enable_categorical=True)
        params = {**BASE, "objective": "binary:logistic", "max_cat_to_onehot": 5}
        booster = xgboost.train(params, matrix, 6)
        path = OUT.case(case) / ("model.ubj" if case.endswith("ubj") else "model.json")
        booster.save_model(path)
        loaded = xgboost.Booster({"nthread": 1}, model_file=str(path))
        splits = golden.xgboost_thresholds(json.loads(bytes(loaded.save_raw("json"))), 8)
        edges = golden.edge_rows(rows, splits, seed=31, infinite=False)
        asked = [
            [
                None if np.isnan(r[0]) else colours[int(r[0]) % 4],
                None if np.isnan(r[1]) else cities[int(r[1]) % 40],
                *r[2:].tolist(),
            ]
            for r in edges
        ]
        # Another order of the categories, as a caller would have it: names decide, not codes.
        test = frame([list(c) for c in zip(*asked)], sorted(colours), sorted(cities)[::-1])
        matrix = DMatrix(test, enable_categorical=True)
        outputs = {
            "predict": golden.rows_of(loaded.predict(matrix)),
            "raw": golden.rows_of(loaded.predict(matrix, output_margin=True)),
        }
        OUT.record(
            case,
            columns=list(test.columns),
            rows=asked,
            outputs=outputs,
            note="XGBoost refuses a category it was not trained on: " + unknown(loaded, test),
        )


def unknown(booster, test):
    """What the library says to an unknown category."""
    test = test.copy()
    test["colour"] = pandas.Categorical(["violet"] * len(test))
    try:
        booster.predict(DMatrix(test, enable_categorical=True))
    except xgboost.core.XGBoostError as error:
        lines = [line for line in str(error).splitlines() if "categor" in line.lower()]
        return lines[0].split(": ", 1)[-1].strip()[:160]
    return "it does not"


def early_stopping():
    if not OUT.wants("xgb-early-stopping"):
        return
    train = DMatrix(ROWS[:200], BINARY[:200], feature_names=NAMES)
    valid = DMatrix(ROWS[200:], BINARY[200:], feature_names=NAMES)
    params = {**BASE, "objective": "binary:logistic", "eta": 0.9, "max_depth": 4}
    booster = xgboost.train(
        params, train, 60, evals=[(valid, "valid")], early_stopping_rounds=4, verbose_eval=False
    )
    path = OUT.case("xgb-early-stopping") / "model.json"
    booster.save_model(path)
    loaded = xgboost.Booster({"nthread": 1}, model_file=str(path))
    everything = loaded.predict(valid)
    best = loaded.predict(valid, iteration_range=(0, loaded.best_iteration + 1))
    classifier = xgboost.XGBClassifier()
    classifier.load_model(path)
    sklearn = classifier.predict_proba(ROWS[200:])[:, 1]
    assert not np.array_equal(everything, best)
    same = {"all trees": everything, "best": best}
    used = [name for name, values in same.items() if np.array_equal(values, sklearn)]
    record(
        "xgb-early-stopping",
        loaded,
        rounds=loaded.num_boosted_rounds(),
        best_iteration=loaded.best_iteration,
        note="Booster.predict uses all trees; XGBClassifier on this file uses: " + used[0],
    )


def shapes():
    """Model files of other origins: no names, scikit-learn wrappers."""
    params = {**BASE, "objective": "binary:logistic"}
    finish("xgb-unnamed", xgboost.train(params, DMatrix(ROWS, BINARY), 6))
    finish("xgb-one-round", xgboost.train(params, DMatrix(ROWS, BINARY), 1))
    wide = np.where(np.isnan(ROWS), NAN, ROWS)
    wide[:, 4] = NAN
    finish("xgb-all-missing-column", xgboost.train(params, DMatrix(wide, BINARY), 6))
    options = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1, "random_state": 5}
    for case, model, labels in (
        ("xgb-classifier", xgboost.XGBClassifier(**options), BINARY.astype(int)),
        ("xgb-classifier-3-ubj", xgboost.XGBClassifier(**options), FIVE.astype(int)),
        ("xgb-regressor", xgboost.XGBRegressor(**options), TARGET),
        ("xgb-rf-regressor", xgboost.XGBRFRegressor(**options), TARGET),
    ):
        model.fit(pandas.DataFrame(ROWS, columns=NAMES), labels)
        finish(case, model)


def vector_leaves():
    """One tree for all outputs, a leaf with a value for each."""
    vector = {**BASE, **VECTOR}
    both = np.column_stack([TARGET, UNIT])
    sampled = {"num_parallel_tree": 3, "subsample": 0.6}
    alphas = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
    for case, params, labels in (
        ("xgb-vector-leaf", {}, both),
        ("xgb-vector-leaf-ubj", {}, both),
        ("xgb-vector-leaf-softprob", {"objective": "multi:softprob", "num_class": 3}, FIVE),
        ("xgb-vector-leaf-softmax", {"objective": "multi:softmax", "num_class": 3}, FIVE),
        ("xgb-vector-leaf-label", {"objective": "binary:logistic"}, (both > 0.5) * 1.0),
        ("xgb-vector-leaf-quantile", alphas, TARGET),
        ("xgb-vector-leaf-absolute", {"objective": "reg:absoluteerror"}, both),
        ("xgb-vector-leaf-forest", sampled, both),
        ("xgb-vector-leaf-one", {"gamma": 1e9}, both),
    ):
        if OUT.wants(case):
            matrix = DMatrix(ROWS, labels, feature_names=NAMES)
            finish(case, xgboost.train({**vector, **params}, matrix, 4))


def linear():
    """The linear booster, which knows no way in place and takes no infinite values."""
    full = np.nan_to_num(ROWS)
    both = np.column_stack([TARGET, UNIT])
    for case, params, labels in (
        ("xgb-linear", {"objective": "binary:logistic", "updater": "coord_descent"}, BINARY),
        ("xgb-linear-ubj", {"objective": "binary:logistic", "updater": "coord_descent"}, BINARY),
        ("xgb-linear-softprob", {"objective": "multi:softprob", "num_class": 3}, FIVE),
        ("xgb-linear-targets", {"objective": "reg:squarederror"}, both),
        ("xgb-linear-labels", {"objective": "binary:logistic"}, (both > 0.5) * 1.0),
        ("xgb-linear-poisson", {"objective": "count:poisson"}, COUNTS),
    ):
        if not OUT.wants(case):
            continue
        params = {"nthread": 1, "seed": 5, "booster": "gblinear", "updater": "coord_descent", **params}
        booster = xgboost.train(params, DMatrix(full, labels, feature_names=NAMES), 4)
        path = OUT.case(case) / ("model.ubj" if case.endswith("ubj") else "model.json")
        booster.save_model(path)
        loaded = xgboost.Booster({"nthread": 1}, model_file=str(path))
        rows = golden.edge_rows(ROWS, [[]] * 6, seed=len(case), infinite=False)
        matrix = DMatrix(rows, feature_names=NAMES)
        outputs = {
            name: golden.rows_of(loaded.predict(matrix, output_margin=margin))
            for name, margin in (("predict", False), ("raw", True))
        }
        OUT.record(case, columns=NAMES, rows=rows, outputs=outputs)


def wrapped():
    """Early-stopped models that a scikit-learn wrapper saved, and what it answers after loading."""
    options = {"n_estimators": 30, "max_depth": 2, "learning_rate": 0.9, "n_jobs": 1}
    options |= {"random_state": 5, "early_stopping_rounds": 4}
    regressor, classifier = xgboost.XGBRegressor, xgboost.XGBClassifier
    forest = {"num_parallel_tree": 3, "subsample": 0.6}
    for case, kind, labels, more in (
        ("xgb-best-binary", classifier, BINARY.astype(int), {}),
        ("xgb-best-softprob-ubj", classifier, FIVE.astype(int), {"learning_rate": 2.0}),
        ("xgb-best-forest", classifier, BINARY.astype(int), forest),
        ("xgb-best-vector-leaf", regressor, np.column_stack([TARGET, UNIT]), VECTOR),
        ("xgb-best-regressor", regressor, TARGET, {}),
    ):
        if not OUT.wants(case):
            continue
        model = kind(**options | more)
        model.fit(ROWS[:200], labels[:200], eval_set=[(ROWS[200:], labels[200:])], verbose=False)
        path = OUT.case(case) / ("model.ubj" if case.endswith("ubj") else "model.json")
        model.save_model(path)
        loaded = kind(n_jobs=1)
        loaded.load_model(path)
        booster = loaded.get_booster()
        used = (0, booster.best_iteration + 1)
        splits = golden.xgboost_thresholds(json.loads(bytes(booster.save_raw("json"))), 6)
        rows = golden.edge_rows(ROWS, splits, seed=len(case), infinite=False)
        answers = loaded.predict_proba(rows) if kind is classifier else loaded.predict(rows)
        matrix = DMatrix(rows)
        assert np.array_equal(
            answers[:, 1] if kind is classifier and answers.shape[1] == 2 else answers,
            booster.predict(matrix, iteration_range=used),
        )
        everything = booster.predict(matrix)
        assert not np.array_equal(everything, booster.predict(matrix, iteration_range=used))
        outputs = {
            name: golden.rows_of(booster.predict(matrix, output_margin=margin, iteration_range=used))
            for name, margin in (("predict", False), ("raw", True))
        }
        OUT.record(
            case,
            columns=[f"f{i}" for i in range(6)],
            rows=rows,
            outputs=outputs,
            rounds=booster.num_boosted_rounds(),
            best_iteration=booster.best_iteration,
            note="the wrapper that saved this file uses the trees up to best_iteration",
        )


if __name__ == "__main__":
    objectives()
    for make in (
        survival_aft,
        ranking,
        huge_values,
        categories,
        text_categories,
        early_stopping,
        shapes,
        vector_leaves,
        linear,
        wrapped,
    ):
        make()
