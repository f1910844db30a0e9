#!/usr/bin/env python3
"""Trains the models of this folder, and writes labelled rows that none of them has seen.

    python3 -m venv venv && venv/bin/pip install xgboost-cpu==3.2.0 numpy
    venv/bin/python examples/replay/train.py --data ../shared/data

The data is the sample of UCI HIGGS in LightGBM's examples. Of its 7,500 rows the first 2,500 train:
`champion` stops after 10 trees, `challenger` goes on to 120, and `reseeded` is the challenger again
with another seed. The other 5,000 become higgs.csv, one every three minutes, with made-up times.
Seeds are fixed and XGBoost runs on one thread, so the same version writes the same bytes.
"""

import argparse
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import xgboost

HERE = Path(__file__).resolve().parent
TRAINING_ROWS = 2500
JET = ["pt", "eta", "phi", "b_tag"]
NAMES = (
    ["lepton_pT", "lepton_eta", "lepton_phi", "missing_energy_magnitude", "missing_energy_phi"]
    + [f"jet_{number}_{part}" for number in (1, 2, 3, 4) for part in JET]
    + ["m_jj", "m_jjj", "m_lv", "m_jlv", "m_bb", "m_wbb", "m_wwbb"]
)
BEGIN = datetime(2026, 11, 1, tzinfo=timezone.utc)


def read(data):
    folder = data / "lightgbm/examples/binary_classification"
    table = np.vstack([np.loadtxt(folder / name) for name in ("binary.train", "binary.test")])
    return table[:, 1:], table[:, 0]


def train(name, rows, labels, rounds, seed):
    params = {
        "objective": "binary:logistic",
        "max_depth": 4,
        "eta": 0.08,
        "min_child_weight": 8,
        "subsample": 0.7,
        "colsample_bytree": 0.7,
        "tree_method": "hist",
        "nthread": 1,
        "seed": seed,
    }
    matrix = xgboost.DMatrix(rows, labels, feature_names=NAMES, nthread=1)
    booster = xgboost.train(params, matrix, num_boost_round=rounds)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    booster.save_model(folder / "model.ubj")
    print(f"{name}: {rounds} trees, {(folder / 'model.ubj').stat().st_size / 1000:.0f} kB")


def write_csv(path, rows, labels):
    with open(path, "w") as file:
        file.write(",".join(["at", *NAMES, "label"]) + "\n")
        for index, (row, label) in enumerate(zip(rows, labels)):
            at = (BEGIN + timedelta(minutes=3 * index)).strftime("%Y-%m-%dT%H:%M:%SZ")
            file.write(f"{at},{','.join(repr(float(value)) for value in row)},{int(label)}\n")
    print(f"{path}: {len(rows)} rows")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=HERE / "higgs.csv", help="the labelled rows")
    parser.add_argument("--only-rows", action="store_true", help="leave the models as they are")
    options = parser.parse_args()
    rows, labels = read(options.data)
    if not options.only_rows:
        training = (rows[:TRAINING_ROWS], labels[:TRAINING_ROWS])
        train("champion", *training, rounds=10, seed=7)
        train("challenger", *training, rounds=120, seed=7)
        train("reseeded", *training, rounds=120, seed=8)
    write_csv(options.out, rows[TRAINING_ROWS:], labels[TRAINING_ROWS:])


if __name__ == "__main__":
    main()
