"""Real clients get the original libraries' numbers: the golden rows of every sample model."""

import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = sorted(path.parent.parent.name for path in (ROOT / "models").glob("*/1/golden.json"))


def golden(slot):
    return json.loads((ROOT / "models" / slot / "1" / "golden.json").read_text())


def plain(cell):
    """A golden cell as a number, where it is one."""
    special = {None: float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
    return cell if isinstance(cell, float) else special.get(cell, cell)


def numeric(rows):
    """Rows that a numeric tensor can carry, with missing values as NaN; None when there is text."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if any(isinstance(cell, str) for row in cells for cell in row):
        return None
    return np.array(cells, dtype=np.float64)


def expected(slot, name):
    return np.array(golden(slot)["outputs"][name], dtype=np.float64)


def check(slot, name, got):
    want, tolerance = expected(slot, name), golden(slot)["tolerance"]
    got = np.asarray(got, dtype=np.float64).reshape(want.shape)
    if tolerance == 0:
        assert got.tobytes() == want.tobytes(), f"{slot}, {name}: not the library's bits"
    else:
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def output_names(slot):
    return sorted(golden(slot)["outputs"])


def test_there_are_sample_models():
    assert len(SAMPLES) >= 7


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("slot", SAMPLES)
def test_tritonclient_http(server, slot, binary):
    rows = numeric(golden(slot)["rows"])
    client = triton_http.InferenceServerClient(server.http)
    meta = client.get_model_metadata(slot)
    if rows is None:
        return by_name(client, slot, binary)
    tensor = meta["inputs"][0]
    rows = rows.astype({"FP32": np.float32, "FP64": np.float64}[tensor["datatype"]])
    value = triton_http.InferInput(tensor["name"], list(rows.shape), tensor["datatype"])
    value.set_data_from_numpy(rows, binary_data=binary)
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in output_names(slot)]
    result = client.infer(slot, [value], outputs=wanted, request_id="a-1")
    assert result.get_response()["id"] == "a-1"
    for name in output_names(slot):
        check(slot, name, result.as_numpy(name))


def by_name(client, slot, binary):
    """Categories travel as text, one tensor a feature."""
    data = golden(slot)
    inputs = []
    for column, name in enumerate(data["columns"]):
        cells = [plain(row[column]) for row in data["rows"]]
        if any(isinstance(cell, str) for cell in cells):
            # Missing text is the word that no category has.
            array = np.array([cell if isinstance(cell, str) else "NaN" for cell in cells], dtype=np.object_)
            tensor = triton_http.InferInput(name, [len(cells)], "BYTES")
        else:
            array = np.array(cells, dtype=np.float64)
            tensor = triton_http.InferInput(name, [len(cells)], "FP64")
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in output_names(slot)]
    result = client.infer(slot, inputs, outputs=wanted)
    for name in output_names(slot):
        check(slot, name, result.as_numpy(name))


@pytest.mark.parametrize("slot", [slot for slot in SAMPLES if numeric(golden(slot)["rows"]) is not None])
def test_tritonclient_grpc(server, slot):
    rows = numeric(golden(slot)["rows"])
    client = triton_grpc.InferenceServerClient(server.grpc)
    tensor = client.get_model_metadata(slot).inputs[0]
    rows = rows.astype({"FP32": np.float32, "FP64": np.float64}[tensor.datatype])
    value = triton_grpc.InferInput(tensor.name, list(rows.shape), tensor.datatype)
    value.set_data_from_numpy(rows)
    wanted = [triton_grpc.InferRequestedOutput(name) for name in output_names(slot)]
    result = client.infer(slot, [value], outputs=wanted, request_id="g-1")
    assert result.get_response().id == "g-1"
    for name in output_names(slot):
        check(slot, name, result.as_numpy(name))


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_operates_the_repository(server, kind):
    module = triton_http if kind == "http" else triton_grpc
    client = module.InferenceServerClient(server.http if kind == "http" else server.grpc)
    assert client.is_server_live() and client.is_server_ready()
    slot = "diabetes-lgbm"
    assert client.is_model_ready(slot)
    client.unload_model(slot)
    assert not client.is_model_ready(slot)
    client.load_model(slot)
    assert client.is_model_ready(slot)
    assert client.get_inference_statistics(slot)
    assert client.get_model_config(slot)
    assert client.get_model_repository_index()
    with pytest.raises(InferenceServerException):
        client.load_model("nothing-here")
    with pytest.raises(InferenceServerException):
        client.get_model_metadata("nothing-here")


def test_kserve_rest_and_grpc_clients(server):
    # In a process of its own: its generated messages and tritonclient's cannot live together.
    script = ROOT / "tests/clients/kserve_client.py"
    done = subprocess.run(
        [sys.executable, script, server.http, server.grpc], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    want = expected("fraud-xgb", "predict")[said["rows"]].ravel()
    for client in ("rest", "grpc"):
        got = np.array(said[client], dtype=np.float32).astype(np.float64)
        assert len(got) > 20 and got.tobytes() == want.tobytes(), f"{client}: not the library's bits"


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "10", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("slot", SAMPLES)
def test_curl_predicts_rows_and_records(server, slot):
    data = golden(slot)
    url = f"http://{server.http}/v1/models/{slot}:predict"
    datatype = curl(f"http://{server.http}/v2/models/{slot}")["inputs"][0]["datatype"]
    records = [dict(zip(data["columns"], row)) for row in data["rows"]]
    for instances in (data["rows"], records):
        answer = curl(url, "-d", json.dumps({"instances": instances}))
        assert "error" not in answer, answer
        predictions = answer["predictions"]
        if "predict" in data["outputs"]:
            # Decimals are the shortest of their datatype: they are read back as that.
            float_type = {"FP32": np.float32, "FP64": np.float64}[datatype]
            check(slot, "predict", np.array(predictions, dtype=float_type))
        else:
            for name in output_names(slot):
                check(slot, name, [row[name] for row in predictions])


def test_curl_sees_errors_that_name_what_is_wrong(server):
    base = f"http://{server.http}/v2/models"
    body = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    assert "expected shape [n, 28]" in curl(f"{base}/fraud-xgb/infer", "-d", json.dumps(body))["error"]
    assert "unknown model" in curl(f"{base}/nothing/infer", "-d", json.dumps(body))["error"]
    assert "error" in curl(f"{base}/fraud-xgb/infer", "-d", "{")


def test_a_swap_under_load_fails_no_request_and_mixes_no_answer(server):
    slot = "fraud-xgb"
    rows = numeric(golden(slot)["rows"]).astype(np.float32)
    new = json.loads((ROOT / "examples/fraud-xgb-2/golden.json").read_text())
    # What revision 2 says of revision 1's rows is learnt from the server once it answers.
    stop = threading.Event()
    answers, failures = [], []

    def load(kind):
        module = triton_http if kind == "http" else triton_grpc
        client = module.InferenceServerClient(server.http if kind == "http" else server.grpc)
        while not stop.is_set():
            try:
                value = module.InferInput("input", list(rows.shape), "FP32")
                value.set_data_from_numpy(rows)
                result = client.infer(slot, [value])
                got = result.get_response()
                version = got["model_version"] if kind == "http" else got.model_version
                answers.append((version, result.as_numpy("predict").tobytes()))
            except Exception as error:  # noqa: BLE001: every failure is one too many
                failures.append(repr(error))

    threads = [threading.Thread(target=load, args=(kind,)) for kind in ("http", "grpc", "http", "grpc")]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answers) > 50)
    aside = server.models / slot / ".incoming"
    shutil.copytree(ROOT / "examples/fraud-xgb-2", aside)
    aside.rename(server.models / slot / "2")
    wait_for(lambda: any(version == "2" for version, _ in list(answers)))
    count = len(answers)
    wait_for(lambda: len(answers) > count + 50)

    # A broken revision is refused, and 2 goes on serving.
    broken = server.models / slot / "3"
    broken.mkdir()
    (broken / "model.ubj").write_bytes(b"not a model")
    def index():
        return curl("-X", "POST", f"http://{server.http}/v2/repository/index")

    def state(version):
        return next((row for row in index() if (row["name"], row["version"]) == (slot, version)), {})
    wait_for(lambda: state("3").get("state") == "UNAVAILABLE")
    assert state("3")["reason"]
    assert server.metric(rf'hedgerow_refusals_total{{slot="{slot}"}}') >= 1
    count = len(answers)
    wait_for(lambda: len(answers) > count + 50)
    stop.set()
    for thread in threads:
        thread.join()

    assert not failures, failures[:3]
    by_version = {}
    for version, answer in answers:
        by_version.setdefault(version, set()).add(answer)
    assert set(by_version) == {"1", "2"}
    assert all(len(variants) == 1 for variants in by_version.values()), "answers of two revisions are mixed"
    assert by_version["1"] != by_version["2"]
    assert answers[-1][0] == "2"
    shutil.rmtree(broken)
    assert len(new["rows"]) > 0
    # Deleting the champion brings the previous one back.
    shutil.rmtree(server.models / slot / "2")
    wait_for(lambda: curl(f"http://{server.http}/v2/models/{slot}")["versions"] == ["1"])


def wait_for(condition, seconds=30):
    for _ in range(seconds * 50):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
