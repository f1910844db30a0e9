"""Runs the engines: all of a model's are loaded, then measured turn by turn in rounds.

The machine may be shared: in rounds, a slow spell hits all engines and not the one whose turn it
was, and processor time leaves out what others took.
"""

import dataclasses
import json
import os
import selectors
import statistics
import subprocess

import numpy as np

import build
import engines
import train
from paths import OUT, ROOT

ROWS = [1, 64, 1024, 10_000]
LOAD_SECONDS = 300
ANSWER_SECONDS = 120
# One thread for whatever would start more.
ENVIRONMENT = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclasses.dataclass
class Measured:
    engine: engines.Engine
    model: str
    skipped: str = ""
    variant: str = ""
    load_ms: float = 0.0
    compile_ms: float = 0.0
    memory_bytes: int = 0
    max_abs_diff: float = float("nan")
    # ns per row: {rows: [one list of blocks per round]}.
    rounds: dict = dataclasses.field(default_factory=dict)

    def median(self, rows):
        """The median over rounds of each round's median."""
        return statistics.median(statistics.median(blocks) for blocks in self.rounds[rows])

    def lowest(self, rows):
        return min(min(blocks) for blocks in self.rounds[rows])


class Failed(Exception):
    """An engine's process ended or did not answer; the text goes into the table."""


class Process:
    """A running engine that answers one line of JSON per command."""

    def __init__(self, command, name):
        self.log = (OUT / "logs" / f"{name}.log").open("w+")
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        self.about = self.answer(LOAD_SECONDS)

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        return self.answer(ANSWER_SECONDS)

    def answer(self, seconds):
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(seconds):
                self.close()
                raise Failed(f"no answer within {seconds} s")
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.last_words())
        return json.loads(line)

    def last_words(self):
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else f"ended with code {self.process.returncode}"

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def measure(model, chosen, rounds, milliseconds):
    """All `chosen` engines on one model; `milliseconds` for each engine, row count and round."""
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    results, running = [], []
    for engine in chosen:
        measured = Measured(engine, model)
        results.append(measured)
        try:
            running.append((measured, load(measured)))
        except (Failed, build.CannotBuild) as error:
            skip(measured, error)
        except Exception as error:  # A converter may fail in any way; the others go on.
            skip(measured, f"{type(error).__name__}: {error}")
    for turn in range(rounds):
        for rows in ROWS:
            for measured, process in running:
                take_turn(measured, process, rows, milliseconds)
        print(f"  {model}: round {turn + 1} of {rounds}", flush=True)
    for _, process in running:
        process.close()
    return results


def load(measured):
    engine, model = measured.engine, measured.model
    print(f"  {model}: {engine.name}", flush=True)
    start = engine.start(model)
    name = f"{engine.name}-{model}".replace(" ", "-").replace(",", "")
    process = Process(start.command, name)
    try:
        measured.compile_ms = start.compile_ms
        measured.load_ms = process.about["load_ms"] + start.compile_ms
        measured.memory_bytes = process.about["memory_bytes"]
        said = [start.variant, process.about.get("variant", "")]
        measured.variant = ", ".join(part for part in said if part)
        answers = OUT / "logs" / f"{name}.f64"
        process.ask(f"write {answers} {train.CHECKED}")
        measured.max_abs_diff = difference(answers, engines.truth(engine, model))
    except Failed:
        process.close()
        raise
    if measured.max_abs_diff > engine.tolerance:
        print(f"  {model}: {engine.name} DIFFERS by {measured.max_abs_diff:.3g}", flush=True)
    return process


def difference(answers, expected):
    """The largest absolute difference; NaN where anything is NaN or missing."""
    got, wanted = np.fromfile(answers), np.fromfile(expected)
    return float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("nan")


def take_turn(measured, process, rows, milliseconds):
    if measured.skipped:
        return
    try:
        blocks = process.ask(f"time {rows} {milliseconds}")
        measured.rounds.setdefault(rows, []).append(blocks)
    except Failed as error:
        skip(measured, error)


def skip(measured, reason):
    text = " ".join(str(reason).replace(f"{ROOT}/", "").split())
    measured.skipped = text[:200] or "failed without a word"
    print(f"  {measured.model}: {measured.engine.name} skipped: {measured.skipped}", flush=True)
