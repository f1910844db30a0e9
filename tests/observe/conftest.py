"""A real server with a real past, and the real Prometheus that scraped it meanwhile."""

import json
import os
import socket
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow"))
RULES = ROOT / "helm/hedgerow/files/rules.yaml"
sys.path += [str(ROOT / name) for name in ("loadtests", "examples/fraud-stream", "examples/grafana")]

import stream
from scrape import Prometheus
from server import JSON, NDJSON, Server

MODELS = ROOT / "examples/fraud-stream/models/fraud"
WINDOW_S = 6
CONNECTIONS_MAX = 30
SETTINGS = """
connections_max = {connections}

[models]
poll_interval_ms = 100
settle_ms = 0

[telemetry]
window_s = 30
log_level = "warn"

[cache]
capacity_bytes = 1048576

[journal]
store = "{folder}/data"

[export]
dir = "{folder}/export"
wait = "1s"
rotate = "2s"

[slots.fraud.rollout]
on_arrival = "shadow"
gates = ["cost > 0", "auc > -0.01"]
label_horizon = "1h"
cost_false_positive = 25.0
cost_amount_feature = "amount"
cost_limit = 500.0
labels_min = 1000000
features_fraction = 1.0

[drift]
short_window = "{window}s"
long_window = "1m"
alarm_windows = 1
webhook_url = "{webhook}"
"""
NEW_MARKET = replace(
    stream.ACCOUNT_TAKEOVER, one_tap=0.6, customers_abroad=0.3, customers_amount=0.42
)


def start(folder, models=("1",), settings=SETTINGS, webhook="http://127.0.0.1:9/"):
    server = Server(BINARY, folder, "fraud")
    for name in models:
        server.add_revision(MODELS / name)
    server.start(
        settings.format(
            folder=folder, window=WINDOW_S, webhook=webhook, connections=CONNECTIONS_MAX
        )
    )
    return server


def admin(server):
    return f"127.0.0.1:{server.ports['admin']}"


def until(what, seconds=60):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"it did not happen within {seconds} s")


def refusing_webhook():
    """A target that refuses every alarm: its address, and what stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(400)
            self.end_headers()

        def log_message(self, *_):
            pass

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{listener.server_port}/alarm", listener.shutdown


def post(server, port, path, body, headers=JSON, good=(200,)):
    status, answer = server.ask(port, "POST", path, body, headers)
    assert status in good, f"POST {path} answered {status}: {answer[:300]}"
    return answer


def answer(server, payments):
    """Payments in one request, with their labels afterwards."""
    body = json.dumps({"instances": [payment.features for payment in payments]})
    found = json.loads(post(server, "http", "/v1/models/fraud:predict", body))
    first = found["prediction_id"]
    lines = [
        json.dumps({"prediction_id": f"{first}.{row}", "value": payment.fraud, "source": "test"})
        for row, payment in enumerate(payments)
    ]
    post(server, "http", "/v1/feedback", "\n".join(lines), NDJSON)


def over_grpc(server, payments):
    names = list(payments[0].features)
    rows = [[np.nan if p.features[n] is None else p.features[n] for n in names] for p in payments]
    values = np.array(rows, dtype=np.float32)
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['grpc']}") as client:
        tensor = triton.InferInput("input", list(values.shape), "FP32")
        tensor.set_data_from_numpy(values)
        client.infer("fraud", [tensor])


def make_errors(server):
    """Bad requests, one out of time, connections above the limit, and a revision that is no model."""
    post(server, "http", "/v1/models/fraud:predict", "{", good=(400,))
    post(server, "http", "/v1/models/unknown:predict", '{"instances": [[1]]}', good=(404,))
    late = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 14], "data": [0.0] * 14}]}
    late["parameters"] = {"timeout": 1}
    post(server, "http", "/v2/models/fraud/infer", json.dumps(late), good=(504,))
    sockets = [
        socket.create_connection(("127.0.0.1", server.ports["http"]))
        for _ in range(CONNECTIONS_MAX + 10)
    ]
    time.sleep(0.3)
    for each in sockets:
        each.close()
    broken = server.models / "broken/1"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "model.json").write_text("{")


def live(server, scraper):
    """A challenger in shadow, traffic over both protocols, labels, drift, its alarm, a rollback."""
    server.add_revision(MODELS / "2")
    until(lambda: server.state().get("challengers"))
    payments = stream.Stream(7, [(0, stream.ACCOUNT_TAKEOVER)])
    for _ in range(48):
        payments.hour()
    payments.change(NEW_MARKET)
    def play():
        for _ in range(3):
            hour = payments.hour()
            answer(server, hour)
            over_grpc(server, hour[:20])
        make_errors(server)
        called = scraper.value('hedgerow_drift_calls_total{target="webhook", outcome="failed"}')
        return called and scraper.value("hedgerow_drift_alarm")

    until(play)
    until(lambda: scraper.query("hedgerow_gate_estimate"))
    reason = json.dumps({"force": True, "actor": "test"})
    post(server, "admin", "/v1/slots/fraud/promote", reason)
    until(lambda: server.state()["champion"]["revision"] == 2)
    post(server, "admin", "/v1/slots/fraud/rollback", json.dumps({"actor": "test"}))
    until(lambda: server.state()["champion"]["revision"] == 1)


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """(server, Prometheus), after everything happened and was scraped."""
    folder = tmp_path_factory.mktemp("story")
    webhook, stop = refusing_webhook()
    server = start(folder, webhook=webhook)
    scraper = None
    try:
        scraper = Prometheus(folder / "prometheus", {"hedgerow": [admin(server)]}, rules=RULES)
        until(lambda: scraper.value("hedgerow_uptime_seconds"))
        live(server, scraper)
        # Of everything the last is a swap; then two more scrapes.
        until(lambda: scraper.value('hedgerow_swaps_total{slot="fraud"} offset 2s') == 3)
        yield server, scraper
    finally:
        if scraper:
            scraper.stop()
        server.stop()
        stop()
