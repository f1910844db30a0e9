"""Who is measured on which model, and how each is started.

An engine here is a name, the package whose version it carries, how it is reached (`via`), and for
each model a command that speaks the harness's protocol. What cannot be built or installed stays in
the list with the reason.
"""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys

import build
import train
from paths import OUT, ROOT, SOURCES

XGBOOST = ["xgb-100x6", "xgb-500x8"]
LIGHTGBM = ["lgb-1000x63"]
CATBOOST = ["cat-100x6", "cat-500x8"]


@dataclasses.dataclass
class Engine:
    name: str
    package: str
    via: str
    models: list
    # Takes a model's name, gives a Start.
    start: object
    # Whether QUICK=1 leaves it out.
    slow: bool = False
    # Whether it runs a model of its own of equal size, so that its answers are compared with that.
    own_model: bool = False
    # The largest difference from the library's probabilities that is no fault; 0 means bit by bit.
    tolerance: float = 1e-5

    def version(self):
        if self.package == "hedgerow":
            return hedgerow_version()
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"


@dataclasses.dataclass
class Start:
    command: list
    # For compilers of trees: what loading a model cost before the process began.
    compile_ms: float = 0.0
    # What the row has to say beside `via`.
    variant: str = ""


def truth(engine, model):
    """The file of probabilities that the library itself gives."""
    name = f"ydf-{model}" if engine.own_model else model
    return OUT / "models" / name / "truth.f64"


def hedgerow_version():
    described = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True)
    toml = (ROOT / "Cargo.toml").read_text()
    version = toml.split('\nversion = "', 1)[1].split('"', 1)[0]
    return f"{version} {commit.stdout.strip()}".strip()


def build_hedgerow():
    """Compiles our bench with cargo; the path of the program."""
    command = ["cargo", "build", "--release", "--bench", "engines", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise build.CannotBuild("cargo build failed")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "engines":
            return message["executable"]
    raise build.CannotBuild("cargo named no program")


class Hedgerow:
    """Starts our bench, which is built once."""

    def __init__(self):
        self.program = None

    def __call__(self, model):
        self.program = self.program or build_hedgerow()
        file = train.model_file(model)
        if file.suffix == ".cbm":
            file = file.with_suffix(".onnx")
        return Start([self.program, OUT, file])


def library(family, package, shared):
    """An engine in a shared library that reads the model's own file."""

    def start(model):
        path = build.package_file(package, shared)
        return Start([build.harness(family).path, OUT, path, train.model_file(model)])

    return start


def onnxruntime(model):
    path = build.package_file("onnxruntime", "capi/libonnxruntime.so*")
    return Start([build.harness("onnxruntime").path, OUT, path, build.onnx(model).path])


def onedal(model):
    archive = build.onedal(model)
    return Start([build.harness("onedal", *build.onedal_flags()).path, OUT, archive.path])


def tl2cgen(model):
    compiled = build.tl2cgen(model)
    command = [build.harness("tl2cgen").path, OUT, compiled.path]
    return Start(command, compiled.seconds * 1e3)


def lleaves(model):
    compiled = build.lleaves(model)
    program = build.harness(
        "lleaves", compiled.path, "-lm", name=f"lleaves-{model}", inputs=[compiled.path]
    )
    return Start([program.path, OUT], compiled.seconds * 1e3)


def exported(family, source):
    """Exported C++, compiled together with the harness: that is its time to load."""

    def start(model):
        path = source(model)
        program = build.harness(
            family, f'-DEXPORTED="{path}"', name=f"{family}-{model}", inputs=[path]
        )
        return Start([program.path, OUT], program.seconds * 1e3)

    return start


def ydf_exported(model):
    start = exported("ydf", lambda model: build.ydf_source(model).path)(model)
    start.variant = ydf_size(model)
    return start


def ydf_benchmark(model):
    start = python("ydf", build.ydf_model)(model)
    start.variant = ydf_size(model)
    return start


def ydf_size(model):
    about = json.loads(build.ydf_model(model).path.read_text())
    return f"{about['leaves']:.1f} leaves on average"


def python(engine, prepare=lambda model: None):
    def start(model):
        prepare(model)
        return Start([sys.executable, SOURCES / "worker.py", engine, model])

    return start


HEDGEROW = Hedgerow()
ENGINES = [
    Engine("hedgerow", "hedgerow", "Rust API", XGBOOST + LIGHTGBM, HEDGEROW, tolerance=0),
    Engine("hedgerow", "hedgerow", "Rust API, ONNX export", CATBOOST, HEDGEROW, tolerance=1e-6),
    Engine(
        "xgboost",
        "xgboost-cpu",
        "C API, PredictFromDense",
        XGBOOST,
        library("xgboost", "xgboost", "lib/libxgboost.so"),
    ),
    Engine(
        "lightgbm",
        "lightgbm",
        "C API, single row fast / mat",
        LIGHTGBM,
        library("lightgbm", "lightgbm", "lib/lib_lightgbm.so"),
    ),
    Engine(
        "catboost, exported C++",
        "catboost",
        "g++ -O3 -march=native",
        CATBOOST,
        exported("catboost", lambda model: train.folder(model) / "exported.cpp"),
    ),
    Engine("catboost, arrays", "catboost", "Python", CATBOOST, python("catboost")),
    Engine(
        "catboost, pools",
        "catboost",
        "Python, pools made before",
        CATBOOST,
        python("catboost-pool"),
    ),
    Engine("onnxruntime", "onnxruntime", "C API", XGBOOST + LIGHTGBM + CATBOOST, onnxruntime),
    Engine(
        "treelite GTIL",
        "treelite",
        "C API",
        XGBOOST + LIGHTGBM,
        library("treelite", "treelite", "lib/libtreelite.so"),
        slow=True,
    ),
    Engine(
        "tl2cgen",
        "tl2cgen",
        "C by gcc -O3 -march=native",
        XGBOOST + LIGHTGBM,
        tl2cgen,
        slow=True,
    ),
    Engine("lleaves", "lleaves", "object code of LLVM", LIGHTGBM, lleaves, slow=True),
    Engine(
        "oneDAL",
        "scikit-learn-intelex",
        "C++ API",
        XGBOOST + LIGHTGBM + CATBOOST,
        onedal,
    ),
    Engine(
        "ydf, standalone C++",
        "ydf",
        "g++ -O3 -march=native, a model of its own",
        XGBOOST + LIGHTGBM,
        ydf_exported,
        slow=True,
        own_model=True,
    ),
    Engine(
        "ydf",
        "ydf",
        "its own C++ benchmark, a model of its own",
        XGBOOST + LIGHTGBM,
        ydf_benchmark,
        slow=True,
        own_model=True,
    ),
]
