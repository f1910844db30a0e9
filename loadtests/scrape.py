"""A real Prometheus that scrapes servers on this machine, and answers queries. Standard library only."""

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10


class ScrapeError(Exception):
    """Prometheus did not start, or does not take a query."""


class Prometheus:
    """The process in a folder of its own. `targets` are the admin addresses of servers, by job; all
    their series get `labels`. `more` are jobs as its configuration has them."""

    def __init__(self, folder, targets, interval="1s", rules=None, labels=None, more=()):
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": addresses, "labels": labels or {}}]}
            for job, addresses in targets.items()
        ]
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [*jobs, *more],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )
        self.wait_ready()

    def wait_ready(self):
        limit = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        words = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        raise ScrapeError(f"Prometheus did not become ready:\n{words}")

    def get(self, path, **parameters):
        """The `data` of an answer of its HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ScrapeError(f"{parameters}: {error.read().decode()}") from error

    def scraped(self, selector, seconds, at):
        """When a series was scraped in the time up to a moment: that is what rate() knows of it."""
        found = self.get("query", query=f"{selector}[{seconds}s]", time=at)["result"]
        return [float(moment) for series in found for moment, _ in series["values"]]

    def query(self, expression, at=None):
        """Series at a moment (now, if none is given): pairs of labels and value."""
        moment = {"time": at} if at else {}
        result = self.get("query", query=expression, **moment)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expression, at=None):
        """The one value of an expression, None where it has none; NaN is NaN."""
        found = self.query(expression, at)
        if len(found) > 1:
            raise ScrapeError(f"{expression} has {len(found)} values")
        return found[0][1] if found else None

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def shown(value, digits=2):
    """A value as a table has it: no series, NaN, or the number."""
    if value is None:
        return "none"
    return "NaN" if math.isnan(value) else f"{value:.{digits}f}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
