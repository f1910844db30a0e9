"""Tiny ONNX exports of other libraries' trees; ONNX Runtime's answers are the golden ones."""

import warnings

warnings.filterwarnings("ignore")

from common import NAMES, classes, output, score, table

import catboost
import lightgbm
import numpy as np
import onnx
import onnxruntime
import skl2onnx
import xgboost
from onnxmltools.convert import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn import ensemble, tree

import golden

OUT = output("onnxruntime", onnxruntime.__version__)
ROWS = table()
FULL = np.nan_to_num(ROWS)
TARGET = score(ROWS)
BINARY = (TARGET > 0).astype(int)
THREE = classes(TARGET, 3).astype(int)
COLOURS = np.array(["amber", "green", "red"])[THREE]


def finish(case, model, missing=True, real=ROWS):
    """Saves without what differs from run to run, and records what ONNX Runtime answers."""
    if not OUT.wants(case):
        return
    if "\n" in model.producer_version:
        # CatBoost's own text describes the machine that built the library.
        model.producer_version = catboost.__version__
    model.graph.name = case
    path = OUT.case(case) / "model.onnx"
    golden.save_onnx(model, path)
    splits = golden.onnx_thresholds(model, len(NAMES))
    rows = golden.edge_rows(real, splits, seed=len(case), missing=missing)
    feeds = {model.graph.input[0].name: rows.astype(np.float32)}
    outputs = golden.onnx_outputs(model, feeds)
    numbers = [v for rows in outputs.values() for row in rows for v in row if isinstance(v, float)]
    # Float32 sums in another order: 1e-5 of the largest answer.
    tolerance = 1e-5 * max([1.0] + [abs(v) for v in numbers if np.isfinite(v)])
    OUT.record(case, tolerance=tolerance, columns=NAMES, rows=rows, outputs=outputs)


def whole_numbers():
    """skl2onnx hands over booleans where this protobuf insists on integers."""
    make = onnx.helper.make_attribute

    def make_whole(key, value, *rest, **options):
        if isinstance(value, list) and any(isinstance(v, (bool, np.bool_)) for v in value):
            value = [int(v) for v in value]
        return make(key, value, *rest, **options)

    onnx.helper.make_attribute = make_whole


def catboost_exports():
    shared = {
        "iterations": 8,
        "depth": 3,
        "learning_rate": 0.4,
        "random_seed": 5,
        "thread_count": 1,
        "allow_writing_files": False,
        "verbose": False,
    }
    for case, model, rows, labels in (
        ("onnx-catboost-binary", catboost.CatBoostClassifier(**shared), FULL, BINARY),
        ("onnx-catboost-missing", catboost.CatBoostClassifier(**shared), ROWS, BINARY),
        (
            "onnx-catboost-missing-max",
            catboost.CatBoostClassifier(nan_mode="Max", **shared),
            ROWS,
            BINARY,
        ),
        ("onnx-catboost-multiclass", catboost.CatBoostClassifier(**shared), FULL, THREE),
        ("onnx-catboost-text-labels", catboost.CatBoostClassifier(**shared), FULL, COLOURS),
        ("onnx-catboost-regressor", catboost.CatBoostRegressor(**shared), FULL, TARGET * 50),
    ):
        if not OUT.wants(case):
            continue
        model.fit(rows, labels)
        path = OUT.case(case) / "model.onnx"
        model.save_model(str(path), format="onnx")
        finish(case, onnx.load(path))


def boosting_exports():
    kind = [("input", FloatTensorType([None, len(NAMES)]))]
    small = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1, "random_state": 5}
    quiet = {**small, "num_leaves": 7, "min_child_samples": 5, "verbosity": -1}
    wanted = {
        "onnx-xgb-classifier": (xgboost.XGBClassifier(**small), BINARY),
        "onnx-xgb-multiclass": (xgboost.XGBClassifier(**small), THREE),
        "onnx-xgb-regressor": (xgboost.XGBRegressor(**small), TARGET),
    }
    for case, (model, labels) in wanted.items():
        attempt(case, lambda: convert_xgboost(model.fit(ROWS, labels), initial_types=kind))
    wanted = {
        "onnx-lgb-classifier-zipmap": (lightgbm.LGBMClassifier(**quiet), BINARY, True),
        "onnx-lgb-classifier": (lightgbm.LGBMClassifier(**quiet), BINARY, False),
        "onnx-lgb-multiclass": (lightgbm.LGBMClassifier(**quiet), THREE, False),
        "onnx-lgb-regressor": (lightgbm.LGBMRegressor(**quiet), TARGET, False),
    }
    for case, (model, labels, zipmap) in wanted.items():
        attempt(
            case,
            lambda: convert_lightgbm(model.fit(ROWS, labels), initial_types=kind, zipmap=zipmap),
        )


