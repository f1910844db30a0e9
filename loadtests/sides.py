"""Servers that differ in one thing each, measured in turns under the same load.

All sides of a case are started, then take turns window by window, so that a slow spell of the
machine hits all of them; whoever's turn it is not is stopped. Every answer of the load is compared
with the library's prediction, byte by byte, and so are 64 other rows after each window.
"""

import contextlib
import dataclasses
import os
import pathlib
import threading
import time
from collections.abc import Callable

import numpy as np

import bodies
import cluster
import disturbances
import plan
import judged
import process
import rounds
import servers
import train
import windows
from places import OUT

SLOT = plan.MAIN
FORM = "open-inference"
CONNECTIONS = 32
SHARE = 0.6
WARMUP = 0.5
CHECKED_ROWS = 64
CHALLENGER = 2
# In the middle of a window: from this part of it on, for that part of it.
CUT_FROM, CUT_FOR = 0.25, 0.5
# The journal has caught up when nothing waits longer than this many seconds; it gathers for 0.05.
CAUGHT_UP_S = 0.5
CATCH_UP_LIMIT_S = 60
LOOK_S = 0.2
COUNTERS = {
    **{it: ("hedgerow_record_rows_total", {"outcome": it}) for it in ("recorded", "skipped")},
    "record_dropped": ("hedgerow_record_rows_total", {"outcome": "dropped"}),
    **{
        it: ("hedgerow_shadow_rows_total", {"outcome": it, "revision": str(CHALLENGER)})
        for it in ("scored", "misfit", "invalid", "error")
    },
    "shadow_dropped": ("hedgerow_shadow_dropped_rows_total", {}),
    "written": ("hedgerow_journal_rows_total", {"outcome": "written"}),
    "dropped": ("hedgerow_journal_rows_total", {"outcome": "dropped"}),
}


@dataclasses.dataclass(frozen=True)
class Side:
    """One server of a case."""

    name: str
    title: str
    environment: dict = dataclasses.field(default_factory=dict)
    # Makes the file of a revision that arrives once the champion answers.
    challenger: Callable | None = None
    # The journal is in a PostgreSQL cluster of its own.
    has_cluster: bool = False
    # Methods of the cluster: what happens to it in the middle of each window, and what mends it.
    cut: tuple[str, str] | None = None
    # Counters that must have counted: without them the side was not what its title says.
    must_count: tuple[str, ...] = ()

    @property
    def has_loop(self):
        return bool(self.environment)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    # The others are compared with the first, whose capacity also gives the rate of the open loop.
    sides: list
    # What the table has of COUNTERS.
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Load:
    """What all sides get in a loop; the rate of an open one in requests per second."""

    protocol: str
    # The file of what every answer has to hold.
    expected: pathlib.Path
    rate: float | None = None


@dataclasses.dataclass
class Measured:
    """A side in one kind of loop."""

    case: Case
    side: Side
    loop: str
    rate: float | None
    protocol: str = servers.REST
    figures: list = dataclasses.field(default_factory=list)
    counts: dict = dataclasses.field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    # The oldest row that waited to be written: before a cut was mended, else at a window's end.
    lag_s: float = 0.0
    # From the end of a cut, or of the window, until the journal had caught up.
    caught_up_s: float = 0.0
    problems: list = dataclasses.field(default_factory=list)

    def median(self, name):
        return rounds.median([figures[name] for figures in self.figures])

    def factor(self, first, name):
        """The median over turns of a figure against the first side's of the same turn; None if that
        is nowhere known."""
        pairs = [
            (own[name], others[name])
            for own, others in zip(self.figures, first.figures, strict=True)
        ]
        factors = [own / other for own, other in pairs if own is not None and other]
        return rounds.median(factors) if factors else None

    def failed(self):
        """Requests without a good answer."""
        return sum(judged.lost(figures, bool(self.rate)) for figures in self.figures)


class Standing:
    """A side that runs."""

    def __init__(self, tails, case, side):
        self.side = side
        self.site = None
        self.cluster = cluster.Cluster() if side.has_cluster else None
        environment = {"HEDGEROW__MODELS__SETTLE_MS": "0", **side.environment}
        if self.cluster:
            environment["HEDGEROW__JOURNAL__STORE"] = self.cluster.address()
        try:
            models = {SLOT: train.model_file(SLOT)}
            self.site = tails.site(f"tails-{case.name}-{side.name}", models, environment)
            if side.challenger:
                self.site.add(SLOT, CHALLENGER, side.challenger())
                self.site.process.until(self.has_challenger)
        except BaseException:
            self.close()
            raise

    def has_challenger(self):
        labels = {"slot": SLOT, "revision": str(CHALLENGER), "role": "challenger"}
        return self.site.metric("hedgerow_slot_info", **labels) is not None

    def pause(self):
        self.site.process.pause()
        if self.cluster:
            self.cluster.pause()

    def resume(self):
        if self.cluster:
            self.cluster.resume()
        self.site.process.resume()

    def close(self):
        """The server goes first: it still writes what waits."""
        if self.cluster:
            self.cluster.resume()
        if self.site:
            self.site.process.close()
        if self.cluster:
            self.cluster.close()

    def counts(self):
        text = disturbances.get(self.site.admin, "/metrics").decode()
        read = {it: disturbances.total(text, name, **has) for it, (name, has) in COUNTERS.items()}
        return {name: int(value or 0) for name, value in read.items()}

    def lag_s(self):
        return self.site.metric("hedgerow_journal_lag_seconds") or 0.0

    def catch_up(self):
        """Waits until the journal is there and nothing waits long; the seconds, or None."""
        start = time.monotonic()
        while self.side.has_loop and not self.is_caught_up():
            if time.monotonic() - start > CATCH_UP_LIMIT_S:
                return None
            time.sleep(LOOK_S)
        return time.monotonic() - start

    def is_caught_up(self):
        text = disturbances.get(self.site.admin, "/metrics").decode()
        is_there = disturbances.total(text, "hedgerow_journal_connected") == 1
        return is_there and disturbances.total(text, "hedgerow_journal_lag_seconds") < CAUGHT_UP_S


