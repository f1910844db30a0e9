"""Drift as its users meet it: a stream of payments, the command line, Evidently, and Prefect."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from evidently.legacy.calculations.stattests import jensenshannon, kl_div, psi, wasserstein_distance_norm
from evidently.legacy.core import ColumnType

from conftest import ROOT, Server

STREAM = ROOT / "examples/fraud-stream"
sys.path.insert(0, str(STREAM))
import drift as story  # noqa: E402
import stream  # noqa: E402

BINARY = os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow")
CONFIG = """
[journal]
store = "{folder}/data"
rows_per_second_max = 1000000
[rollout]
record = true
features_fraction = 1.0
[drift]
watch = "on"
rows_per_second_max = 1000000
[slots.fraud.drift]
reference_rows = {fraud}
[slots.churn-lgbm.drift]
reference_rows = {churn}
psi_act = 5.0
"""
CHURN = {"reference": 8000, "live": 5000}
DRIFTED = {
    "fraud": {"session_seconds", "country_mismatch", "distance_km", "amount_ratio", "amount"},
    "churn-lgbm": {"MonthlyCharges", "Contract"},
}
BATCH = 500


@pytest.fixture(scope="module")
def sent():
    """Rows by slot: those that become the reference, and those that are compared with it."""
    payments = stream.Stream(11, [(0, story.HOME), (96, story.NEW_MARKET)])
    days = [[it.features for _ in range(24) for it in payments.hour()] for _ in range(5)]
    fraud = {"reference": days[2] + days[3], "live": days[4]}
    golden = json.loads((ROOT / "models/churn-lgbm/1/golden.json").read_text())
    draw = np.random.default_rng(3)
    usual = lambda cell: cell is not None and (not isinstance(cell, str) or "Infinity" not in cell) and (isinstance(cell, str) or 0 <= cell < 1e5)
    tidy = [row for row in golden["rows"] if all(map(usual, row))]
    churn = {}
    for name, count in CHURN.items():
        rows = [dict(zip(golden["columns"], tidy[pick])) for pick in draw.integers(0, len(tidy), count)]
        for row in rows:
            row["MonthlyCharges"] = float(np.round(draw.normal(70, 15) + (5.5 if name == "live" else 0), 2))
            if name == "live" and draw.random() < 0.2:
                row["Contract"] = "Two year"
        churn[name] = rows
    return {"fraud": fraud, "churn-lgbm": churn}


@pytest.fixture(scope="module")
def server(tmp_path_factory, sent):
    folder = tmp_path_factory.mktemp("drift")
    without = shutil.ignore_patterns("profile.json")
    shutil.copytree(story.REVISION, folder / "models/fraud/1", ignore=without)
    shutil.copytree(ROOT / "models/churn-lgbm", folder / "models/churn-lgbm", ignore=without)
    sizes = {slot.split("-")[0]: len(rows["reference"]) for slot, rows in sent.items()}
    (folder / "hedgerow.toml").write_text(CONFIG.format(folder=folder, **sizes))
    server = Server(folder / "models", folder / "log", folder / "hedgerow.toml")
    server.folder, server.middle = folder, {}
    for slot, rows in sent.items():
        send(server, slot, rows["reference"])
        until(lambda: report(server, slot)["reference"]["state"] == "ready")
        server.middle[slot] = pd.Timestamp.now(tz="UTC").isoformat()
        time.sleep(0.01)
        send(server, slot, rows["live"])
        until(lambda: window(server, slot)["rows"] == len(rows["live"]))
    yield server
    assert server.stop() == 0, "SIGTERM must end in a clean exit"


def send(server, slot, rows):
    for start in range(0, len(rows), BATCH):
        body = json.dumps({"instances": rows[start : start + BATCH]}).encode()
        address = f"http://{server.http}/v1/models/{slot}:predict"
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=30) as answer:
            assert answer.status == 200


def until(what):
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def report(server, slot):
    return json.loads(server.get(f"/v1/slots/{slot}/drift", admin=True)[1])


def window(server, slot):
    """The long one: all rows since the reference."""
    return report(server, slot)["windows"][1]


def command(server, *arguments):
    return subprocess.run(
        [BINARY, "drift", *arguments, "--url", f"http://{server.admin}"],
        capture_output=True, text=True, timeout=60,
    )


def test_a_change_of_the_customers_is_found_in_order_and_called_out(tmp_path):
    page = tmp_path / "drift.html"
    arguments = ["--window", "6", "--quiet-days", "1", "--market-days", "2", "--html", page, "--binary", BINARY]
    if prefect := os.environ.get("HEDGEROW_TEST_PREFECT"):
        arguments += ["--prefect", prefect, "--prefect-auth", os.environ["HEDGEROW_TEST_PREFECT_AUTH"]]
    done = subprocess.run(
        [sys.executable, STREAM / "drift.py", *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout and "came as it is told" in done.stdout
    assert "session_seconds is at act" in done.stdout and "distance_km is at act" in done.stdout
    assert ("ended as COMPLETED" if prefect else "The webhook got one") in done.stdout
    assert "session_seconds" in page.read_text()


def counted(slot, feature, rows):
    """Rows by bin, the missing last, counted here."""
    values = [row[feature["name"]] for row in rows]
    bins = feature["bins"]
    if feature["type"] == "category":
        names = bins["names"]
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        return [texts.count(name) for name in names] + [0]
    # XGBoost reads 32-bit numbers.
    kind = np.float32 if slot == "fraud" else np.float64
    numbers = np.array([np.nan if value is None else value for value in values], kind).astype(float)
    there = numbers[~np.isnan(numbers)]
    edges = np.array(bins["edges"], kind).astype(float)
    places = np.searchsorted(edges, there, side="right")
    return [*np.bincount(places, minlength=len(bins["edges"]) + 1).tolist(), len(numbers) - len(there)]


def series(counts):
    """Numbers of bins, as often as there are rows in them."""
    return pd.Series(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("slot", ["fraud", "churn-lgbm"])
def test_the_figures_are_those_of_evidently_and_scipy_on_the_same_bins(server, sent, slot):
    print(f"\n{slot:18}{'PSI':>8}{'Evidently':>11}{'W/std':>9}{'Evidently':>11}")
    kinds = set()
    for feature in window(server, slot)["features"]:
        name, bins = feature["name"], feature["bins"]
        kinds.add(feature["type"])
        reference = counted(slot, feature, sent[slot]["reference"])
        live = counted(slot, feature, sent[slot]["live"])
        assert bins["reference"] + [bins["reference_missing"]] == reference, name
        assert bins["live"] + [bins["live_missing"]] == live, name
        both = series(reference), series(live)
        on_bins = lambda test: test(*both, ColumnType.Categorical, 0.1)[0]
        assert feature["psi"] == pytest.approx(on_bins(psi._psi), abs=1e-9), name
        assert feature["kl"] == pytest.approx(on_bins(kl_div._kl_div), abs=1e-9), name
        distance = on_bins(jensenshannon._jensenshannon)
        assert feature["js"] == pytest.approx(distance**2, abs=1e-9), name
        if feature["type"] == "category":
            table = [(a, b) for a, b in zip(reference, live) if a or b]
            if len(table) > 1:
                tested = scipy.stats.chi2_contingency(np.array(table), correction=False)
                assert feature["chi2"] == pytest.approx(tested.statistic, rel=1e-9, abs=1e-9), name
                assert feature["chi2_p"] == pytest.approx(tested.pvalue, rel=1e-6, abs=1e-12), name
            continue
        there = series(reference[:-1]), series(live[:-1])
        tested = scipy.stats.ks_2samp(*there, method="asymp")
        assert feature["ks"] == pytest.approx(tested.statistic, abs=1e-12), name
        assert feature["ks_p"] == pytest.approx(tested.pvalue, rel=0.05, abs=1e-12), name
        raw = [
            pd.Series([row[name] for row in sent[slot][part]], dtype=float).dropna()
            for part in ("reference", "live")
        ]
        evidently = psi._psi(*raw, ColumnType.Numerical, 0.1)[0]
        distance = wasserstein_distance_norm._wasserstein_distance_norm(*raw, ColumnType.Numerical, 0.1)[0]
        wasserstein = feature["wasserstein_std"]
        print(f"{name:18}{feature['psi']:8.4f}{evidently:11.4f}{wasserstein:9.4f}{distance:11.4f}")
    assert "number" in kinds and (slot == "fraud" or "category" in kinds)


@pytest.mark.parametrize("slot", ["fraud", "churn-lgbm"])
def test_evidently_names_the_same_columns_of_the_export(server, sent, slot):
    folder = server.folder
    files = {}
    for part, limit in (("reference", "--until"), ("live", "--since")):
        files[part] = folder / f"{slot}-{part}.parquet"
        arguments = ["--journal", folder / "data", "--slot", slot, "-o", files[part], limit, server.middle[slot]]
        done = subprocess.run([BINARY, "export", *arguments], capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith(f"{len(sent[slot][part]):,} rows"), done.stderr
    script = [sys.executable, ROOT / "examples/evidently/report.py", "-o", folder / slot]
    done = subprocess.run(
        [*script, "--reference", files["reference"], "--current", files["live"]],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / slot / "drift.json").read_text())["metrics"]
    values = {
        it["config"]["column"]: it["value"] for it in metrics if it["config"]["type"].endswith("ValueDrift")
    }
    drifted = {name for name, value in values.items() if value >= 0.1 and name != "prediction"}
    ours = {it["name"] for it in window(server, slot)["features"] if it["verdict"] in ("watch", "act")}
    assert ours == DRIFTED[slot]
    # Evidently's bins are equally wide, and a long tail leaves nearly all rows in the first one.
    assert drifted == ours - {"amount", "amount_ratio"}


def test_the_command_line_says_what_the_server_says(server, tmp_path):
    done = command(server, "fraud", "--json")
    assert done.returncode == 0
    told, asked = json.loads(done.stdout), report(server, "fraud")
    for each in (*told["windows"], *asked["windows"]):
        # The windows go on.
        del each["from_ms"], each["to_ms"]
    assert told == asked

    assert asked["verdict"] == "act"
    for limit, status in [("act", 1), ("watch", 1)]:
        assert command(server, "fraud", "--fail-on", limit).returncode == status
    assert command(server, "fraud").returncode == 0
    done = command(server, "nobody", "--fail-on", "act")
    assert done.returncode == 1 and "nobody" in done.stderr

    page = tmp_path / "drift.html"
    assert command(server, "fraud", "--html", page).returncode == 0
    html = page.read_text()
    assert all(name in html for name in stream.FEATURES)
    assert not any(part in html for part in ("http://", "https://", "src=", "<script", "<link", "@import", "url("))


def test_a_verdict_below_the_limit_does_not_fail(server):
    verdict = report(server, "churn-lgbm")["verdict"]
    assert verdict == "watch"
    assert command(server, "churn-lgbm", "--fail-on", "act").returncode == 0
    assert command(server, "churn-lgbm", "--fail-on", "watch").returncode == 1


def test_the_page_of_a_slot_tells_its_drift(server):
    state = lambda: json.loads(server.get("/v1/slots/fraud", admin=True)[1])
    until(lambda: state().get("drift", {}).get("verdict") == "act")
    told = state()["drift"]
    assert [name for name, _ in told["worst"]][:2] == ["session_seconds", "country_mismatch"]
    done = subprocess.run(
        [BINARY, "status", "fraud", "--url", f"http://{server.admin}"], capture_output=True, text=True, timeout=60
    )
    assert "DRIFT             ✗ act   session_seconds (PSI" in done.stdout
