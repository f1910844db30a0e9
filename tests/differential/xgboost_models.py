"""Random XGBoost models: every booster, objective and way to grow."""

import json
from pathlib import Path

import numpy as np
import xgboost
from draw import Table, asked, flip, pick

# Objectives of one output per target, and what their labels are made of.
PLAIN = {
    "reg:squarederror": "any",
    "reg:squaredlogerror": "positive",
    "reg:logistic": "unit",
    "reg:pseudohubererror": "any",
    "reg:absoluteerror": "any",
    "binary:logistic": "binary",
    "binary:logitraw": "binary",
    "binary:hinge": "binary",
    "count:poisson": "count",
    "reg:gamma": "positive",
    "reg:tweedie": "count",
    "survival:cox": "cox",
    "survival:aft": "bounds",
    "rank:pairwise": "rank",
    "rank:ndcg": "rank",
    "rank:map": "rank binary",
    "reg:quantileerror": "alphas",
    "multi:softprob": "classes",
    "multi:softmax": "classes",
}
# Those that train several targets at once.
TARGETS = ["reg:squarederror", "reg:logistic", "binary:logistic", "reg:absoluteerror"]
KINDS = ["trees", "trees", "vector", "dart", "trees", "linear", "wrapped", "targets", "link"]


def case(rng, turn):
    kind = KINDS[turn % len(KINDS)]
    if kind == "wrapped":
        return wrapped(rng)
    if kind == "link":
        return link(rng)
    categories = kind in ("trees", "dart", "targets") and flip(rng, 0.4)
    table = Table(rng, categories)
    objective = pick(rng, list(PLAIN))
    if kind == "targets" or (kind == "vector" and flip(rng)):
        objective = pick(rng, TARGETS)
    elif kind == "vector":
        objective = pick(rng, ["multi:softprob", "multi:softmax", "reg:quantileerror"])
    params = {"objective": objective, **growth(rng, table, kind)}
    matrix = labelled(rng, table, params, several=kind in ("vector", "targets"))
    rounds = int(rng.integers(1, 12))
    booster = xgboost.train(params, matrix, rounds)
    return answers(rng, table, booster, f"xgb-{kind}-{objective.replace(':', '-')}", kind)


def growth(rng, table, kind):
    params = {"nthread": 1, "verbosity": 0, "seed": int(rng.integers(1 << 30))}
    params["eta"] = pick(rng, [0.05, 0.3, 1.0])
    params["lambda"] = pick(rng, [0.0, 1.0, 10.0])
    params["alpha"] = pick(rng, [0.0, 0.0, 0.5])
    if flip(rng, 0.3):
        params["base_score"] = pick(rng, [0.1, 0.5, 0.93])
    if kind == "linear":
        updater = pick(rng, ["coord_descent", "shotgun"])
        return params | {"booster": "gblinear", "updater": updater, "lambda": 0.1}
    params |= {
        "max_depth": int(pick(rng, [1, 2, 3, 6, 10])),
        "min_child_weight": pick(rng, [0.0, 1.0, 5.0]),
        "gamma": pick(rng, [0.0, 0.0, 0.2, 1e9]),
        "tree_method": pick(rng, ["hist", "hist", "exact", "approx"]),
    }
    if any(table.categorical) or kind == "vector":
        params["tree_method"] = "hist"
    if any(table.categorical):
        params["max_cat_to_onehot"] = int(pick(rng, [1, 5, 100]))
    if params["tree_method"] == "hist" and flip(rng, 0.3):
        params |= {"grow_policy": "lossguide", "max_leaves": int(rng.integers(2, 40))}
    if flip(rng, 0.3):
        params |= {"subsample": 0.7, "colsample_bynode": 0.6}
    if flip(rng, 0.2) and kind != "dart":
        params |= {"num_parallel_tree": int(rng.integers(2, 5)), "subsample": 0.7}
    if kind == "dart":
        params |= {"booster": "dart", "rate_drop": 0.4, "skip_drop": 0.2}
        params["normalize_type"] = pick(rng, ["tree", "forest"])
    if kind == "vector":
        params["multi_strategy"] = "multi_output_tree"
    return params


