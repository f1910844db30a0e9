"""The loop as its users meet it: tritonclient, plain HTTP and the command line."""

import json
import os
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from conftest import ROOT, Server

CONFIG = """
[journal]
store = "{folder}/data"
[slots.fraud.rollout]
on_arrival = "shadow"
labels_min = 200
positives_min = 50
duration_min = "0s"
label_horizon = "1h"
cost_false_positive = 25.0
cost_amount_feature = "amount"
cost_limit = 500.0
gates = ["cost > 0"]
promotions_per_day_max = 0
"""
STREAM = ROOT / "examples/fraud-stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    (folder / "models/fraud").mkdir(parents=True)
    shutil.copytree(STREAM / "models/fraud/1", folder / "models/fraud/1")
    (folder / "hedgerow.toml").write_text(CONFIG.format(folder=folder))
    server = Server(folder / "models", folder / "log", folder / "hedgerow.toml")
    yield server
    assert server.stop() == 0, "SIGTERM must end in a clean exit"


def features():
    return json.loads((STREAM / "models/fraud/1/golden.json").read_text())


def rows(count):
    """Rows of the golden file, again and again."""
    golden = features()["rows"]
    clean = [[np.nan if isinstance(x, str) or x is None else x for x in row] for row in golden]
    return np.resize(np.array(clean, dtype=np.float32), (count, len(clean[0])))


def post(server, path, body, admin=False):
    host = server.admin if admin else server.http
    request = urllib.request.Request(f"http://{host}{path}", body.encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def state(server):
    return json.loads(server.get("/v1/slots/fraud", admin=True)[1])


def until(what):
    for _ in range(600):
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def infer(server, kind, values, key):
    module, address = (
        (triton_http, server.http) if kind == "http" else (triton_grpc, server.grpc)
    )
    client = module.InferenceServerClient(address)
    tensor = module.InferInput("input", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    result = client.infer("fraud", [tensor], parameters={"key": key})
    response = result.get_response()
    if kind == "http":
        return response["parameters"]["prediction_id"], result.as_numpy("predict")
    return response.parameters["prediction_id"].string_param, result.as_numpy("predict")


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_gets_a_prediction_id_that_a_label_joins(server, kind):
    prediction, _ = infer(server, kind, rows(2), f"{kind}-1")
    label = {"prediction_id": f"{prediction}.1", "value": False}
    # A label may be faster than the recording of its prediction; then it waits for it.
    assert post(server, "/v1/feedback", json.dumps(label))[1]["status"] in ("joined", "pending")
    assert post(server, "/v1/feedback", json.dumps(label))[1]["status"] == "duplicate"
    by_key = {"slot": "fraud", "key": f"{kind}-1", "row": 0, "source": "analyst"}
    seen = []

    def joined(value):
        seen.append(post(server, "/v1/feedback", json.dumps({**by_key, "value": value}))[1]["status"])
        return seen[-1] == "joined"

    # Each value corrects the one before.
    values = iter([True, False] * 300)
    until(lambda: joined(next(values)))
    assert set(seen) <= {"joined", "pending"}, seen
    status, answer = post(server, "/v1/feedback", json.dumps({**by_key, "value": "yes"}))
    assert status == 400 and "class" in answer["error"]


def test_the_command_line_promotes_rolls_back_and_proves_the_chain(server):
    models = server.models / "fraud"
    shutil.copytree(STREAM / "models/fraud/2", models / ".2")
    os.rename(models / ".2", models / "2")
    until(lambda: state(server).get("challengers"))
    # Labels are what the challenger says, so it is better by as much as the two differ.
    for number in range(40):
        values = rows(400)[number * 10 : number * 10 + 10] + np.float32(number)
        values[:, 0] = 100.0 * (1 + number % 7)
        prediction, _ = infer(server, "grpc", values, f"t-{number}")
        challenger = shadow(server, values)
        lines = [
            json.dumps({"prediction_id": f"{prediction}.{row}", "value": bool(score >= 0.5)})
            for row, score in enumerate(challenger)
        ]
        answer = post(server, "/v1/feedback", "\n".join(lines))[1]
        assert answer["counts"]["joined"] + answer["counts"]["pending"] == 10, answer
    matured = lambda: state(server)["champion"]["matured"]
    until(lambda: matured() >= 400)
    binary = os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow")

    def run(*arguments):
        command = [binary, *arguments, "--url", f"http://{server.admin}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    page = run("status", "fraud")
    assert page.returncode == 0 and "gates: cost > 0" in page.stdout, page.stderr
    if state(server)["champion"]["revision"] != 2:
        # The rows are what they are: where they prove nothing, a person decides.
        forced = run("promote", "fraud", "--revision", "2", "--force", "--actor", "pytest")
        assert forced.returncode == 0, forced.stderr
    assert state(server)["champion"]["revision"] == 2
    back = run("rollback", "fraud", "--reason", "a drill")
    assert back.returncode == 0, back.stderr
    assert state(server)["champion"]["revision"] == 1
    chain = run("decisions", "fraud", "--verify")
    assert chain.returncode == 0 and "the chain holds" in chain.stdout, chain.stderr
    assert run("rollback", "fraud").returncode == 1


def shadow(server, values):
    """What revision 2 says, asked by its number."""
    client = triton_grpc.InferenceServerClient(server.grpc)
    tensor = triton_grpc.InferInput("input", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    return list(client.infer("fraud", [tensor], model_version="2").as_numpy("predict"))