def measure(tails, case, protocols=(servers.REST,)):
    """`[Measured]`: of each protocol all sides in a closed loop, then in an open one at one rate for
    all."""
    print(f"  {case.name}: {case.title}", flush=True)
    standings = []
    with contextlib.ExitStack() as stack:
        for side in case.sides:
            if side.has_cluster and not cluster.programs():
                print(f"    {side.name} is left out: PostgreSQL is not installed", flush=True)
                continue
            standings.append(Standing(tails, case, side))
            stack.callback(standings[-1].close)
            standings[-1].pause()
        measured = []
        for protocol in protocols:
            measured += loops(tails, case, standings, protocol)
    return measured


def loops(tails, case, standings, protocol):
    expected = expect(tails, standings[0], protocol)
    closed = turns(tails, case, standings, Load(protocol, expected))
    rate = closed[0].median("rps") * SHARE
    opened = turns(tails, case, standings, Load(protocol, expected, rate))
    for first, second in zip(closed, opened, strict=True):
        missing = [it for it in first.side.must_count if not first.counts[it] + second.counts[it]]
        second.problems += [f"{it}: none" for it in missing]
    for one in [*closed, *opened]:
        report(one, (closed if one.rate is None else opened)[0])
    return [*closed, *opened]


def report(one, base):
    """A line on the terminal, and what went wrong."""
    factor = one.factor(base, "p99_us") or 0.0
    said = f"{one.loop}, {one.side.name}: P99 {one.median('p99_us'):,.0f} us ({factor:.2f})"
    print(f"    {said}, {one.failed()} failed", flush=True)
    for problem in one.problems:
        print(f"    {one.side.name}: {problem}", flush=True)


def expect(tails, standing, protocol):
    """The file of what every answer has to hold, once it is what the library predicts."""
    standing.resume()
    target = tails.target(standing.site, protocol=protocol)
    answer = windows.first_answer(tails.load, target, OUT / "work")
    standing.pause()
    truth = np.fromfile(train.folder(SLOT) / "truth.f64")[:1]
    form = servers.OPEN_INFERENCE[protocol]
    if not np.array_equal(bodies.predictions(answer, form), truth):
        raise rounds.Differs("the first answer differs from the library's prediction")
    path = OUT / "work" / "outputs"
    path.write_bytes(answer[bodies.outputs_at(answer, form) :])
    return path


def turns(tails, case, standings, load):
    loop = "closed" if load.rate is None else "open"
    measured = [
        Measured(case, standing.side, loop, load.rate, load.protocol) for standing in standings
    ]
    for turn in range(tails.pairs):
        for one, standing in zip(measured, standings, strict=True):
            standing.resume()
            run(tails, one, standing, load, turn)
            standing.pause()
    return measured


def run(tails, one, standing, load, turn):
    """One window of a side, and what its counters counted in it."""
    before = standing.counts()
    target = tails.target(standing.site, protocol=load.protocol)
    target = dataclasses.replace(target, expected=load.expected)
    window = dataclasses.replace(tails.window, seed=turn + 1)
    with cut(one, standing, window) if one.side.cut else contextlib.nullcontext():
        figures = windows.measure(
            tails.load, target, standing.site.process, CONNECTIONS, window, load.rate
        )
    one.figures.append(figures)
    one.lag_s = max(one.lag_s, standing.lag_s())
    check(tails, one, standing)
    waited_s = standing.catch_up()
    if waited_s is None:
        one.problems.append(f"the journal had not caught up after {CATCH_UP_LIMIT_S} s")
    elif not one.side.cut:
        one.caught_up_s = max(one.caught_up_s, waited_s)
    for name, value in standing.counts().items():
        one.counts[name] += value - before[name]
    if one.side.challenger and not standing.has_challenger():
        one.problems.append("the challenger has left")


def check(tails, one, standing):
    """Compares other rows than the load's with the library's predictions."""
    target = tails.target(standing.site, rows=CHECKED_ROWS)
    truth = np.fromfile(train.folder(SLOT) / "truth.f64")[:CHECKED_ROWS]
    answer = process.post(standing.site.http, target.path, target.body.read_bytes())
    if answer is None or answer[0] != 200:
        one.problems.append(f"{CHECKED_ROWS} rows: {answer[0] if answer else 'no answer'}")
    elif not np.array_equal(bodies.predictions(answer[2], FORM), truth):
        one.problems.append(f"{CHECKED_ROWS} rows: other predictions than the library's")


@contextlib.contextmanager
def cut(one, standing, window):
    """Cuts the cluster off in the middle of the window, in a thread; waits until all is well."""
    thread = threading.Thread(target=cut_and_mend, args=(one, standing, window))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def cut_and_mend(one, standing, window):
    # The generator shares the core, and its arrivals must not wait for this thread.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    off, on = (getattr(standing.cluster, name) for name in one.side.cut)
    time.sleep(window.warmup + window.seconds * CUT_FROM)
    try:
        off()
        time.sleep(window.seconds * CUT_FOR)
        one.lag_s = max(one.lag_s, standing.lag_s())
        on()
        waited_s = standing.catch_up()
        one.caught_up_s = max(one.caught_up_s, waited_s or CATCH_UP_LIMIT_S)
    except (OSError, process.Failed) as error:
        one.problems.append(f"cutting the journal off: {error}")