def labelled(rng, table, params, several):
    target, made = table.target, PLAIN[params["objective"]]
    positive = np.exp(np.clip(target / 2, -4, 4)) + 1e-3
    labels = {
        "any": target,
        "positive": positive,
        "unit": 1 / (1 + np.exp(-target)),
        "binary": (target > np.median(target)) * 1.0,
        "count": np.floor(positive * 2),
        "cox": np.where(rng.random(len(target)) < 0.5, positive, -positive),
        "rank": table.classes(4),
        "rank binary": (target > np.median(target)) * 1.0,
        "alphas": target,
        "bounds": None,
        "classes": None,
    }[made]
    if made == "classes":
        params["num_class"] = int(rng.integers(2, 6))
        labels = table.classes(params["num_class"])
    if made == "alphas":
        params["quantile_alpha"] = [0.1, 0.5, 0.9][: int(rng.integers(2 if several else 1, 4))]
    if several and made not in ("classes", "alphas"):
        shift = rng.normal(size=int(rng.integers(2, 5)))
        labels = np.column_stack([np.clip(labels * np.abs(s), None, 1e6) for s in shift])
        if made in ("binary", "unit"):
            labels = np.clip(labels, 0, 1) if made == "unit" else (labels > 0.4) * 1.0
    matrix = matrix_of(table, table.rows, labels)
    if made == "bounds":
        matrix.set_float_info("label_lower_bound", positive)
        matrix.set_float_info("label_upper_bound", positive * pick(rng, [1.0, 2.0]))
        params["aft_loss_distribution"] = pick(rng, ["normal", "logistic", "extreme"])
    if "rank" in made:
        matrix.set_group([len(target) // 2, len(target) - len(target) // 2])
    elif table.weights is not None:
        matrix.set_weight(table.weights)
    return matrix


def matrix_of(table, rows, labels=None):
    types = ["c" if code else "q" for code in table.categorical]
    return xgboost.DMatrix(rows, labels, feature_types=types, enable_categorical=True, nthread=1)


def thresholds(model, width):
    booster = model["learner"]["gradient_booster"]
    trees = (booster.get("gbtree") or booster)["model"].get("trees", [])
    found = [set() for _ in range(width)]
    for tree in trees:
        kinds = tree.get("split_type") or [0] * len(tree["left_children"])
        nodes = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], kinds)
        for left, feature, at, is_code in nodes:
            if left != -1 and not is_code:
                found[feature].add(float(np.float32(at)))
    return [sorted(values) for values in found]


def answers(rng, table, booster, name, kind):
    # In-place prediction takes infinite values; DART rounds differently there.
    inplace = kind not in ("dart", "linear")
    file = pick(rng, ["model.json", "model.ubj"])
    # The answers are those of the file, not of the booster that trained.
    loaded = xgboost.Booster({"nthread": 1})
    loaded.load_model(booster.save_raw("ubj" if file.endswith("ubj") else "json"))
    found = thresholds(json.loads(bytes(loaded.save_raw("json"))), table.width)
    rows = asked(rng, table, found, single=True, infinite=inplace)

    def predict(margin):
        if inplace:
            kind = "margin" if margin else "value"
            return loaded.inplace_predict(rows, validate_features=False, predict_type=kind)
        return loaded.predict(matrix_of(table, rows), output_margin=margin)

    return {
        "name": name,
        "library": f"xgboost {xgboost.__version__}",
        "file": file,
        "save": booster.save_model,
        "rows": rows,
        "predict": predict(False),
        "raw": predict(True),
    }


