"""Tiny models of an older XGBoost, and what that very version answers.

Runs beside XGBoost 1.0 to 3.0. With --check FOLDER it runs beside the current
version instead, loads what the older ones saved, and adds to each golden.json
whether the answers are the same bits ("also").
"""

import argparse
import json
from pathlib import Path

from common import HERE, NAMES, Output, category_edges, classes, score, table, with_categories

import numpy as np
import xgboost
from xgboost import DMatrix

import golden

ROWS = table()
TARGET = score(ROWS)
BINARY = (TARGET > 0).astype(float)
THREE = classes(TARGET, 3)
BASE = {"nthread": 1, "seed": 5, "max_depth": 3, "eta": 0.3, "verbosity": 0, "tree_method": "hist"}
VERSION = tuple(int(part) for part in xgboost.__version__.split(".")[:2])


def matrix(rows, labels=None, names=NAMES, types=None):
    extra = {} if types is None or VERSION < (1, 6) else {"enable_categorical": True}
    return DMatrix(rows, labels, feature_names=names, feature_types=types, **extra)


def answers(booster, rows, names=NAMES, types=None):
    asked = matrix(rows, names=names, types=types)
    return {
        "predict": golden.rows_of(booster.predict(asked)),
        "raw": golden.rows_of(booster.predict(asked, output_margin=True)),
    }


def finish(out, case, booster, real, names, types=None):
    path = out.case(case)
    file = path / ("model.ubj" if case.endswith("ubj") else "model.json")
    booster.save_model(str(file))
    text = path / "text.json"
    booster.save_model(str(text))
    splits = golden.xgboost_thresholds(json.loads(text.read_text()), len(names))
    text.unlink()
    rows = golden.edge_rows(real, splits, seed=len(case), infinite=False)
    if types:
        rows = codes(rows)
    loaded = xgboost.Booster({"nthread": 1})
    loaded.load_model(str(file))
    outputs = answers(loaded, rows, names, types)
    out.record(
        case, columns=names, rows=rows, outputs=outputs, **({"types": types} if types else {})
    )


def codes(rows):
    for row in rows:
        row[:2] = np.where((row[:2] >= 0) & (row[:2] < 1e6), row[:2], np.nan)
    return category_edges(rows, 9)


def make(out):
    tag = "xgb" + "".join(xgboost.__version__.split(".")[:2])
    wanted = {
        f"{tag}-binary": ({"objective": "binary:logistic"}, BINARY),
        f"{tag}-squarederror": ({"objective": "reg:squarederror", "base_score": 0.25}, TARGET),
        f"{tag}-softprob": ({"objective": "multi:softprob", "num_class": 3}, THREE),
    }
    if VERSION in ((1, 0), (2, 1)):
        dart = {"booster": "dart", "rate_drop": 0.3}
        wanted[f"{tag}-dart"] = ({"objective": "binary:logistic", **dart}, BINARY)
    if VERSION >= (1, 6):
        wanted[f"{tag}-binary-ubj"] = wanted[f"{tag}-binary"]
        wanted[f"{tag}-softprob-ubj"] = wanted[f"{tag}-softprob"]
    for case, (params, labels) in wanted.items():
        if out.wants(case):
            booster = xgboost.train({**BASE, **params}, matrix(ROWS, labels), 5)
            finish(out, case, booster, ROWS, NAMES)
    categories(out, tag)
    vector_leaves(out, tag)


def vector_leaves(out, tag):
    """Files that the current version crashes on: it looks for `leaf_weights`."""
    case = f"{tag}-vector-leaf"
    if VERSION < (2, 1) or not out.wants(case):
        return
    params = {**BASE, "objective": "reg:squarederror", "multi_strategy": "multi_output_tree"}
    labels = np.column_stack([TARGET, 1 / (1 + np.exp(-TARGET))])
    finish(out, case, xgboost.train(params, matrix(ROWS, labels), 4), ROWS, NAMES)


def categories(out, tag):
    # 1.5 splits categories on a GPU alone.
    if VERSION < (1, 6) or not out.wants(f"{tag}-category"):
        return
    rows, effect = with_categories(ROWS, many=20)
    types = ["c", "c"] + ["q"] * 6
    names = ["few", "many"] + NAMES
    labels = (TARGET + effect > 0).astype(float)
    params = {**BASE, "objective": "binary:logistic"}
    case = f"{tag}-category"
    booster = xgboost.train(params, matrix(rows, labels, names, types), 5)
    finish(out, case, booster, rows, names, types)


def check(out):
    """Adds to each older case whether this version gives the same bits on its file."""
    for path in sorted(out.folder.glob("xgb[0-9]*/golden.json")):
        if not out.wants(path.parent.name) or "vector-leaf" in path.parent.name:
            continue
        old = json.loads(path.read_text())
        file = next(p for p in path.parent.iterdir() if p.stem == "model")
        loaded = xgboost.Booster({"nthread": 1}, model_file=str(file))
        rows = np.array([[np.nan if v is None else v for v in row] for row in old["rows"]])
        now = answers(loaded, rows, old["columns"], old.get("types"))
        same = all(
            np.array_equal(np.float32(now[key]), np.float32(old["outputs"][key])) for key in now
        )
        old["rows"] = rows
        if not same:
            # 1.0 adds the base score last, later versions first; the current version is served.
            old["tolerance"] = 1e-6
        old.pop("also", None)
        outputs = old.pop("outputs")
        golden.write(path.parent, **old, also={xgboost.__version__: same}, outputs=outputs)
        print(
            f"xgboost {xgboost.__version__} reads {path.parent.name}: "
            f"{'same' if same else 'DIFFERENT'}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--only")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    out = Output(options.out.resolve(), options.only, "xgboost", xgboost.__version__)
    if options.check:
        check(out)
    else:
        make(out)


if __name__ == "__main__":
    main()
