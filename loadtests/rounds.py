"""Starts the servers of a model, checks their answers, and measures them in rounds.

All are started one after the other, then take turns scenario by scenario, so that a slow spell of
the machine hits all of them. Whoever's turn it is not is stopped, so that it cannot disturb.
"""

import dataclasses
import shutil
import statistics

import numpy as np

import bodies
import plan
import process
import servers
import train
import windows
from places import OUT, ROOT

FIGURES = [
    *("rps", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us"),
    *("cpu_us_per_request", "rss_mb"),
]
SUMS = ["requests", "errors", "refused", "dropped"]
TOLERANCE = 1e-6


# Of one server: the others go on.
FAILURES = (
    process.Failed,
    servers.CannotStart,
    windows.GeneratorFailed,
    bodies.Unreadable,
)


class Differs(Exception):
    """A server's answers are not the library's."""


@dataclasses.dataclass
class Standing:
    """A server that serves one model, and what was found of it."""

    server: servers.Server
    model: str
    skipped: str = ""
    start_ms: float = 0.0
    # The largest absolute difference from the library, by protocol and rows.
    differences: dict = dataclasses.field(default_factory=dict)
    # `{scenario: [figures, one per round]}`.
    windows: dict = dataclasses.field(default_factory=dict)
    # By rows; a product and a peer have one process for all.
    processes: dict = dataclasses.field(default_factory=dict)
    targets: dict = dataclasses.field(default_factory=dict)

    def skip(self, reason):
        text = " ".join(str(reason).replace(f"{ROOT}/", "").split())
        self.skipped = text[:200] or "failed without a word"
        print(f"  {self.model}: {self.server.name} skipped: {self.skipped}", flush=True)
        self.close()

    def close(self):
        for running in self.processes.values():
            running.close()
        self.processes = {}

    def medians(self, scenario):
        """Figures of a scenario: medians over its rounds, errors added up."""
        rounds = self.windows[scenario]
        found = {name: median([one[name] for one in rounds]) for name in FIGURES}
        return found | {name: sum(one[name] for one in rounds) for name in SUMS}


class Bench:
    """The programs, the rows and the length of windows of one run."""

    def __init__(self, load, window):
        self.load = load
        self.window = window
        rows = np.fromfile(train.OUT / "rows.f32", dtype=np.float32)
        self.rows = rows.reshape(-1, 30)

    def start(self, standing):
        """Starts a server and checks its answers; then it waits, stopped, for its turn."""
        server, model = standing.server, standing.model
        if not server.installed:
            standing.skip("not installed")
            return
        print(f"  {model}: {server.name}", flush=True)
        try:
            counts = plan.ROWS if server.kind == servers.LIMIT else plan.ROWS[:1]
            for rows in counts:
                self.start_one(standing, rows)
            self.check(standing)
            for running in standing.processes.values():
                running.pause()
        except (*FAILURES, Differs) as error:
            standing.skip(error)

    def start_one(self, standing, rows):
        server, model = standing.server, standing.model
        name = f"{server.name}-{model}-{rows}"
        folder = OUT / "work" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        place = servers.Place(model, rows, process.free_port(), process.free_port(), folder)
        command = server.start(place)
        running = process.Process(command.words, name, command.environment, folder)
        standing.processes[rows] = running
        # All rows go to the one process, unless there is one for each.
        for count in [rows] if server.kind == servers.LIMIT else plan.ROWS:
            for protocol in server.forms:
                standing.targets[protocol, count] = self.target(server, place, protocol, count)
        protocol = next(iter(server.forms))
        target = standing.targets[protocol, rows]
        standing.start_ms = running.until(lambda: answers(target, server.forms[protocol]))

    def target(self, server, place, protocol, count):
        file = bodies.file(server.forms[protocol], place.model, self.rows[:count])
        if protocol == servers.REST:
            path = server.path.format(model=place.model)
            return windows.Target(protocol, f"127.0.0.1:{place.http}", path, file)
        return windows.Target(protocol, f"127.0.0.1:{place.grpc}", bodies.GRPC_PATH, file)

    def check(self, standing):
        """Compares the first answers with the original library's predictions of the same rows."""
        server, model = standing.server, standing.model
        if server.kind == servers.LIMIT:
            return
        truth = np.fromfile(train.folder(model) / "truth.f64")
        for (protocol, count), target in standing.targets.items():
            answer = windows.first_answer(self.load, target, OUT / "work")
            found = bodies.predictions(answer, server.forms[protocol])
            if found.shape != (count,):
                raise Differs(f"{protocol}: {len(found)} predictions of {count} rows")
            difference = float(np.abs(found - truth[:count]).max())
            standing.differences[protocol, count] = difference
            if not difference <= (0 if server.kind == servers.PRODUCT else TOLERANCE):
                raise Differs(f"{protocol}: differs by {difference:.3g} from the library")

    def measure(self, standing, scenario, turn):
        """One window, unless the server has failed before."""
        if standing.skipped:
            return
        rows = scenario.rows if scenario.rows in standing.processes else plan.ROWS[0]
        running = standing.processes[rows]
        target = standing.targets[scenario.protocol, scenario.rows]
        window = dataclasses.replace(self.window, seed=turn + 1)
        running.resume()
        try:
            figures = windows.measure(
                self.load, target, running, scenario.connections, window, scenario.rate
            )
            standing.windows.setdefault(scenario, []).append(figures)
        except windows.GeneratorFailed as error:
            standing.skip(error)
            return
        finally:
            if not standing.skipped:
                running.pause()


def median(values):
    """Of those that are there; 0 where nothing was answered, so that there is no latency."""
    return statistics.median([value for value in values if value is not None] or [0])


def answers(target, form):
    """Whether a server gives a good answer by now; asked from the driver, not by the generator."""
    port, body = int(target.address.rpartition(":")[2]), target.body.read_bytes()
    if target.protocol == servers.REST:
        response = process.post(port, target.path, body)
        if response is None or response[0] != 200:
            return False
        answer = response[2]
    else:
        answer = process.call(port, body)
    try:
        return answer is not None and len(bodies.predictions(answer, form)) > 0
    except bodies.Unreadable:
        return False
