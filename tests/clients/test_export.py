"""The exported prediction log as its readers meet it: pandas, pyarrow, DuckDB and Evidently."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Server

CONFIG = """
[journal]
store = "{folder}/data"
[rollout]
record = true
features_fraction = 1.0
[export]
dir = "{folder}/log"
wait = "2s"
rotate = "0s"
"""
SLOTS = ["churn-lgbm", "dermatology-xgb", "diabetes-lgbm"]
FIXED = ["prediction_id", "ts", "model", "version", "slot", "revision_mark"]
LAST = ["prediction_label", "target", "label_ts"]
BINARY = os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for slot in SLOTS:
        shutil.copytree(ROOT / "models" / slot, folder / "models" / slot)
    (folder / "hedgerow.toml").write_text(CONFIG.format(folder=folder))
    server = Server(folder / "models", folder / "serverlog", folder / "hedgerow.toml")
    server.folder = folder
    yield server
    assert server.stop() == 0, "SIGTERM must end in a clean exit"


def golden(slot):
    """Rows as a frame: texts, numbers, NaN, infinities."""
    file = json.loads((ROOT / "models" / slot / "1/golden.json").read_text())
    numbers = {None: np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    rows = [[numbers.get(cell, cell) for cell in row] for row in file["rows"]]
    return pd.DataFrame(rows, columns=file["columns"])


def is_text(values):
    return any(isinstance(value, str) for value in values)


def post(server, path, body):
    request = urllib.request.Request(f"http://{server.http}{path}", body.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def send(server, slot, frame):
    """Asks for predictions; gives the id of the request and its scores."""
    inputs = []
    for name in frame:
        values, text = frame[name].tolist(), is_text(frame[name])
        if text:
            values = [value if isinstance(value, str) else "NaN" for value in values]
        kind = "BYTES" if text else "FP64"
        inputs.append({"name": name, "shape": [len(values)], "datatype": kind, "data": values})
    answer = post(server, f"/v2/models/{slot}/infer", json.dumps({"inputs": inputs}))
    return answer["parameters"]["prediction_id"], answer["outputs"][0]


def label(server, prediction, values):
    lines = [
        json.dumps({"prediction_id": f"{prediction}.{row}" if row else prediction, "value": value})
        for row, value in enumerate(values)
    ]
    post(server, "/v1/feedback", "\n".join(lines))


def files(server, slot):
    return sorted((server.folder / "log").glob(f"{slot}-*.parquet"))


def exported(server, slot, count):
    """The slot's log once it has so many rows."""
    for _ in range(600):
        found = files(server, slot)
        rows = sum(pq.read_metadata(file).num_rows for file in found)
        assert rows <= count, "no row is exported twice"
        if rows == count:
            return pd.concat([pd.read_parquet(file) for file in found], ignore_index=True)
        time.sleep(0.05)
    raise AssertionError(f"{rows} rows of {count} were exported within 30 s")


def test_a_binary_log_has_ids_features_scores_and_outcomes(server):
    frame = golden("churn-lgbm")
    prediction, output = send(server, "churn-lgbm", frame)
    label(server, prediction, [row % 3 == 0 for row in range(10)])
    log = exported(server, "churn-lgbm", len(frame))
    assert list(log) == [*FIXED, *frame, "prediction", *LAST]
    assert log["prediction_id"].tolist() == [
        f"{prediction}.{row}" if row else prediction for row in range(len(frame))
    ]
    assert set(log["slot"]) == set(log["model"]) == {"churn-lgbm"} and set(log["version"]) == {"1"}
    np.testing.assert_array_equal(log["prediction"], output["data"])
    assert (log["prediction_label"] == (log["prediction"] >= 0.5)).all()
    assert log["target"][:10].tolist() == [float(row % 3 == 0) for row in range(10)]
    assert log["target"][10:].isna().all() and log["label_ts"][10:].isna().all()
    assert (log["label_ts"][:10] >= log["ts"][:10]).all()
    assert str(log["ts"].dtype) == "datetime64[ms, UTC]"
    assert abs(log["ts"][0].timestamp() - time.time()) < 120
    for name in frame:
        if is_text(frame[name]):
            # A category that the model does not know is missing to it.
            known = log[name].notna()
            assert log[name][known].tolist() == frame[name][known].tolist(), name
            assert known.sum() >= len(frame) / 2, name
        else:
            np.testing.assert_array_equal(log[name], frame[name].astype(float), name)


def test_several_classes_have_their_scores_and_a_regression_has_no_label(server):
    frame = golden("dermatology-xgb")
    _, output = send(server, "dermatology-xgb", frame)
    log = exported(server, "dermatology-xgb", len(frame))
    scores = log[[f"prediction_{number}" for number in range(6)]].to_numpy()
    # The model's own numbers have 32 bits, and as many digits in the answer.
    np.testing.assert_array_equal(np.float32(scores), np.float32(output["data"]).reshape(scores.shape))
    np.testing.assert_array_equal(log["prediction_label"], scores.argmax(axis=1))
    np.testing.assert_array_equal(log["prediction"], scores.max(axis=1))
    frame = golden("diabetes-lgbm")
    prediction, output = send(server, "diabetes-lgbm", frame)
    label(server, prediction, [100.5])
    log = exported(server, "diabetes-lgbm", len(frame))
    np.testing.assert_array_equal(log["prediction"], output["data"])
    np.testing.assert_array_equal(log[list(frame)], frame.astype(float))
    assert log["prediction_label"].isna().all() and log["target"][0] == 100.5


