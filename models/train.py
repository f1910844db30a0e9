#!/usr/bin/env python3
"""Trains every sample model again, and records its golden rows.

    python3 -m venv venv && venv/bin/pip install -r models/requirements.txt
    venv/bin/python models/train.py --data ../shared/data

Seeds are fixed and every library runs on one thread, so the same library
versions write the same bytes. With --history DIR, what each model is trained on is written to
DIR/NAME.csv too, its label in the last column: `hedgerow profile` reads that.
"""

import argparse
import csv
import json
import sys
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
warnings.filterwarnings("ignore")

import catboost
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas
import skl2onnx
import xgboost
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, mean_squared_error, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import golden

ROOT = Path(__file__).resolve().parent.parent
NAN = float("nan")

HISTORY = None
"""Folder for what the models are trained on; None: it is not written."""

LABEL = "label"
"""The label's column there."""

JET = ["pt", "eta", "phi", "b_tag"]
HIGGS = (
    ["lepton_pT", "lepton_eta", "lepton_phi", "missing_energy_magnitude", "missing_energy_phi"]
    + [f"jet_{number}_{part}" for number in (1, 2, 3, 4) for part in JET]
    + ["m_jj", "m_jjj", "m_lv", "m_jlv", "m_bb", "m_wbb", "m_wwbb"]
)

DERMATOLOGY = """
erythema scaling definite_borders itching koebner_phenomenon polygonal_papules
follicular_papules oral_mucosal_involvement knee_and_elbow_involvement scalp_involvement
family_history melanin_incontinence eosinophils_in_the_infiltrate pnl_infiltrate
fibrosis_of_the_papillary_dermis exocytosis acanthosis hyperkeratosis parakeratosis
clubbing_of_the_rete_ridges elongation_of_the_rete_ridges
thinning_of_the_suprapapillary_epidermis spongiform_pustule munro_microabscess
focal_hypergranulosis disappearance_of_the_granular_layer
vacuolisation_and_damage_of_basal_layer spongiosis saw_tooth_appearance_of_retes
follicular_horn_plug perifollicular_parakeratosis inflammatory_mononuclear_infiltrate
band_like_infiltrate age
""".split()

DISEASES = [
    "psoriasis",
    "seborrheic dermatitis",
    "lichen planus",
    "pityriasis rosea",
    "chronic dermatitis",
    "pityriasis rubra pilaris",
]


def blank(values, rate, seed):
    """A copy of the matrix with a share of its values missing."""
    values = np.array(values, dtype=np.float64)
    values[np.random.default_rng(seed).random(values.shape) < rate] = NAN
    return values


def folder_for(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_signature(folder, **fields):
    (folder / "signature.json").write_text(json.dumps(fields, indent=2) + "\n")


def keep(folder, columns, rows, labels):
    """Writes what a model is trained on, if that is asked for; a missing value is an empty field."""
    if HISTORY is None:
        return
    name = folder.parent.name if folder.name == "1" else folder.name
    with open(folder_for(HISTORY) / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, LABEL])
        for row, label in zip(rows, labels):
            values = ["" if pandas.isna(value) else value for value in row]
            writer.writerow([*values, label])


def report(folder, file, score):
    size = (folder / file).stat().st_size / 1000
    print(f"{folder.parent.name}/{folder.name}/{file}: {size:.0f} kB, {score}", flush=True)


# XGBoost


def higgs(data):
    folder = data / "lightgbm/examples/binary_classification"
    train = np.loadtxt(folder / "binary.train")
    test = np.loadtxt(folder / "binary.test")
    return train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]


def train_xgboost(params, rounds, rows, labels, names):
    settings = {"nthread": 1, "seed": 7, "tree_method": "hist", **params}
    matrix = xgboost.DMatrix(rows, labels, feature_names=names, nthread=1)
    return xgboost.train(settings, matrix, num_boost_round=rounds)


