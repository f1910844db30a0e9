"""The servers: what starts each, what it speaks, and how it is configured."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import engines
import train
from places import ENVIRONMENTS, PEERS

REST, TYPED, RAW = "rest", "grpc", "grpc-raw"
PROTOCOLS = [REST, TYPED, RAW]
TITLES = {REST: "REST", TYPED: "gRPC", RAW: "gRPC, raw"}
# The form of the body by protocol.
OPEN_INFERENCE = {REST: "open-inference", TYPED: "typed", RAW: "raw"}
OWN_JSON = {REST: "instances"}
PRODUCT, LIMIT, PEER = "product", "limit", "peer"
WEIGHTS = "HEDGEROW_BENCH_MODEL"


class CannotStart(Exception):
    """What a server needs before its start could not be made."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What a server's command is made of: one model, two ports, and a folder for its files."""

    model: str
    rows: int
    http: int
    grpc: int
    folder: pathlib.Path

    @property
    def model_file(self):
        return train.model_file(self.model).resolve()


@dataclasses.dataclass(frozen=True)
class Command:
    words: list
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    kind: str
    forms: dict
    # A function from the place to the command.
    start: Callable
    via: str
    # The distribution whose version a peer's is.
    package: str = ""
    path: str = "/v2/models/{model}/infer"
    # Takes part in QUICK runs.
    quick: bool = False

    @property
    def environment(self):
        return ENVIRONMENTS / self.name.lower()

    @property
    def installed(self):
        return self.kind != PEER or bool(self.version())

    def version(self):
        if self.kind == PRODUCT:
            return engines.hedgerow_version()
        pattern = f"lib/*/site-packages/{self.package}-*.dist-info"
        found = list(self.environment.glob(pattern)) if self.package else []
        return found[0].name.removesuffix(".dist-info").split("-")[1] if found else ""


def hedgerow(binary):
    def start(place):
        revision = place.folder / "models" / place.model / "1"
        revision.mkdir(parents=True)
        shutil.copy(place.model_file, revision)
        return Command(
            [
                *(binary, "serve", place.folder / "models"),
                *("--http", f"127.0.0.1:{place.http}", "--grpc", f"127.0.0.1:{place.grpc}"),
                *("--admin", "127.0.0.1:0"),
            ],
            # The folder is complete: no copy is to be waited for.
            {"HEDGEROW__TELEMETRY__LOG_LEVEL": "warn", "HEDGEROW__MODELS__SETTLE_MS": "0"},
        )

    return Server("hedgerow", PRODUCT, OPEN_INFERENCE, start, "defaults, one core", quick=True)


def limit(binary, kind, via):
    forms = {REST: OPEN_INFERENCE[REST]}
    if kind.startswith("tonic"):
        forms = {name: OPEN_INFERENCE[name] for name in (TYPED, RAW)}

    def start(place):
        port = place.http if REST in forms else place.grpc
        return Command([binary, "--kind", kind, "--port", port, "--rows", place.rows])

    return Server(kind, LIMIT, forms, start, via, quick=True)


def limits(binary):
    return [
        limit(binary, "axum-constant", "reads the body, answers a constant"),
        limit(binary, "axum-parse", "parses the JSON, predicts nothing"),
        limit(binary, "tonic-constant", "reads the body, answers a constant"),
        limit(binary, "tonic-parse", "parses the message, predicts nothing"),
    ]


def program(peer, name, *arguments):
    """A program of a peer's environment, run by its Python: its first line may be too long."""
    return [ENVIRONMENTS / peer / "bin" / "python", ENVIRONMENTS / peer / "bin" / name, *arguments]


def python(peer, *arguments):
    return [ENVIRONMENTS / peer / "bin" / "python", *arguments]


def given(peer, place, **more):
    """The variables of a peer whose model a Python function is."""
    paths = f"{PEERS / peer}:{PEERS}"
    return {"PYTHONPATH": paths, WEIGHTS: str(place.model_file), **more}


def uvicorn(application, place):
    return [
        *("-m", "uvicorn", application, "--host", "127.0.0.1", "--port", place.http),
        *("--workers", 1, "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning"),
    ]


def fastapi(place):
    return Command(python("fastapi", *uvicorn("service:app", place)), given("fastapi", place))


def mlserver(place):
    settings = json.loads((PEERS / "mlserver" / "settings.json").read_text())
    settings |= {"http_port": place.http, "grpc_port": place.grpc, "metrics_port": 0}
    settings["logging_settings"] = str(PEERS / "mlserver" / "logging.json")
    (place.folder / "settings.json").write_text(json.dumps(settings))
    library = train.RECIPES[place.model]["library"]
    runtime = {
        "xgboost": "mlserver_xgboost.XGBoostModel",
        "lightgbm": "mlserver_lightgbm.LightGBMModel",
    }
    model = {
        "name": place.model,
        "implementation": runtime[library],
        "parameters": {"uri": str(place.model_file)},
    }
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return Command(program("mlserver", "mlserver", "start", place.folder))


def kserve(place):
    service = PEERS / "kserve" / "service.py"
    arguments = ["--model_name", place.model, "--http_port", place.http, "--grpc_port", place.grpc]
    return Command(python("kserve", service, *arguments), given("kserve", place))


def bentoml(place):
    words = program(
        *("bentoml", "bentoml", "serve", "service:Model", "--host", "127.0.0.1"),
        *("--port", place.http, "--working-dir", PEERS / "bentoml"),
    )
    more = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.folder)}
    return Command(words, given("bentoml", place, **more))


def litserve(place):
    service = PEERS / "litserve" / "service.py"
    return Command(python("litserve", service, place.http), given("litserve", place))


def ray(place):
    service = PEERS / "ray" / "service.py"
    more = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return Command(python("ray", service, place.http), given("ray", place, **more))


def mlflow(place):
    """The application that `mlflow models serve` starts, without the processes around it."""
    folder = place.folder / "model"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    save = python("mlflow", PEERS / "mlflow" / "save.py", place.model_file, folder)
    done = subprocess.run(save, capture_output=True, text=True, env={**os.environ, **quiet})
    if done.returncode != 0:
        raise CannotStart(f"saving the model: {done.stderr.strip().splitlines()[-1:]}")
    words = python("mlflow", *uvicorn("mlflow.pyfunc.scoring_server.app:app", place))
    return Command(words, {**quiet, "__pyfunc_model_path__": str(folder)})


def peers():
    return [
        Server(
            *("MLServer", PEER, OPEN_INFERENCE, mlserver),
            "its own XGBoost and LightGBM runtimes, in the server's process",
            package="mlserver",
            quick=True,
        ),
        Server(
            *("KServe", PEER, OPEN_INFERENCE, kserve),
            "a Model of the Python SDK, in process",
            package="kserve",
        ),
        Server(
            *("BentoML", PEER, OWN_JSON, bentoml, "an asynchronous service on arrays"),
            package="bentoml",
            path="/predict",
        ),
        Server(
            *("LitServe", PEER, OWN_JSON, litserve, "one API server and one worker"),
            package="litserve",
            path="/predict",
        ),
        Server(
            *("Ray", PEER, OWN_JSON, ray, "Ray Serve: one proxy, one replica"),
            package="ray",
            path="/predict",
        ),
        Server(
            *("MLflow", PEER, {REST: "inputs"}, mlflow, "its scoring server and flavours"),
            package="mlflow",
            path="/invocations",
        ),
        Server(
            *("FastAPI", PEER, OWN_JSON, fastapi, "a handler written by hand, uvicorn, orjson"),
            package="fastapi",
            path="/predict",
            quick=True,
        ),
    ]
