"""Tiny models of an older LightGBM, and what that very version answers.

With --check it runs beside the current version instead, loads what the older
ones saved, and adds to each golden.json whether the answers are the same bits.
"""

import argparse
import json
from pathlib import Path

from common import HERE, NAMES, NAN, Output, category_edges, classes, score, table, with_categories

import lightgbm
import numpy as np

import golden

ROWS = table()
TARGET = score(ROWS)
BASE = {
    "num_threads": 1,
    "seed": 5,
    "verbosity": -1,
    "num_leaves": 7,
    "learning_rate": 0.2,
    "min_data_in_leaf": 5,
    "min_data_per_group": 2,
    "cat_smooth": 1,
    "cat_l2": 1,
}


def answers(booster, rows):
    return {
        "predict": golden.rows_of(booster.predict(rows, num_threads=1)),
        "raw": golden.rows_of(booster.predict(rows, raw_score=True, num_threads=1)),
    }


def make(out):
    tag = "lgb" + "".join(lightgbm.__version__.split(".")[:2])
    wide, effect = with_categories(ROWS)
    labels = (TARGET + effect > 0).astype(float)
    gaps = wide.copy()
    gaps[np.random.default_rng(8).random(gaps.shape) < 0.05] = NAN
    three = classes(TARGET, 3)
    many = {"objective": "multiclass", "num_class": 3}
    rf = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    for case, params, rows, target in (
        (f"{tag}-category", {"objective": "binary"}, wide, labels),
        (f"{tag}-category-missing", {"objective": "binary"}, gaps, labels),
        (f"{tag}-category-no-missing", {"objective": "binary", "use_missing": False}, gaps, labels),
        (f"{tag}-multiclass", many, ROWS, three),
        (f"{tag}-regression", {"objective": "regression"}, ROWS, TARGET),
        (f"{tag}-rf", {"objective": "binary", **rf}, ROWS, (TARGET > 0) * 1.0),
    ):
        if out.wants(case):
            finish(out, case, params, rows, target)


def finish(out, case, params, rows, target):
    coded = rows.shape[1] > len(NAMES)
    names = ["few", "many"] + NAMES if coded else NAMES
    data = lightgbm.Dataset(
        rows, target, feature_name=names, categorical_feature=[0, 1] if coded else []
    )
    path = out.case(case) / "model.txt"
    lightgbm.train({**BASE, **params}, data, 5).save_model(str(path))
    splits = golden.lightgbm_thresholds(path.read_text(), len(names))
    edges = golden.edge_rows(rows, splits, seed=len(case), single=False)
    if coded:
        edges = category_edges(edges, 9)
        edges[9][0], edges[10][1], edges[11][0], edges[12][1] = -1.0, -0.5, 3e9, -7.0
    loaded = lightgbm.Booster(model_file=str(path))
    out.record(case, columns=names, rows=edges, outputs=answers(loaded, edges))


def check(out):
    for path in sorted(out.folder.glob("lgb[0-9]*/golden.json")):
        if not out.wants(path.parent.name):
            continue
        old = json.loads(path.read_text())
        loaded = lightgbm.Booster(model_file=str(path.parent / "model.txt"))
        rows = np.array([[number(v) for v in row] for row in old["rows"]])
        now = answers(loaded, rows)
        differ = [
            index
            for index in range(len(rows))
            if any(now[key][index] != old["outputs"][key][index] for key in now)
        ]
        old["rows"] = rows
        outputs = old.pop("outputs")
        for key in ("also", "differing_rows"):
            old.pop(key, None)
        also = {lightgbm.__version__: not differ}
        golden.write(path.parent, **old, also=also, differing_rows=differ, outputs=outputs)
        verdict = f"DIFFERENT in rows {differ}" if differ else "same"
        print(f"lightgbm {lightgbm.__version__} reads {path.parent.name}: {verdict}", flush=True)


def number(value):
    return NAN if value is None else float(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--only")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    out = Output(options.out.resolve(), options.only, "lightgbm", lightgbm.__version__)
    if options.check:
        check(out)
    else:
        make(out)


if __name__ == "__main__":
    main()
