"""The models: trained once, kept in target/engines/models, trained again when a recipe changes.

Each model's folder holds the library's own file, the exports that peers read, `truth.f64` (the
library's own probabilities of the first CHECKED rows) and `about.json` (the recipe, and how full
grown the trees are).
"""

import hashlib
import importlib.metadata
import json
import time

import numpy as np

import data
from paths import OUT, SOURCES

CHECKED = 10_000
THREADS = 2

RECIPES = {
    "xgb-100x6": {"library": "xgboost", "trees": 100, "depth": 6, "rate": 0.1},
    "xgb-500x8": {"library": "xgboost", "trees": 500, "depth": 8, "rate": 0.05},
    "lgb-1000x63": {"library": "lightgbm", "trees": 1000, "leaves": 63, "rate": 0.03},
    "cat-100x6": {"library": "catboost", "trees": 100, "depth": 6, "rate": 0.1},
    "cat-500x8": {"library": "catboost", "trees": 500, "depth": 8, "rate": 0.05},
}
PACKAGES = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm", "catboost": "catboost"}
TITLES = {
    "xgb-100x6": "XGBoost, 100 trees, depth 6",
    "xgb-500x8": "XGBoost, 500 trees, depth 8",
    "lgb-1000x63": "LightGBM, 1,000 trees, 63 leaves",
    "cat-100x6": "CatBoost, 100 trees, depth 6",
    "cat-500x8": "CatBoost, 500 trees, depth 8",
}
# ydf reads no other library's models: its own, of equal size, stand beside each. It sorts rows for
# every split (its binned columns cannot be exported), so it gets fewer of them.
YDF_ROWS = 75_000
YDF_EVERY = {
    "validation_ratio": 0.0,
    "early_stopping": "NONE",
    "min_examples": 1,
    "random_seed": 7,
}
YDF_EQUALS = {
    "xgb-100x6": {"num_trees": 100, "max_depth": 7, "shrinkage": 0.1},
    "xgb-500x8": {"num_trees": 500, "max_depth": 9, "shrinkage": 0.05},
    "lgb-1000x63": {
        "num_trees": 1000,
        "max_depth": -1,
        "shrinkage": 0.03,
        "growing_strategy": "BEST_FIRST_GLOBAL",
        "max_num_nodes": 63,
    },
}


def folder(model):
    return OUT / "models" / model


def model_file(model):
    """The library's own file of a trained model."""
    return folder(model) / read_about(folder(model))["file"]


def prepare(models):
    """Makes what is missing or stale of `models`; returns what is known of those that are there."""
    train_rows, labels, served = data.make()
    write_rows(served)
    known = {}
    for model in models:
        try:
            about = prepare_one(model, train_rows, labels, served)
        except ImportError as error:
            print(f"{model} is left out: {error}", flush=True)
            continue
        known[model] = about
        leaves = about["leaves"]
        print(
            f"{model}: {about['trees']} trees, on average {leaves['mean']:.1f} leaves "
            f"({leaves['min']} to {leaves['max']}), file {about['file_bytes']} bytes",
            flush=True,
        )
    return known


def prepare_one(model, rows, labels, served):
    recipe = {**RECIPES[model], "data": sources_digest()}
    recipe["version"] = importlib.metadata.version(PACKAGES[recipe["library"]])
    about = read_about(folder(model))
    if about is None or about["recipe"] != recipe:
        about = make_model(model, recipe, folder(model), rows, labels, served)
    return about


def sources_digest():
    """Rows and labels decide what a model is; a change of them means training again."""
    return hashlib.sha256((SOURCES / "data.py").read_bytes()).hexdigest()[:16]


def write_rows(served):
    OUT.mkdir(parents=True, exist_ok=True)
    served.tofile(OUT / "rows.f32")
    served.astype(np.float64).tofile(OUT / "rows.f64")


def read_about(place):
    path = place / "about.json"
    return json.loads(path.read_text()) if path.exists() else None


def make_model(model, recipe, place, rows, labels, served):
    print(f"{model}: training", flush=True)
    place.mkdir(parents=True, exist_ok=True)
    (place / "about.json").unlink(missing_ok=True)
    start = time.monotonic()
    make = {"xgboost": make_xgboost, "lightgbm": make_lightgbm, "catboost": make_catboost}
    file, leaves, truth = make[recipe["library"]](recipe, place, rows, labels, served[:CHECKED])
    np.asarray(truth, dtype=np.float64).tofile(place / "truth.f64")
    about = {
        "recipe": recipe,
        "trees": len(leaves),
        "leaves": {
            "mean": float(np.mean(leaves)),
            "min": int(min(leaves)),
            "max": int(max(leaves)),
        },
        "file": file,
        "file_bytes": (place / file).stat().st_size,
    }
    (place / "about.json").write_text(json.dumps(about, indent=1))
    print(f"{model}: trained in {time.monotonic() - start:.0f} s", flush=True)
    return about


def make_xgboost(recipe, place, rows, labels, checked):
    import xgboost

    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": recipe["depth"],
        "eta": recipe["rate"],
        "min_child_weight": 0,
        "nthread": THREADS,
        "seed": data.SEED,
    }
    matrix = xgboost.DMatrix(rows, label=labels)
    booster = xgboost.train(parameters, matrix, recipe["trees"])
    booster.save_model(place / "model.json")
    leaves = [tree.count("leaf=") for tree in booster.get_dump()]
    return "model.json", leaves, booster.predict(xgboost.DMatrix(checked))


def make_lightgbm(recipe, place, rows, labels, checked):
    import lightgbm

    parameters = {
        "objective": "binary",
        "num_leaves": recipe["leaves"],
        "learning_rate": recipe["rate"],
        "min_sum_hessian_in_leaf": 0,
        "num_threads": THREADS,
        "deterministic": True,
        "force_row_wise": True,
        "seed": data.SEED,
        "verbose": -1,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), recipe["trees"])
    booster.save_model(place / "model.txt")
    leaves = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    return "model.txt", leaves, booster.predict(checked, num_threads=1)


def make_catboost(recipe, place, rows, labels, checked):
    import catboost

    classifier = catboost.CatBoostClassifier(
        iterations=recipe["trees"],
        depth=recipe["depth"],
        learning_rate=recipe["rate"],
        random_seed=data.SEED,
        thread_count=THREADS,
        boosting_type="Plain",
        verbose=False,
        allow_writing_files=False,
    )
    # Integer labels: the ONNX export refuses others.
    classifier.fit(rows, labels.astype(np.int64))
    classifier.save_model(place / "model.cbm")
    classifier.save_model(place / "model.onnx", format="onnx")
    classifier.save_model(place / "exported.cpp", format="cpp")
    leaves = classifier.get_tree_leaf_counts().tolist()
    return "model.cbm", leaves, classifier.predict_proba(checked, thread_count=1)[:, 1]
