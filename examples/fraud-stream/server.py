"""Starts a hedgerow server in a temporary folder and talks to it as its callers would.

One connection, kept alive; one payment a request, with its id as the key that labels come back
under. It knows addresses and shapes of requests, and nothing of the story. Standard library only.
"""

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections import Counter

START_SECONDS_MAX = 20.0
STATUS = re.compile(r'"status"\s*:\s*"([a-z]+)"')
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


class ServerError(Exception):
    """The server is away, or answers what the demo cannot go on with."""


class Server:
    """The process, its folder of models, and a connection to it."""

    def __init__(self, binary, folder, slot):
        self.binary = binary
        self.slot = slot
        self.models = folder / "models"
        self.config = folder / "hedgerow.toml"
        self.log = folder / "hedgerow.log"
        self.ports = dict(zip(("http", "grpc", "admin"), free_ports(3)))
        self.process = None
        self.connections = {}
        self.statuses = Counter()
        """Labels by what the server said of them."""

    def start(self, settings):
        """Writes the configuration, with the addresses in front, and waits until it is ready."""
        addresses = [f'{name} = "127.0.0.1:{port}"' for name, port in self.ports.items()]
        self.config.write_text("\n".join(["[server]", *addresses, "", settings]))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", self.models, "--config", self.config],
                stdout=log,
                stderr=log,
                cwd=self.config.parent,
            )
        limit = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                break
            try:
                if self.ask("http", "GET", "/v2/health/ready")[0] == 200:
                    return
            except ServerError:
                pass
            time.sleep(0.05)
        raise ServerError(f"the server did not become ready:\n{self.last_words()}")

    def stop(self):
        for connection in self.connections.values():
            connection.close()
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def add_revision(self, source):
        """Copies a revision beside the models and moves it in whole, so it is never seen half."""
        aside = self.models.parent / f"arriving-{source.name}"
        shutil.copytree(source, aside)
        target = self.models / self.slot / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(target)

    def withdraw_revision(self, name):
        """Moves a revision out of the models."""
        (self.models / self.slot / name).rename(self.models.parent / f"withdrawn-{name}")

    def predict(self, payment):
        """The probability of fraud."""
        body = {"instances": [payment.features], "parameters": {"key": payment.id}}
        path = f"/v1/models/{self.slot}:predict"
        status, answer = self.ask("http", "POST", path, json.dumps(body), JSON)
        if status != 200:
            raise ServerError(f"POST {path} answered {status}: {answer[:300]}")
        value = json.loads(answer)["predictions"][0]
        return value[0] if isinstance(value, list) else value

    def send_labels(self, labels):
        """labels: (payment id, value, source, RFC 3339 time) in one request."""
        lines = [
            json.dumps(
                {
                    "slot": self.slot,
                    "key": key,
                    "value": value,
                    "event_time": event_time,
                    "source": source,
                }
            )
            for key, value, source, event_time in labels
        ]
        body = "".join(f"{line}\n" for line in lines)
        status, answer = self.ask("http", "POST", "/v1/feedback", body, NDJSON)
        if status >= 300:
            raise ServerError(f"POST /v1/feedback answered {status}: {answer[:300]}")
        self.statuses.update(STATUS.findall(answer))

    def state(self):
        """Roles, stages and findings of the slot."""
        return self.look(f"/v1/slots/{self.slot}")

    def decisions(self):
        """Every decision so far, oldest first."""
        found = self.look(f"/v1/slots/{self.slot}/decisions")
        entries = [{**entry["record"], "seq": entry["seq"]} for entry in found["decisions"]]
        return sorted(entries, key=lambda entry: entry["seq"])

    def look(self, path):
        status, answer = self.ask("admin", "GET", path)
        for _ in range(100):
            # Before the controller's first look there is nothing to tell.
            if status != 503:
                break
            time.sleep(0.05)
            status, answer = self.ask("admin", "GET", path)
        if status != 200:
            raise ServerError(f"GET {path} answered {status}: {answer[:300]}")
        return json.loads(answer)

    def ask(self, port, method, path, body=None, headers=None):
        """(status, text). A connection that the server closed is opened again, once."""
        data = body.encode() if body is not None else None
        for last in (False, True):
            connection = self.connections.get(port)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=30)
                self.connections[port] = connection
            try:
                connection.request(method, path, data, headers or {})
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                del self.connections[port]
                if last:
                    raise ServerError(f"{method} {path}: {error}") from error
        raise ServerError(f"{method} {path}: no answer")


def free_ports(count):
    """Ports that nobody listens on, on this machine, just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
