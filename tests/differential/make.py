#!/usr/bin/env python3
"""Trains small random models with the original libraries and writes what they answer.

    make.py --out DIR [--seeds 0:300]

Each seed is one case, the same on every machine with the same libraries: objective, booster,
hyper-parameters, categories, missing values and weights are drawn from it. A case is a folder with
the model's file, `rows` and the library's answers `predict` and `raw` (little-endian 64-bit floats,
row-major; 32-bit answers are widened), and `case.json`. `cargo test --test differential -- DIR`
compares them with our engine.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

import catboost
import catboost_models
import lightgbm
import lightgbm_models
import xgboost
import xgboost_models

# How often each library comes up.
LIBRARIES = [xgboost_models] * 4 + [lightgbm_models] * 4 + [catboost_models]


# What the libraries say to parameters that do not go together, or to data they cannot learn from.
REFUSALS = (xgboost.core.XGBoostError, lightgbm.basic.LightGBMError, catboost.CatBoostError)


def train(seed):
    """The seed's case. What a library refuses to train is drawn again."""
    library = LIBRARIES[seed % len(LIBRARIES)]
    rng = np.random.default_rng(seed)
    for _ in range(20):
        try:
            return library.case(rng, seed // len(LIBRARIES))
        except REFUSALS as refusal:
            reason = str(refusal).splitlines()[0]
            print(f"seed {seed}: drawn again: {reason[:160]}", file=sys.stderr)
    raise SystemExit(f"seed {seed}: the library refused 20 draws")


def write(folder, seed, case):
    """case: file, save(path), rows, predict, raw and what else `case.json` is to say."""
    folder.mkdir(parents=True)
    case.pop("save")(str(folder / case["file"]))
    rows = case.pop("rows")
    for name, array in (("rows", rows), ("predict", case.pop("predict")), ("raw", case.pop("raw"))):
        array = np.asarray(array).reshape(len(rows), -1)
        case[f"{name}_width"] = array.shape[1]
        np.ascontiguousarray(array, dtype="<f8").tofile(folder / name)
    (folder / "case.json").write_text(json.dumps({"seed": seed, **case}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for the cases, emptied")
    parser.add_argument("--seeds", default="0:300", help="first:end, or one seed")
    options = parser.parse_args()
    first, _, end = options.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    shutil.rmtree(options.out, ignore_errors=True)
    for seed in seeds:
        case = train(seed)
        write(options.out / f"{seed:05}-{case['name']}", seed, case)
    print(f"{len(seeds)} models in {options.out}")


if __name__ == "__main__":
    main()
