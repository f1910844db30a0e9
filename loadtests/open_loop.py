"""A small open-loop client over HTTP: requests at random moments, latencies recorded. Standard library.

For requests that take milliseconds; the generator in generator/ is for those that take microseconds.
"""

import http.client
import json
import queue
import random
import struct
import threading
import time

PING_EVERY_S = 0.1


class Client:
    """Sends one prepared request to a slot at a rate, until it is stopped."""

    def __init__(self, port, slot, features, rows, threads=64, seed=1):
        self.port = port
        self.path = f"/v2/models/{slot}/infer"
        self.body, self.headers = binary_request(features, rows)
        self.threads = threads
        self.random = random.Random(seed)
        self.due = queue.Queue()
        self.rate = 0.0
        self.dispatched = 0
        self.stopping = threading.Event()
        self.answers = []
        """(end by the wall clock, seconds from sending to the answer, status) of each request."""
        self.pings = []
        """(end, seconds) of requests with the same body that are refused as soon as they are read: all of
        it is network and scheduling."""
        self.workers = []

    def start(self):
        jobs = [self.dispatch, self.ping] + [self.send] * self.threads
        self.workers = [threading.Thread(target=job, daemon=True) for job in jobs]
        for worker in self.workers:
            worker.start()

    def stop(self):
        """Stops what was started; once more does nothing."""
        self.stopping.set()
        for worker in self.workers:
            self.due.put(None)
        for worker in self.workers:
            worker.join()
        self.workers = []

    def set_rate(self, rate):
        """Requests a second from now on."""
        self.rate = rate

    def drain(self):
        """Sends nothing more, and waits for what is underway."""
        self.set_rate(0.0)
        time.sleep(0.1)
        while self.dispatched > len(self.answers):
            time.sleep(0.05)

    def dispatch(self):
        """Hands on a request at each arrival of a Poisson process, whoever is free to send it."""
        moment, rate = time.monotonic(), 0.0
        while not self.stopping.is_set():
            if rate != self.rate or rate <= 0:
                moment, rate = time.monotonic(), self.rate
            if rate <= 0:
                self.stopping.wait(0.05)
                continue
            moment += self.random.expovariate(rate)
            self.stopping.wait(max(0.0, moment - time.monotonic()))
            self.dispatched += 1
            self.due.put(moment)

    def send(self):
        connection = self.connect()
        while self.due.get() is not None:
            self.answers.append(self.exchange(connection, "POST", self.path, self.body, self.headers))
        connection.close()

    def ping(self):
        connection = self.connect()
        while not self.stopping.wait(PING_EVERY_S):
            path = "/v2/models/nobody/infer"
            end, seconds, status = self.exchange(connection, "POST", path, self.body, self.headers)
            if status == 404:
                self.pings.append((end, seconds))
        connection.close()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        return connection

    def exchange(self, connection, method, path, body, headers):
        """(end, seconds, status); 0 is no answer. A connection that the server closed while it was idle
        is opened again, once."""
        for _ in range(2):
            begun = time.perf_counter()
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                response.read()
                return time.time(), time.perf_counter() - begun, response.status
            except (OSError, http.client.HTTPException):
                connection.close()
        return time.time(), time.perf_counter() - begun, 0

    def capacity(self, seconds=3.0, connections=4):
        """Answers a second when each of a few connections has one request underway all the time."""
        end = time.monotonic() + seconds
        counts = []

        def run():
            connection, count = self.connect(), 0
            while time.monotonic() < end:
                count += self.exchange(connection, "POST", self.path, self.body, self.headers)[2] == 200
            counts.append(count)
            connection.close()

        threads = [threading.Thread(target=run) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / seconds

    def between(self, start, end):
        """Latencies of good answers that ended in that time, refused requests, and the longest ping."""
        answers = [it for it in list(self.answers) if start < it[0] <= end]
        pings = [seconds for at, seconds in list(self.pings) if start < at <= end]
        good = [seconds for _, seconds, status in answers if status == 200]
        return good, len(answers) - len(good), max(pings, default=None)


def quantile(values, q):
    """The value that the share q of them does not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def binary_request(features, rows):
    """Body and headers of a request of random rows, with the numbers as bytes: cheap to decode."""
    numbers = random.Random(7)
    size = 4 * features * rows
    tensor = {
        "name": "input",
        "datatype": "FP32",
        "shape": [rows, features],
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "predict"}]}).encode()
    values = [numbers.uniform(0, 100) for _ in range(features * rows)]
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return head + struct.pack(f"<{len(values)}f", *values), headers