def xgboost_golden(folder, file, real, seed):
    """Records the rows; both of XGBoost's prediction paths must agree bit for bit."""
    booster = xgboost.Booster({"nthread": 1}, model_file=str(folder / file))
    names = booster.feature_names
    model = json.loads(bytes(booster.save_raw("json")))
    rows = golden.edge_rows(real, golden.xgboost_thresholds(model, len(names)), seed=seed)
    predict = booster.inplace_predict(rows, validate_features=False)
    raw = booster.inplace_predict(rows, validate_features=False, predict_type="margin")
    finite = ~np.isinf(rows).any(axis=1)
    matrix = xgboost.DMatrix(rows[finite], feature_names=names)
    assert np.array_equal(booster.predict(matrix), predict[finite])
    assert np.array_equal(booster.predict(matrix, output_margin=True), raw[finite])
    golden.write(
        folder,
        library="xgboost",
        library_version=xgboost.__version__,
        tolerance=0.0,
        columns=names,
        rows=rows,
        outputs={"predict": golden.rows_of(predict), "raw": golden.rows_of(raw)},
    )


def fraud(data, folder, params, rounds, rows_used):
    rows, labels, test, test_labels = higgs(data)
    rows = blank(rows, 0.02, seed=11)[:rows_used]
    keep(folder, HIGGS, rows, labels)
    booster = train_xgboost(
        {"objective": "binary:logistic", **params}, rounds, rows, labels[:rows_used], HIGGS
    )
    booster.save_model(folder / "model.ubj")
    write_signature(folder, labels=["background", "signal"])
    xgboost_golden(folder, "model.ubj", test, seed=21)
    scores = booster.inplace_predict(test, validate_features=False)
    auc, f1 = roc_auc_score(test_labels, scores), f1_score(test_labels, scores > 0.5)
    report(folder, "model.ubj", f"test AUC {auc:.4f}, F1 {f1:.4f}")


def fraud_xgb(data, out):
    folder = folder_for(out / "models/fraud-xgb/1")
    params = {"max_depth": 5, "eta": 0.3, "min_child_weight": 2}
    fraud(data, folder, params, rounds=100, rows_used=1500)


def fraud_xgb_2(data, out):
    folder = folder_for(out / "examples/fraud-xgb-2")
    params = {
        "max_depth": 5,
        "eta": 0.06,
        "min_child_weight": 12,
        "subsample": 0.8,
        "colsample_bytree": 0.7,
    }
    fraud(data, folder, params, rounds=150, rows_used=7000)


def read_libsvm(path, features):
    """Rows and labels of a libsvm file with indexes from 1; what is absent is missing."""
    labels, rows = [], []
    for line in path.read_text().splitlines():
        label, *pairs = line.split()
        row = [NAN] * features
        for pair in pairs:
            index, value = pair.split(":")
            row[int(index) - 1] = float(value)
        labels.append(float(label))
        rows.append(row)
    return np.array(rows), np.array(labels)


def mushroom_xgb(data, out):
    folder = folder_for(out / "models/mushroom-xgb/1")
    source = data / "xgboost/demo/data"
    names = [line.split()[1] for line in (source / "featmap.txt").read_text().splitlines()]
    rows, labels = read_libsvm(source / "agaricus.txt.train", len(names))
    test, test_labels = read_libsvm(source / "agaricus.txt.test", len(names))
    params = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.3}
    keep(folder, names, rows, labels)
    booster = train_xgboost(params, 30, rows, labels, names)
    booster.save_model(folder / "model.json")
    write_signature(folder, labels=["edible", "poisonous"])
    xgboost_golden(folder, "model.json", test, seed=22)
    scores = booster.inplace_predict(test, validate_features=False)
    report(folder, "model.json", f"test AUC {roc_auc_score(test_labels, scores):.4f}")


def dermatology_xgb(data, out):
    folder = folder_for(out / "models/dermatology-xgb/1")
    source = data / "xgboost/jvm-packages/xgboost4j-spark/src/test/resources/dermatology.data"
    table = np.genfromtxt(source, delimiter=",", missing_values="?", filling_values=NAN)
    rows, test, labels, test_labels = train_test_split(
        table[:, :-1], table[:, -1] - 1, test_size=0.25, random_state=7, stratify=table[:, -1]
    )
    params = {"objective": "multi:softprob", "num_class": 6, "max_depth": 3, "eta": 0.2}
    keep(folder, DERMATOLOGY, rows, labels)
    booster = train_xgboost(params, 20, rows, labels, DERMATOLOGY)
    booster.save_model(folder / "model.ubj")
    write_signature(folder, labels=DISEASES)
    xgboost_golden(folder, "model.ubj", test, seed=23)
    best = booster.inplace_predict(test, validate_features=False).argmax(axis=1)
    report(folder, "model.ubj", f"test accuracy {np.mean(best == test_labels):.4f}")


