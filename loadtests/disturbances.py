"""What disturbs Hedgerow while it is measured: each step is a function of a running site."""

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import threading

import numpy as np

import beside
import bodies
import process
from places import OUT

BIG_ROWS = 10_000
BINARY = {"content-type": "application/octet-stream"}


class Site:
    """A running Hedgerow with its folder of models."""

    def __init__(self, binary, name, models, environment):
        # Of steps that need another number each time, such as revisions do.
        self.numbers = itertools.count(2)
        self.folder = OUT / "work" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.models = self.folder / "models"
        for slot, file in models.items():
            self.add(slot, 1, file)
        self.http, self.grpc, self.admin = (process.free_port() for _ in range(3))
        words = [
            *(binary, "serve", self.models, "--http", f"127.0.0.1:{self.http}"),
            *("--grpc", f"127.0.0.1:{self.grpc}", "--admin", f"127.0.0.1:{self.admin}"),
        ]
        environment = {"HEDGEROW__TELEMETRY__LOG_LEVEL": "warn", **environment}
        self.process = process.Process(words, name, environment, self.folder)

    def add(self, slot, revision, file):
        """Writes a revision aside and renames it, as the README says."""
        aside = self.models / slot / f".{revision}"
        aside.mkdir(parents=True)
        kind = {".json": "model.json", ".txt": "model.txt"}[file.suffix]
        shutil.copy(file, aside / kind)
        aside.rename(self.models / slot / str(revision))

    def swaps(self, slot):
        """How often the champion of a slot has changed."""
        return int(self.metric("hedgerow_swaps_total", slot=slot) or 0)

    def champion(self, slot):
        """The revision that answers; 0 where none does."""
        text = get(self.admin, "/metrics").decode()
        series = re.findall(r"^hedgerow_slot_info{(.*)} 1(?:\.0)?$", text, re.MULTILINE)
        wanted = {f'slot="{slot}"', 'role="champion"'}
        found = (it for it in series if wanted <= set(it.split(",")))
        return max((int(re.search(r'revision="(\d+)"', it)[1]) for it in found), default=0)

    def metric(self, name, **labels):
        """The sum of a metric's series that have these labels; None when there is none."""
        return total(get(self.admin, "/metrics").decode(), name, **labels)


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def total(text, name, **labels):
    """As `Site.metric`, in the text of /metrics."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    series = re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
    values = [float(value) for has, value in series if all(it in has.split(",") for it in wanted)]
    return sum(values) if values else None


class Disturbance:
    """Runs `step(site)` in a thread every so many seconds (0: without a pause)."""

    def __init__(self, step, every_s):
        self.step = step
        self.every_s = every_s
        self.done = 0
        self.failures = []

    def around(self, site):
        return beside.every(self.every_s, lambda: self.disturb(site), give_way)

    def disturb(self, site):
        """Whether to go on."""
        try:
            self.step(site)
            self.done += 1
        except (OSError, http.client.HTTPException, Refused) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        return len(self.failures) <= 10


def give_way():
    """The generator shares the core, and its arrivals must not wait for this thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


class Refused(Exception):
    """The server's answer to what disturbs it was an error."""


def ask(port, path, body, headers=None):
    answer = process.post(port, path, body, headers)
    if answer is None or answer[0] != 200:
        raise Refused(f"{path}: {answer[:1] + answer[2:] if answer else 'no answer'}")
    return answer[2]


def swap(slot, file):
    """Adds the next revision, which becomes the champion, and removes those before the champion that
    are not its predecessor: a busy core may take longer than a step to load one."""

    def step(site):
        site.add(slot, next(site.numbers), file)
        champion = site.champion(slot)
        for folder in (site.models / slot).glob("[0-9]*"):
            if int(folder.name) < champion - 1:
                shutil.rmtree(folder, ignore_errors=True)

    return step


def load_and_unload(slot):
    def step(site):
        ask(site.admin, f"/v2/repository/models/{slot}/unload", b"{}")
        ask(site.admin, f"/v2/repository/models/{slot}/load", b"{}")

    return step


def scrape(site):
    get(site.admin, "/metrics")


def big_request(slot, features, binary=False):
    """BIG_ROWS rows in one request, as JSON or as a binary tensor."""
    rows = np.random.default_rng(1).normal(size=(BIG_ROWS, features)).astype(np.float32)
    if binary:
        body, headers = binary_body(rows)
    else:
        body, headers = bodies.open_inference(slot, rows), None

    def step(site):
        ask(site.http, f"/v2/models/{slot}/infer", body, headers)

    return step


def binary_body(rows):
    data = rows.astype("<f4").tobytes()
    tensor = {"name": bodies.INPUT, "datatype": "FP32", "shape": list(rows.shape)}
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + data, {**BINARY, "inference-header-content-length": str(len(head))}


def churn(slot, rows, rows_each):
    """Requests of `rows_each` rows, others each time, until all `rows` had their turn."""
    parts = [rows[at : at + rows_each] for at in range(0, len(rows) - rows_each, rows_each)]
    prepared = [bodies.open_inference(slot, part) for part in parts]

    def step(site):
        body = prepared[next(site.numbers) % len(prepared)]
        ask(site.http, f"/v2/models/{slot}/infer", body)

    return step