def test_arrow_and_duckdb_see_the_types(server):
    exported(server, "churn-lgbm", len(golden("churn-lgbm")))
    schema = pq.read_schema(files(server, "churn-lgbm")[0])
    expected = {
        "prediction_id": pa.string(), "ts": pa.timestamp("ms", tz="UTC"), "gender": pa.string(),
        "tenure": pa.float64(), "prediction": pa.float64(), "prediction_label": pa.int64(),
        "target": pa.float64(), "label_ts": pa.timestamp("ms", tz="UTC"),
    }
    assert {name: schema.field(name).type for name in expected} == expected
    pattern = str(server.folder / "log/churn-lgbm-*.parquet")
    found = duckdb.sql(f"SELECT gender, count(*) n, avg(prediction) p FROM '{pattern}' GROUP BY ALL").fetchall()
    assert sum(count for _, count, _ in found) == len(golden("churn-lgbm"))
    kinds = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '{pattern}')").fetchall())
    assert kinds["ts"] == "TIMESTAMP WITH TIME ZONE" and kinds["gender"] == "VARCHAR"
    assert kinds["tenure"] == "DOUBLE" and kinds["prediction_label"] == "BIGINT"


def test_the_metrics_count_what_is_exported(server):
    exported(server, "churn-lgbm", len(golden("churn-lgbm")))
    name = lambda what: f'hedgerow_export_{what}{{slot="churn-lgbm"}}'
    for _ in range(100):
        if server.metric(name("rows_total")) == len(golden("churn-lgbm")):
            break
        time.sleep(0.1)
    assert server.metric(name("rows_total")) == len(golden("churn-lgbm"))
    assert server.metric(name("files_total")) == len(files(server, "churn-lgbm"))
    assert server.metric(name("failures_total")) == 0
    assert server.metric(name("lag_seconds")) == 0


def by_hand(server, output, *more):
    """Runs `hedgerow export` for the first slot."""
    command = [BINARY, "export", "--journal", server.folder / "data", "--slot", "churn-lgbm", "-o", output, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def after(log):
    """A moment behind the last row's."""
    return (log["ts"].max() + pd.Timedelta(milliseconds=1)).isoformat()


def test_evidently_finds_the_drift_and_nothing_else(server):
    # Evidently's bins have equal widths: the golden rows' extreme numbers would leave all others in one.
    golden_rows = golden("churn-lgbm")
    usual = golden_rows[golden_rows["TotalCharges"].between(0, 1e5)]
    frame = pd.concat([usual] * 15, ignore_index=True)
    frame["MonthlyCharges"] = np.linspace(20, 120, len(frame))
    folder = server.folder
    start = after(exported(server, "churn-lgbm", len(golden_rows)))
    labels = [row % 2 == 0 for row in range(len(frame))]
    prediction, _ = send(server, "churn-lgbm", frame)
    label(server, prediction, labels)
    middle = after(exported(server, "churn-lgbm", len(golden_rows) + len(frame)))
    frame["MonthlyCharges"] += 300
    frame["Contract"] = "Two year"
    prediction, _ = send(server, "churn-lgbm", frame)
    label(server, prediction, labels)
    exported(server, "churn-lgbm", len(golden_rows) + 2 * len(frame))

    reference, current = folder / "reference.parquet", folder / "current"
    done = by_hand(server, reference, "--since", start, "--until", middle, "--threshold", "0.5")
    assert done.stdout == f"{len(frame)} rows in 1 file at {reference}\n", done.stderr
    assert by_hand(server, current, "--since", middle, "--threshold", "0.5").returncode == 0
    report = [sys.executable, ROOT / "examples/evidently/report.py", "--reference", reference, "--current", current]
    done = subprocess.run([*report, "-o", folder / "report"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (folder / "report/drift.html").stat().st_size > 100_000
    metrics = json.loads((folder / "report/drift.json").read_text())["metrics"]
    psi = {
        metric["config"]["column"]: metric["value"]
        for metric in metrics if metric["config"]["type"].endswith("ValueDrift")
    }
    assert set(psi) == {*frame, "prediction"}
    drifted = {name for name, value in psi.items() if value >= 0.1}
    assert drifted == {"MonthlyCharges", "Contract", "prediction"}, psi


def test_an_export_by_hand_says_what_is_wrong(server, tmp_path):
    for more, reason in [
        (["--journal", tmp_path], "no journal; expected a folder with journal.db"),
        (["--slot", "nobody"], "slot \"nobody\": no predictions with features in that time"),
        (["--since", "yesterday"], "expected a time such as"),
    ]:
        command = [BINARY, "export", "-o", tmp_path / "x.parquet"]
        known = {"--journal": server.folder / "data", "--slot": "churn-lgbm"}
        for name, value in {**known, **dict([more])}.items():
            command += [name, value]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and reason in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())
