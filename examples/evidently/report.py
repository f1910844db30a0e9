#!/usr/bin/env python3
"""Compares two spans of an exported prediction log with Evidently: has the traffic drifted?"""

import argparse
import pathlib
import re

import numpy as np
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, MulticlassClassification, Regression, Report
from evidently.presets import DataDriftPreset

# The columns of every file that are no features.
FIXED = {
    "prediction_id", "ts", "model", "version", "slot", "revision_mark",
    "prediction", "prediction_label", "target", "label_ts",
}


def read(paths):
    """All rows of files and folders."""
    files = []
    for path in map(pathlib.Path, paths):
        files += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SystemExit(f"{', '.join(paths)}: no .parquet files")
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    if rows["slot"].nunique() > 1:
        raise SystemExit("rows of several slots: give the files of one")
    # Evidently counts NaN as missing and takes no infinities.
    return rows.replace([np.inf, -np.inf], np.nan)


def classes(rows):
    """The columns of the classes' scores, by the classes' numbers; none for one score."""
    if "prediction_0" not in rows:
        return []
    count = sum(1 for name in rows if re.fullmatch(r"prediction_\d+", name))
    return [f"prediction_{number}" for number in range(count)]


def task(rows):
    """What Evidently is told of the predictions, once outcomes are known."""
    if rows["target"].isna().all():
        return {}
    if classes(rows):
        of = MulticlassClassification(target="target", prediction_labels="prediction_label")
        return {"classification": [of]}
    if rows["prediction_label"].notna().any():
        of = BinaryClassification(
            target="target", prediction_labels="prediction_label", prediction_probas="prediction", pos_label=1
        )
        return {"classification": [of]}
    return {"regression": [Regression(target="target", prediction="prediction")]}


def definition(reference, current):
    """The columns that both have, with a value at least once in each."""
    known = lambda name: all(rows[name].notna().any() for rows in (reference, current))
    shared = [name for name in reference if name in current and known(name)]
    left_out = sorted(set(reference) ^ set(current) | {it for it in reference if it in current and not known(it)})
    left_out = [name for name in left_out if name not in FIXED]
    if left_out:
        print(f"left out, not in both: {', '.join(left_out)}")
    features = [name for name in shared if name not in FIXED | set(classes(reference))]
    numbers = [name for name in features if pd.api.types.is_numeric_dtype(reference[name])]
    categories = [name for name in features if name not in numbers]
    of_both = task(pd.concat([reference, current]))
    return (features + ["prediction"]), DataDefinition(
        id_column="prediction_id",
        timestamp="ts",
        numerical_columns=numbers + ["prediction"],
        categorical_columns=categories,
        **of_both,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", nargs="+", required=True, metavar="PATH", help="files or folders to compare with")
    parser.add_argument("--current", nargs="+", required=True, metavar="PATH", help="files or folders of the span in question")
    parser.add_argument("-o", "--output", default=".", metavar="DIR", help="folder of drift.html and drift.json")
    arguments = parser.parse_args()
    reference, current = read(arguments.reference), read(arguments.current)
    columns, schema = definition(reference, current)
    report = Report([DataDriftPreset(columns=columns, method="psi")])
    snapshot = report.run(
        Dataset.from_pandas(current, data_definition=schema),
        Dataset.from_pandas(reference, data_definition=schema),
    )
    folder = pathlib.Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(folder / "drift.html"))
    snapshot.save_json(str(folder / "drift.json"))
    print(f"{len(current)} rows against {len(reference)}, {len(columns)} columns: {folder / 'drift.html'}")


if __name__ == "__main__":
    main()
