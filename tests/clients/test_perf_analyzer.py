"""Triton's own load generator understands us: it asks for the model's configuration and statistics,
and ends with an error where either is not as Triton's."""

import csv
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "loadtests" / "perf_analyzer.sh"
NOT_FOR_THIS_MACHINE = 77


@pytest.fixture(scope="module")
def script():
    code = subprocess.run([SCRIPT]).returncode
    if code == NOT_FOR_THIS_MACHINE:
        pytest.skip("there is no perf_analyzer for this machine")
    assert code == 0
    return SCRIPT


@pytest.mark.parametrize("load", [("--concurrency-range", "3"), ("--request-rate-range", "50")])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_measures(server, script, protocol, load, tmp_path):
    address = server.http if protocol == "http" else server.grpc
    report = tmp_path / "report.csv"
    # Any three windows are stable enough: what is measured does not matter here.
    stable = ["--measurement-request-count", "50", "--stability-percentage", "1000"]
    words = [script, protocol, address, "fraud-xgb", "28", "4", "--", *load, *stable, "-f", report]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = csv.DictReader(report.open())
    assert float(line["Inferences/Second"]) > 0
    # Of our statistics, which it subtracts before from after.
    parts = ["Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output"]
    assert float(line["Server Compute Input"]) > 0, {part: line[part] for part in parts}
