"""What peers need before they can be measured: converted models, generated code, compiled code.

Everything lies in target/engines and is made once; how long it took is kept beside it, since for a
compiler of trees that is the time to load a model. It is processor time, of all cores together.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import data
import train
from paths import OUT, SOURCES

HARNESS = SOURCES / "harness"
CXX = ["g++", "-std=c++17", "-O3", "-march=native", "-Wall"]
# Translation units per generated C program: gcc's time and memory grow faster than a unit.
UNITS = {"xgb-100x6": 4, "xgb-500x8": 64, "lgb-1000x63": 64}


class CannotBuild(Exception):
    """Why a peer is left out; the text goes into the table."""


@dataclasses.dataclass
class Built:
    path: pathlib.Path
    # How long it took when it was made.
    seconds: float


def package_file(package, relative):
    """A file of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise CannotBuild(f"{package} is not installed")
    path = pathlib.Path(found.submodule_search_locations[0]) / relative
    matches = sorted(path.parent.glob(path.name))
    if not matches:
        raise CannotBuild(f"{package} has no {relative}")
    return matches[0]


def once(path, inputs, make):
    """`path`, made by `make(path)` unless it stands there and was made from the same `inputs`."""
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode())
    note = path.with_name(path.name + ".made.json")
    made = json.loads(note.read_text()) if note.exists() and path.exists() else {}
    if made.get("inputs") == digest.hexdigest():
        return Built(path, made["seconds"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    print(f"  making {path.relative_to(OUT)}", flush=True)
    start = processor_seconds()
    make(path)
    seconds = processor_seconds() - start
    note.write_text(json.dumps({"inputs": digest.hexdigest(), "seconds": seconds}))
    print(f"  made {path.relative_to(OUT)} in {seconds:.1f} s", flush=True)
    return Built(path, seconds)


def processor_seconds():
    """Of this process and of those that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise CannotBuild(f"{command[0]} failed: {' '.join(errors[:1]) or done.stderr.strip()}")


def harness(family, *extra, name=None, inputs=()):
    """The measuring program of a family of engines, e.g. `xgboost`."""
    sources = [HARNESS / "harness.cpp", HARNESS / f"{family}.cpp"]
    command = [*CXX, *sources, *extra, "-ldl"]

    def make(path):
        run([*command, "-o", path])

    path = OUT / "harness" / (name or family)
    return once(path, [*sources, HARNESS / "harness.hpp", *inputs, command], make)


def onnx(model):
    """The model for ONNX Runtime: probabilities as one tensor, no ZipMap."""
    place = train.folder(model)
    convert = {"xgboost": xgboost_onnx, "lightgbm": lightgbm_onnx, "catboost": catboost_onnx}
    convert = convert[train.RECIPES[model]["library"]]

    def make(path):
        path.write_bytes(convert(place).SerializeToString())

    return once(place / "runtime.onnx", [place / "truth.f64", place / "about.json"], make)


def onnx_inputs():
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("features", FloatTensorType([None, data.FEATURES]))]


def xgboost_onnx(place):
    import onnxmltools
    import xgboost

    classifier = xgboost.XGBClassifier()
    classifier.load_model(place / "model.json")
    return onnxmltools.convert_xgboost(classifier, initial_types=onnx_inputs())


def lightgbm_onnx(place):
    import lightgbm
    import onnxmltools

    booster = lightgbm.Booster(model_file=place / "model.txt")
    return onnxmltools.convert_lightgbm(booster, initial_types=onnx_inputs(), zipmap=False)


def catboost_onnx(place):
    import onnx as onnx_format

    model = onnx_format.load(place / "model.onnx")
    ensemble, zipmap = model.graph.node
    assert zipmap.op_type == "ZipMap"
    ensemble.output[1] = "probabilities"
    label = model.graph.output[0]
    probabilities = onnx_format.helper.make_tensor_value_info(
        "probabilities", onnx_format.TensorProto.FLOAT, [None, 2]
    )
    del model.graph.node[1:]
    del model.graph.output[:]
    model.graph.output.extend([label, probabilities])
    return model


def tl2cgen(model):
    """A shared library of the C that tl2cgen writes, by gcc -O3; all cores compile."""
    file = train.model_file(model)

    def make(path):
        import tl2cgen as generator
        import treelite

        load = treelite.frontend.load_xgboost_model
        if file.suffix == ".txt":
            load = treelite.frontend.load_lightgbm_model
        source = OUT / "tl2cgen" / model
        shutil.rmtree(source, ignore_errors=True)
        generator.generate_c_code(load(file), source, {"parallel_comp": UNITS[model]})
        flags = ["gcc", "-O3", "-march=native", "-fPIC"]
        units = sorted(source.glob("*.c"))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(
                pool.map(
                    lambda unit: run([*flags, "-c", unit, "-o", unit.with_suffix(".o")]), units
                )
            )
        run(["gcc", "-shared", *[unit.with_suffix(".o") for unit in units], "-lm", "-o", path])

    return once(
        OUT / "tl2cgen" / f"{model}.so", [file, UNITS[model], "gcc -O3 -march=native"], make
    )


def lleaves(model):
    """The object file that lleaves keeps in its cache: one function, `forest_root`."""
    file = train.folder(model) / "model.txt"

    def make(path):
        import lleaves as compiler

        compiler.Model(model_file=file).compile(cache=path)

    return once(OUT / "lleaves" / f"{model}.o", [file, "lleaves"], make)


def onedal(model):
    """The archive of oneDAL's model, converted by daal4py from the library's own."""
    place = train.folder(model)
    file = train.model_file(model)

    def make(path):
        import daal4py

        convert = daal4py.mb.convert_model
        path.write_bytes(convert(booster(file)).daal_model_.__getstate__())

    return once(place / "onedal.archive", [file], make)


def booster(file):
    """The model in its own library, by its file's format."""
    if file.suffix == ".json":
        import xgboost

        return xgboost.Booster(model_file=file)
    if file.suffix == ".txt":
        import lightgbm

        return lightgbm.Booster(model_file=file)
    import catboost

    return catboost.CatBoostClassifier().load_model(str(file))


def onedal_flags():
    """oneDAL's headers and libraries lie in the environment itself, not in a package."""
    home = pathlib.Path(sys.prefix)
    if not (home / "include" / "daal.h").exists():
        raise CannotBuild("daal-include is not installed")
    return [
        *["-isystem", home / "include", "-isystem", home / "include" / "dal"],
        *[f"-L{home}/lib", "-l:libonedal_core.so.4", "-l:libonedal_thread.so.4"],
        # RPATH and not RUNPATH: the libraries find TBB by it too.
        f"-Wl,--disable-new-dtags,-rpath,{home}/lib",
    ]


def ydf_model(model):
    """A model of ydf's own, as large as `model`."""
    place = OUT / "models" / f"ydf-{model}"
    settings = {**train.YDF_EVERY, **train.YDF_EQUALS[model]}

    def make(path):
        import ydf

        rows, labels, served = data.make()
        rows, labels = rows[: train.YDF_ROWS], labels[: train.YDF_ROWS]
        shutil.rmtree(place / "model", ignore_errors=True)
        learner = ydf.GradientBoostedTreesLearner("label", num_threads=train.THREADS, **settings)
        trained = learner.train({**ydf_columns(rows), "label": labels.astype(int)}, verbose=0)
        trained.save(str(path.parent / "model"))
        truth = trained.predict(ydf_columns(served[: train.CHECKED]), num_threads=1)
        truth.astype("float64").tofile(path.parent / "truth.f64")
        path.write_text(json.dumps({"leaves": ydf_leaves(trained), "settings": settings}))

    return once(place / "about.json", [settings, train.YDF_ROWS, SOURCES / "data.py"], make)


def ydf_columns(rows):
    return {f"f{column}": rows[:, column] for column in range(data.FEATURES)}


def ydf_leaves(model):
    """Leaves per tree on average."""
    trees = [model.get_tree(tree) for tree in range(model.num_trees())]

    def count(node):
        return 1 if node.is_leaf else count(node.pos_child) + count(node.neg_child)

    return sum(count(tree.root) for tree in trees) / len(trees)


def ydf_source(model):
    """ydf's standalone C++ of its model."""
    about = ydf_model(model)

    def make(path):
        import ydf

        trained = ydf.load_model(str(about.path.parent / "model"))
        source = trained.to_standalone_cc(
            name="ydf_standalone", algorithm="ROUTING", classification_output="PROBABILITY"
        )
        with contextlib.suppress(AttributeError):
            source = next(iter(source.values())).decode()
        # ydf gives trees of more than 128 leaves distances that do not fit the type it chose.
        source = source.replace("const uint8_t root_deltas", "const uint16_t root_deltas")
        path.write_text(source)

    return once(about.path.parent / "standalone.h", [about.path, "wide"], make)