# LightGBM


def train_lightgbm(params, rounds, rows, labels, **dataset):
    settings = {"num_threads": 1, "seed": 7, "deterministic": True, "verbosity": -1, **params}
    return lightgbm.train(
        settings, lightgbm.Dataset(rows, labels, **dataset), num_boost_round=rounds
    )


def lightgbm_golden(folder, rows, columns, frame=None):
    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    asked = rows if frame is None else frame
    golden.write(
        folder,
        library="lightgbm",
        library_version=lightgbm.__version__,
        tolerance=0.0,
        columns=columns,
        rows=rows,
        outputs={
            "predict": golden.rows_of(booster.predict(asked, num_threads=1)),
            "raw": golden.rows_of(booster.predict(asked, raw_score=True, num_threads=1)),
        },
    )


def churn_table(data):
    """The Telco table: numbers as doubles, text as pandas categoricals, blanks missing."""
    table = pandas.read_csv(
        data / "telco/data/Telco-Customer-Churn.csv", keep_default_na=False, dtype=str
    )
    labels = (table["Churn"] == "Yes").to_numpy().astype(float)
    table = table.drop(columns=["customerID", "Churn"])
    rng = np.random.default_rng(12)
    for name in table.columns:
        missing = rng.random(len(table)) < 0.02
        if name in ("SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"):
            column = pandas.to_numeric(table[name], errors="coerce").astype(np.float64)
            table[name] = column.mask(missing)
        else:
            kinds = sorted(set(table[name]))
            table[name] = pandas.Categorical(table[name].mask(missing), categories=kinds)
    return table, labels


