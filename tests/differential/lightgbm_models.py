"""Random LightGBM models: every objective, boosting kind, missing rule, and linear leaves."""

import lightgbm
import numpy as np
from draw import NAN, Table, asked, flip, pick

OBJECTIVES = [
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma",
    "tweedie", "binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda",
    "lambdarank", "rank_xendcg",
]  # fmt: skip
KINDS = ["gbdt", "linear", "gbdt", "dart", "linear", "rf", "gbdt", "goss"]


def case(rng, turn):
    kind = KINDS[turn % len(KINDS)]
    table = Table(rng, flip(rng, 0.4))
    objective = pick(rng, OBJECTIVES)
    # The library fits no linear leaves to the sign of an error.
    if kind == "linear" and objective == "regression_l1":
        objective = "regression"
    params = {"objective": objective, **growth(rng, kind)}
    labels = labelled(rng, table, params)
    codes = [feature for feature, is_code in enumerate(table.categorical) if is_code]
    group = [len(labels)] if objective in ("lambdarank", "rank_xendcg") else None
    data = lightgbm.Dataset(
        table.rows,
        labels,
        weight=None if group else table.weights,
        group=group,
        categorical_feature=codes,
        params=params,
        free_raw_data=False,
    )
    booster = lightgbm.train(params, data, int(rng.integers(1, 12)))
    text = booster.model_to_string()
    loaded = lightgbm.Booster(model_str=text)
    rows = asked(rng, table, thresholds(text, table.width), single=False, infinite=True)
    odd = [-1.0, -0.5, -7.0, 3e9, -0.9999, 1e300, 63.5, NAN]
    for feature in codes:
        rows[-8:, feature] = odd
    return {
        "name": f"lgb-{kind}-{objective}",
        "library": f"lightgbm {lightgbm.__version__}",
        "file": "model.txt",
        "save": booster.save_model,
        "rows": rows,
        "predict": loaded.predict(rows, num_threads=1),
        "raw": loaded.predict(rows, raw_score=True, num_threads=1),
    }


def growth(rng, kind):
    params = {
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "seed": int(rng.integers(1 << 30)),
        "num_leaves": int(pick(rng, [2, 4, 15, 60])),
        "learning_rate": pick(rng, [0.05, 0.3, 1.0]),
        "min_data_in_leaf": int(pick(rng, [1, 5, 20])),
        "min_sum_hessian_in_leaf": pick(rng, [0.0, 1e-3]),
        "min_data_in_bin": int(pick(rng, [1, 3])),
        "max_bin": int(pick(rng, [7, 63, 255, 1023])),
        "lambda_l2": pick(rng, [0.0, 1.0]),
        "min_data_per_group": int(pick(rng, [1, 100])),
        "cat_smooth": pick(rng, [1.0, 10.0]),
        "max_cat_to_onehot": int(pick(rng, [1, 4, 100])),
        "boost_from_average": flip(rng, 0.8),
        "use_missing": flip(rng, 0.8),
        "zero_as_missing": kind != "linear" and flip(rng, 0.2),
        "extra_trees": flip(rng, 0.1),
        "path_smooth": pick(rng, [0.0, 0.0, 1.0]),
    }
    if kind == "linear":
        boosting = pick(rng, ["gbdt", "gbdt", "dart"])
        return params | {
            "linear_tree": True,
            "linear_lambda": pick(rng, [0.0, 0.1]),
            "boosting": boosting,
        }
    if kind == "goss":
        return params | {"data_sample_strategy": "goss"}
    if kind == "rf":
        params |= {"bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.8}
    elif flip(rng, 0.3):
        params |= {"bagging_freq": 1, "bagging_fraction": 0.7, "feature_fraction": 0.7}
    return params | {"boosting": kind, "drop_rate": 0.4}


def labelled(rng, table, params):
    objective, target = params["objective"], table.target
    positive = np.exp(np.clip(target / 2, -4, 4)) + 1e-3
    if objective in ("multiclass", "multiclassova"):
        params["num_class"] = int(rng.integers(2, 6))
        params["sigmoid"] = pick(rng, [1.0, 0.7, 2.5])
        return table.classes(params["num_class"])
    if objective == "binary":
        params["sigmoid"] = pick(rng, [1.0, 0.7, 2.5])
        return (target > np.median(target)) * 1.0
    if objective in ("poisson", "tweedie"):
        return np.floor(positive * 2)
    if objective in ("gamma", "mape"):
        return positive
    if objective.startswith("cross_entropy"):
        return 1 / (1 + np.exp(-target))
    if objective in ("lambdarank", "rank_xendcg"):
        return table.classes(4)
    params["reg_sqrt"] = objective == "regression" and flip(rng, 0.3)
    params["alpha"] = pick(rng, [0.1, 0.5, 0.9])
    return target * pick(rng, [1.0, 100.0])


def thresholds(text, width):
    found = [set() for _ in range(width)]
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "split_feature":
            features = [int(v) for v in value.split()]
        elif key == "threshold":
            values = [float(v) for v in value.split()]
        elif key == "decision_type":
            kinds = [int(v) for v in value.split()]
            for feature, at, kind in zip(features, values, kinds):
                if not kind & 1:
                    found[feature].add(at)
    return [sorted(values) for values in found]
