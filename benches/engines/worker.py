"""Engines that only Python reaches, behind the protocol of harness.cpp. Arguments: engine, model.

The calls are the cheapest that the package offers; what Python adds to them is in the figures, and
the table says so in `via`.
"""

import gc
import importlib
import json
import os
import resource
import sys
import time

# Set before any library reads them.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import data
import train
from paths import OUT

BLOCKS = 5
WARM_ROWS = 1000


class CatBoostRows:
    """CatBoost's own evaluator; each call hands it an array, as a server would."""

    packages = ["catboost"]

    def __init__(self, model, rows):
        import catboost

        self.rows = rows
        self.classifier = catboost.CatBoostClassifier()
        self.classifier.load_model(str(train.folder(model) / "model.cbm"))

    def calls(self, count):
        predict = self.classifier.predict_proba
        return [
            lambda part=part: predict(part, thread_count=1)[:, 1]
            for part in parts(self.rows, count)
        ]


class CatBoostPool(CatBoostRows):
    """The same on pools made beforehand: only the evaluation is in the figure."""

    def calls(self, count):
        import catboost

        predict = self.classifier.predict_proba
        pools = [catboost.Pool(part) for part in parts(self.rows, count)]
        return [lambda pool=pool: predict(pool, thread_count=1)[:, 1] for pool in pools]


class Ydf:
    """ydf's fastest engine for the model, timed by its own C++ benchmark."""

    packages = ["ydf"]

    def __init__(self, model, rows):
        import ydf

        self.rows = rows
        self.model = ydf.load_model(str(OUT / "models" / f"ydf-{model}" / "model"))
        self.variant = self.model.list_compatible_engines()[0]

    def calls(self, count):
        return [
            lambda part=part: self.model.predict(columns(part), num_threads=1)
            for part in parts(self.rows, count)
        ]

    def time(self, count, milliseconds):
        rows = columns(self.rows[: train.CHECKED])
        wall, used = time.monotonic_ns(), time.process_time_ns()
        result = self.model.benchmark(
            rows,
            benchmark_duration=milliseconds / 1e3,
            warmup_duration=milliseconds / 4e3,
            batch_size=count,
            num_threads=1,
        )
        # It tells wall-clock time; of that, the processor was ours for this share.
        share = (time.process_time_ns() - used) / (time.monotonic_ns() - wall)
        return [result.duration_per_example * 1e9 * min(share, 1.0)]


ENGINES = {
    "catboost": CatBoostRows,
    "catboost-pool": CatBoostPool,
    "ydf": Ydf,
}


def parts(rows, count):
    """The rows in slices of `count`, so that no two calls in a row see the same ones."""
    return [rows[first : first + count] for first in range(0, len(rows) - count + 1, count)]


def columns(rows):
    return {f"f{column}": np.ascontiguousarray(rows[:, column]) for column in range(data.FEATURES)}


class Loop:
    def __init__(self, engine, count):
        self.calls = engine.calls(count)
        self.count = count
        self.next = 0

    def block(self, calls):
        """ns per row of `calls` calls, in processor time."""
        todo = [self.calls[(self.next + call) % len(self.calls)] for call in range(calls)]
        self.next += calls
        start = time.process_time_ns()
        for call in todo:
            call()
        return (time.process_time_ns() - start) / (calls * self.count)


def time_calls(engine, count, milliseconds):
    if hasattr(engine, "time"):
        return engine.time(count, milliseconds)
    loop = Loop(engine, count)
    block_ns = milliseconds * 1e6 / BLOCKS
    calls = 1
    call_ns = loop.block(calls) * count
    while call_ns * calls < block_ns / 4:
        calls *= 2
        call_ns = loop.block(calls) * count
    calls = max(1, int(block_ns / call_ns))
    blocks = 2 if call_ns > 2 * block_ns else BLOCKS
    return [loop.block(calls) for _ in range(blocks)]


def write(engine, path, count):
    calls = engine.calls(WARM_ROWS)[: count // WARM_ROWS]
    np.concatenate([call() for call in calls]).astype(np.float64).tofile(path)


def resident_bytes():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main(name, model):
    # Libraries print; the answers have their own way out.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    rows = np.fromfile(OUT / "rows.f32", dtype=np.float32).reshape(-1, data.FEATURES)
    for package in ENGINES[name].packages:
        importlib.import_module(package)
    before, start = resident_bytes(), time.process_time_ns()
    engine = ENGINES[name](model, rows)
    load_ms = (time.process_time_ns() - start) / 1e6
    for call in engine.calls(WARM_ROWS):
        call()
    about = {"load_ms": load_ms, "memory_bytes": resident_bytes() - before}
    print(json.dumps(about | {"variant": getattr(engine, "variant", "")}), file=answers)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "time":
            print(json.dumps(time_calls(engine, int(words[0]), float(words[1]))), file=answers)
        else:
            write(engine, words[0], int(words[1]))
            print("{}", file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
