"""One measured window: the load generator beside a server, and what the server took meanwhile."""

import dataclasses
import json
import pathlib
import subprocess
import time

import bodies
import process
import servers

GENERATOR_SECONDS_MORE = 30


class GeneratorFailed(Exception):
    """The generator ended badly; the text is its last line."""


@dataclasses.dataclass(frozen=True)
class Window:
    """How long to measure, and how long before that to warm up."""

    seconds: float
    warmup: float
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a server answers one protocol's requests of one body."""

    protocol: str
    address: str
    path: str
    body: pathlib.Path
    # What every good answer has to hold; see `--expect` of the generator.
    expected: pathlib.Path | None = None

    def words(self):
        return [
            *(("--expect", self.expected) if self.expected else ()),
            *("--protocol", "http" if self.protocol == servers.REST else "grpc"),
            *("--address", self.address, "--path", self.path, "--body", self.body),
            *(("--header", "content-type: application/json") * (self.protocol == servers.REST)),
        ]


def generator(load, target, *more):
    """The command of a generator on its core. It never sleeps: being woken would be on the bill of
    the server that wakes it, and in the latency of a lone request."""
    core = str(process.LOAD_CORE)
    words = ["taskset", "-c", core, load, *target.words(), "--core", core, "--spin", *more]
    return [str(word) for word in words]


def measure(load, target, running, connections, window, rate=None):
    """Runs one window; the generator's figures with `cpu_us_per_request` and `rss_mb`."""
    more = ["--connections", connections, "--warmup", window.warmup, "--seed", window.seed]
    if rate is None:
        more += ["--seconds", window.seconds]
    else:
        more += ["--rate", f"{rate:.3f}:{window.seconds}"]
    tree = running.tree()
    with subprocess.Popen(
        generator(load, target, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        time.sleep(window.warmup)
        before, start = process.cpu_seconds(tree), time.monotonic()
        time.sleep(window.seconds)
        taken = process.cpu_seconds(tree) - before
        elapsed = time.monotonic() - start
        try:
            out, err = child.communicate(timeout=GENERATOR_SECONDS_MORE)
        except subprocess.TimeoutExpired:
            child.kill()
            raise GeneratorFailed("the generator did not end") from None
    figures = read(child.returncode, out, err)
    answered = figures["rps"] * elapsed
    figures["cpu_us_per_request"] = taken * 1e6 / answered if answered else None
    figures["rss_mb"] = process.memory_mb(tree)
    return figures


def first_answer(load, target, folder):
    """The body of the first answer to one request."""
    path = folder / "answer"
    path.unlink(missing_ok=True)
    words = generator(load, target, "--connections", 1, "--requests", 1, "--answer", path)
    done = subprocess.run(words, capture_output=True, text=True, timeout=GENERATOR_SECONDS_MORE)
    figures = read(done.returncode, done.stdout, done.stderr)
    if figures["ok"] != 1 or not path.exists():
        raise bodies.Unreadable(f"no good answer: {figures['statuses']}")
    return path.read_bytes()


def read(code, out, err):
    if code != 0:
        lines = err.strip().splitlines()
        raise GeneratorFailed(lines[-1] if lines else f"the generator ended with code {code}")
    return json.loads(out)