def wrapped(rng):
    """A scikit-learn wrapper's early-stopped model, which answers up to its best round."""
    table = Table(rng, False)
    half = len(table.rows) // 2
    classes = int(rng.integers(2, 5))
    several = flip(rng, 0.3)
    options = growth(rng, table, "vector" if several else "trees")
    options = {
        "n_estimators": 25,
        "early_stopping_rounds": 3,
        "n_jobs": 1,
        "verbosity": 0,
        "max_depth": min(options["max_depth"], 4),
        "learning_rate": 1.0,
        **{k: options[k] for k in ("tree_method", "num_parallel_tree", "subsample") if k in options},
    }
    if several:
        options |= {"tree_method": "hist", "multi_strategy": "multi_output_tree"}
        kind, labels = xgboost.XGBRegressor, np.column_stack([table.target, table.target**2])
    elif flip(rng):
        kind, labels = xgboost.XGBClassifier, table.classes(classes).astype(int)
        # Every class has to be in the first half.
        labels[:classes] = np.arange(classes)
        labels = np.clip(labels, 0, classes - 1)
    else:
        kind, labels = xgboost.XGBRegressor, table.target
    model = kind(**options)
    seen = [(table.rows[half:], labels[half:])]
    model.fit(table.rows[:half], labels[:half], eval_set=seen, verbose=False)
    file = pick(rng, ["model.json", "model.ubj"])
    booster = model.get_booster()
    used = (0, booster.best_iteration + 1)
    found = thresholds(json.loads(bytes(booster.save_raw("json"))), table.width)
    rows = asked(rng, table, found, single=True, infinite=True)

    def predict(margin):
        kind = "margin" if margin else "value"
        return booster.inplace_predict(
            rows, validate_features=False, predict_type=kind, iteration_range=used
        )

    def save(path):
        # The file's best round is what the wrapper itself obeys after loading it.
        model.save_model(path)
        loaded = kind(n_jobs=1)
        loaded.load_model(path)
        obeyed = loaded.predict(rows, output_margin=True)
        assert np.array_equal(obeyed, predict(True)), "the wrapper's own answer differs"

    return {
        "name": "xgb-wrapped",
        "library": f"xgboost {xgboost.__version__}",
        "file": file,
        "save": save,
        "rows": rows,
        "predict": predict(False),
        "raw": predict(True),
    }


def link(rng):
    """Thousands of raw scores through one objective's link: a linear booster that hands its
    features on as they are."""
    objective = pick(rng, [name for name, made in PLAIN.items() if "rank" not in made])
    width = 1
    params = {"objective": objective, "booster": "gblinear", "nthread": 1, "verbosity": 0}
    labels = rng.integers(0, 2, 40).astype(float)
    if PLAIN[objective] == "classes":
        params["num_class"] = width = int(rng.integers(2, 6))
        labels = np.arange(40) % width
    if PLAIN[objective] == "alphas":
        params["quantile_alpha"] = 0.5
    matrix = xgboost.DMatrix(rng.normal(size=(40, width)), labels + (objective == "reg:gamma"))
    if PLAIN[objective] == "bounds":
        matrix.set_float_info("label_lower_bound", labels + 1)
        matrix.set_float_info("label_upper_bound", labels + 2)
    model = json.loads(bytes(xgboost.train(params, matrix, 1).save_raw("json")))
    weights = np.vstack([np.eye(width), np.zeros(width)])
    learner = model["learner"]
    learner["gradient_booster"]["model"]["weights"] = weights.ravel().tolist()
    learner["learner_model_param"]["base_score"] = "[5E-1]"
    text = json.dumps(model)
    loaded = xgboost.Booster({"nthread": 1})
    loaded.load_model(bytearray(text.encode()))
    rows = rng.normal(size=(4000, width)) * pick(rng, [1.0, 1.0, 20.0, 100.0])
    rows = rows.astype(np.float32).astype(float)
    matrix = xgboost.DMatrix(rows, nthread=1)
    return {
        "name": f"xgb-link-{objective.replace(':', '-')}",
        "library": f"xgboost {xgboost.__version__}",
        "file": "model.json",
        "save": lambda path: Path(path).write_text(text),
        "rows": rows,
        "predict": loaded.predict(matrix),
        "raw": loaded.predict(matrix, output_margin=True),
    }