def attempt(case, convert):
    """A converter that does not keep up with its library costs its case and no other."""
    if not OUT.wants(case):
        return
    try:
        model = convert()
    except Exception as error:
        print(f"{case}: not made, {type(error).__name__}: {str(error)[:120]}", flush=True)
        return
    finish(case, model)


def sklearn_exports():
    few = {"n_estimators": 6, "max_depth": 3, "random_state": 5}
    hist = {"max_iter": 6, "max_depth": 3, "random_state": 5}
    wanted = {
        "onnx-forest-text-labels": (ensemble.RandomForestClassifier(**few), FULL, COLOURS),
        "onnx-forest-int-labels": (ensemble.RandomForestClassifier(**few), FULL, THREE * 5 + 1),
        "onnx-forest-binary": (ensemble.RandomForestClassifier(**few), FULL, BINARY),
        "onnx-forest-missing": (ensemble.RandomForestClassifier(**few), ROWS, BINARY),
        "onnx-forest-regressor": (ensemble.RandomForestRegressor(**few), FULL, TARGET),
        "onnx-forest-regressor-2": (
            ensemble.RandomForestRegressor(**few),
            FULL,
            np.column_stack([TARGET, TARGET**2]),
        ),
        "onnx-boosting-binary": (ensemble.GradientBoostingClassifier(**few), FULL, BINARY),
        "onnx-boosting-multiclass": (ensemble.GradientBoostingClassifier(**few), FULL, THREE),
        "onnx-boosting-regressor": (ensemble.GradientBoostingRegressor(**few), FULL, TARGET),
        "onnx-extra-trees": (ensemble.ExtraTreesClassifier(**few), FULL, THREE),
        "onnx-extra-trees-regressor": (ensemble.ExtraTreesRegressor(**few), FULL, TARGET),
        "onnx-hist-binary": (ensemble.HistGradientBoostingClassifier(**hist), ROWS, BINARY),
        "onnx-hist-multiclass": (ensemble.HistGradientBoostingClassifier(**hist), ROWS, THREE),
        "onnx-hist-regressor": (ensemble.HistGradientBoostingRegressor(**hist), ROWS, TARGET),
        "onnx-tree": (tree.DecisionTreeClassifier(max_depth=4, random_state=5), FULL, THREE),
        "onnx-tree-regressor": (
            tree.DecisionTreeRegressor(max_depth=4, random_state=5),
            FULL,
            TARGET,
        ),
    }
    kind = [("input", skl2onnx.common.data_types.FloatTensorType([None, len(NAMES)]))]
    opset = {"": 18, "ai.onnx.ml": 3}
    for case, (model, rows, labels) in wanted.items():
        attempt(
            case,
            lambda: skl2onnx.to_onnx(
                model.fit(rows, labels), initial_types=kind, target_opset=opset
            ),
        )
    attempt(
        "onnx-forest-no-zipmap",
        lambda: skl2onnx.to_onnx(
            ensemble.RandomForestClassifier(**few).fit(FULL, BINARY),
            initial_types=kind,
            target_opset=opset,
            options={"zipmap": False},
        ),
    )
    attempt(
        "onnx-forest-raw",
        lambda: skl2onnx.to_onnx(
            gradient := ensemble.GradientBoostingClassifier(**few).fit(FULL, BINARY),
            initial_types=kind,
            target_opset=opset,
            options={id(gradient): {"raw_scores": True, "zipmap": False}},
        ),
    )


if __name__ == "__main__":
    whole_numbers()
    catboost_exports()
    boosting_exports()
    sklearn_exports()
