"""One server on free ports, from the binary that was just built, with a copy of the sample models."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, models, log, config=None):
        self.models = models
        self.http, self.grpc, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
        binary = os.environ.get("HEDGEROW_BINARY", ROOT / "target/debug/hedgerow")
        environment = {
            **os.environ,
            "HEDGEROW__MODELS__POLL_INTERVAL_MS": "50",
            "HEDGEROW__MODELS__SETTLE_MS": "200",
            "HEDGEROW__SERVER__MODEL_CONTROL": "all",
            "HEDGEROW__MODELS__NATIVE_DIR": str(ROOT / "native"),
        }
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            [
                binary, "serve", models, "--http", self.http, "--grpc", self.grpc, "--admin", self.admin,
                *(["--config", config] if config else []),
            ],
            stdout=self.log, stderr=self.log, env=environment,
        )
        self.wait_ready()

    def get(self, path, admin=False):
        host = self.admin if admin else self.http
        try:
            with urllib.request.urlopen(f"http://{host}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait_ready(self):
        for _ in range(600):
            assert self.process.poll() is None, "the server ended; see its log"
            try:
                if self.get("/v2/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("the server did not become ready within 30 s")

    def metric(self, line):
        text = self.get("/metrics", admin=True)[1].decode()
        found = re.search(rf"^{line} (\S+)$", text, re.M)
        return float(found.group(1)) if found else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self.log.close()
        return status


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    server = Server(folder / "models", folder / "log")
    yield server
    assert server.stop() == 0, "SIGTERM must end in a clean exit"