def churn_rows(test, text):
    """Golden rows as Python lists: numbers on their edges, category names, None for missing."""
    rng = np.random.default_rng(24)
    numbers = [name for name in test if test[name].dtype == np.float64]
    splits = golden.lightgbm_thresholds(text, test.shape[1])
    splits = [splits[test.columns.get_loc(name)] for name in numbers]
    complete = test.dropna().reset_index(drop=True)
    edges = golden.edge_rows(complete[numbers].to_numpy(), splits, seed=24, single=False)
    rows = []
    for index, edge in enumerate(edges):
        row = dict(zip(complete.columns, complete.iloc[index].tolist()))
        row.update(zip(numbers, edge.tolist()))
        rows.append([row[name] for name in test.columns])
    for row in rows[14:20]:
        for column, name in enumerate(test.columns):
            if name not in numbers and rng.random() < 0.3:
                row[column] = None
    for name, unknown in (("InternetService", "Satellite"), ("Contract", "Five year")):
        row = list(rows[len(rows) // 2])
        row[test.columns.get_loc(name)] = unknown
        rows.append(row)
    rows.append([None] * test.shape[1])
    return rows


def churn_lgbm(data, out):
    folder = folder_for(out / "models/churn-lgbm/1")
    table, labels = churn_table(data)
    rows, test, labels, test_labels = train_test_split(
        table, labels, test_size=0.25, random_state=7, stratify=labels
    )
    params = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.08, "cat_smooth": 5}
    keep(folder, rows.columns, rows.to_numpy(dtype=object), labels)
    booster = train_lightgbm(params, 60, rows, labels)
    booster.save_model(folder / "model.txt")
    edges = churn_rows(test, (folder / "model.txt").read_text())
    frame = pandas.DataFrame(edges, columns=table.columns, dtype=object)
    for name in table.columns:
        if table[name].dtype == np.float64:
            frame[name] = frame[name].astype(np.float64)
        else:
            frame[name] = pandas.Categorical(frame[name])
    write_signature(folder, labels=["stays", "leaves"])
    lightgbm_golden(folder, edges, list(table.columns), frame)
    report(folder, "model.txt", f"test AUC {roc_auc_score(test_labels, booster.predict(test)):.4f}")


def diabetes_lgbm(_data, out):
    folder = folder_for(out / "models/diabetes-lgbm/1")
    bunch = datasets.load_diabetes()
    rows, test, labels, test_labels = train_test_split(
        bunch.data, bunch.target, test_size=0.25, random_state=7
    )
    params = {"objective": "regression", "num_leaves": 7, "learning_rate": 0.1}
    keep(folder, bunch.feature_names, rows, labels)
    booster = train_lightgbm(params, 60, rows, labels, feature_name=list(bunch.feature_names))
    booster.save_model(folder / "model.txt")
    splits = golden.lightgbm_thresholds((folder / "model.txt").read_text(), rows.shape[1])
    edges = golden.edge_rows(test, splits, seed=25, single=False)
    lightgbm_golden(folder, edges, list(bunch.feature_names))
    error = mean_squared_error(test_labels, booster.predict(test)) ** 0.5
    report(folder, "model.txt", f"test RMSE {error:.2f}")


# ONNX


def onnx_golden(folder, real, columns, seed, missing):
    model = onnx.load(folder / "model.onnx")
    splits = golden.onnx_thresholds(model, len(columns))
    rows = golden.edge_rows(real, splits, seed=seed, infinite=missing, missing=missing)
    feeds = {model.graph.input[0].name: rows.astype(np.float32)}
    golden.write(
        folder,
        library="onnxruntime",
        library_version=onnxruntime.__version__,
        tolerance=1e-6,
        columns=columns,
        rows=rows,
        outputs=golden.onnx_outputs(model, feeds),
    )


def cancer_catboost(_data, out):
    folder = folder_for(out / "models/cancer-catboost/1")
    bunch = datasets.load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    rows, test, labels, test_labels = train_test_split(
        bunch.data, bunch.target, test_size=0.25, random_state=7, stratify=bunch.target
    )
    keep(folder, names, rows, labels)
    classifier = catboost.CatBoostClassifier(
        iterations=80,
        depth=5,
        learning_rate=0.15,
        random_seed=7,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
    classifier.fit(rows, labels)
    path = folder / "model.onnx"
    classifier.save_model(str(path), format="onnx")
    model = onnx.load(path)
    # CatBoost's own text describes the machine that built the library.
    model.producer_version = catboost.__version__
    golden.save_onnx(model, path)
    write_signature(
        folder,
        features=[{"name": name, "type": "number"} for name in names],
        labels=[str(name) for name in bunch.target_names],
    )
    onnx_golden(folder, test, names, seed=26, missing=True)
    scores = classifier.predict_proba(test)[:, 1]
    report(folder, "model.onnx", f"test AUC {roc_auc_score(test_labels, scores):.4f}")


def wine_linear(_data, out):
    folder = folder_for(out / "models/wine-linear/1")
    bunch = datasets.load_wine()
    rows, test, labels, test_labels = train_test_split(
        bunch.data, bunch.target, test_size=0.25, random_state=7, stratify=bunch.target
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, labels)
    # Input and output keep their usual export names; the ZipMap stays, as exporters leave it.
    kind = [("input", skl2onnx.common.data_types.FloatTensorType([None, rows.shape[1]]))]
    model = skl2onnx.to_onnx(pipeline, initial_types=kind, target_opset={"": 18, "ai.onnx.ml": 3})
    model.graph.name = "wine-linear"
    golden.save_onnx(model, folder / "model.onnx")
    columns = [name.replace("/", "_") for name in bunch.feature_names]
    keep(folder, columns, rows, labels)
    write_signature(
        folder,
        features=[{"name": name, "type": "number"} for name in columns],
        labels=[str(name) for name in bunch.target_names],
    )
    onnx_golden(folder, test, columns, seed=27, missing=False)
    right = np.mean(pipeline.predict(test) == test_labels)
    report(folder, "model.onnx", f"test accuracy {right:.4f}")


MODELS = {
    "fraud-xgb": fraud_xgb,
    "fraud-xgb-2": fraud_xgb_2,
    "mushroom-xgb": mushroom_xgb,
    "dermatology-xgb": dermatology_xgb,
    "churn-lgbm": churn_lgbm,
    "diabetes-lgbm": diabetes_lgbm,
    "cancer-catboost": cancer_catboost,
    "wine-linear": wine_linear,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of the public data sets"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT, help="folder to write models/ and examples/ under"
    )
    parser.add_argument("--only", choices=MODELS, help="make this model alone")
    parser.add_argument("--history", type=Path, help="folder to write training data to, as CSV")
    options = parser.parse_args()
    global HISTORY
    HISTORY = options.history
    for name, make in MODELS.items():
        if options.only in (None, name):
            make(options.data, options.out.resolve())


if __name__ == "__main__":
    main()
