"""Starts the assembled image as a container engine would: its entrypoint as its user, as process 1 of
its own, below a root that nobody can write to; and asks it. Run it in namespaces of its own (mounts,
network): the ports are the image's.

Usage: serve.py quick|full"""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request

import numpy
import tritonclient.grpc

import dockerfile
from roots import CACHE, REPO, apart, call, inside

BUILD, IMAGE = dockerfile.read(REPO / "Dockerfile")
ENTRYPOINT = json.loads(IMAGE.said("ENTRYPOINT"))
COMMAND = json.loads(IMAGE.said("CMD"))
USER = IMAGE.said("USER")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program(root, words, environment):
    """A command below a root, as the image's user and without a way to become another."""
    found = next(f"{folder}/{words[0]}" for folder in PATH.split(":") if inside(root, f"{folder}/{words[0]}").exists())
    command = ["setpriv", "--no-new-privs", "chroot", f"--userspec={USER}", "--groups=", root, found, *words[1:]]
    return {"args": list(map(str, command)), "env": {"PATH": PATH, **environment}}


@contextlib.contextmanager
def read_only(root, **mounts):
    """The root, mounted so that nobody can write to it; `mounts` are folders of this machine below it,
    or "tmpfs" for one that can be written to."""
    where = CACHE / "mounted"
    where.mkdir(exist_ok=True)
    call("mount", "--bind", root, where)
    call("mount", "-o", "remount,ro,bind", where)
    try:
        call("mount", "--rbind", "/dev", inside(where, "/dev"))
        call("mount", "-t", "proc", "-o", "ro", "proc", inside(where, "/proc"))
        call("mount", "--rbind", "/sys", inside(where, "/sys"))
        for path, source in mounts.items():
            target = inside(where, path)
            if source == "tmpfs":
                call("mount", "-t", "tmpfs", "-o", f"mode=0700,uid={USER.split(':')[0]}", "tmpfs", target)
            else:
                call("mount", "--bind", source, target)
                call("mount", "-o", "remount,ro,bind", target)
        yield where
    finally:
        call("umount", "--recursive", "--lazy", where)


@contextlib.contextmanager
def container(root, words=COMMAND, **environment):
    """The entrypoint as process 1; at the end it gets the image's signal, and its exit code must be 0."""
    start = program(root, [*ENTRYPOINT, *words], environment)
    start["args"] = ["unshare", "--pid", "--fork", *start["args"]]
    log = CACHE / "serve.log"
    with open(log, "w") as written:
        outer = subprocess.Popen(**start, stdout=written, stderr=written)
    try:
        yield outer
        began = time.monotonic()
        os.kill(child(outer.pid), getattr(signal, IMAGE.said("STOPSIGNAL")))
        code = outer.wait(30)
        check(code == 0, f"exit code {code} after {IMAGE.said('STOPSIGNAL')}")
        print(f"    stopped with exit code 0 within {time.monotonic() - began:.2f} s")
    except BaseException:
        if outer.poll() is None:
            # Where process 1 of a namespace ends, all of it ends.
            os.kill(child(outer.pid), signal.SIGKILL)
            outer.wait(30)
        print(log.read_text(), file=sys.stderr)
        raise


def child(pid):
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def get(path, port=8080, body=None):
    """Status and body of an answer; status 0 where nobody listens."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body and json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except urllib.error.URLError:
        return 0, None


def wait_ready(process, path="/v2/health/ready", port=8080):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("the server ended before it was ready")
        if get(path, port)[0] == 200:
            return
        time.sleep(0.1)
    raise SystemExit("the server was not ready within a minute")


def golden(slot):
    recorded = json.loads((REPO / "models" / slot / "1/golden.json").read_text())
    return recorded["columns"], recorded["rows"]


def health(root, **environment):
    return subprocess.run(**program(root, IMAGE.healthcheck(), environment), capture_output=True, text=True)


def check(condition, about):
    if not condition:
        raise SystemExit(f"image: {about}")


def serves(root):
    """With the sample models and nothing to write to; every model is compared with its library, so
    every engine works."""
    check(health(root).returncode == 1, "a server that is not there is healthy")
    environment = {"HEDGEROW__MODELS__VERIFY": "true"}
    with read_only(root, models=REPO / "models") as mounted, container(mounted, **environment) as process:
        wait_ready(process)
        engines = get("/v2")[1]["engines"]
        check(all(engine["available"] for engine in engines.values()), f"engines are missing: {engines}")
        check(os.statvfs(mounted).f_flag & os.ST_RDONLY, "the root can be written to")
        status = status_of(child(process.pid))
        check(status["NSpid"].split()[-1] == "1", "the server is not process 1")
        check(set(status["Uid"].split()) == {USER.split(":")[0]}, f"it runs as {status['Uid']}")
        check(int(status["CapEff"], 16) == 0, "it has capabilities")
        for slot in sorted(path.parent.parent.name for path in (REPO / "models").glob("*/1/golden.json")):
            columns, rows = golden(slot)
            by_name = [dict(zip(columns, row)) for row in rows[:2]]
            code, answer = get(f"/v1/models/{slot}:predict", body={"instances": by_name})
            check(code == 200 and len(answer["predictions"]) == 2, f"{slot}: {code} {answer}")
        asks_grpc("diabetes-lgbm")
        asked = health(mounted)
        check(asked.returncode == 0, f"the health check says {asked.stderr}")
        check(get("/metrics")[0] == 404, "metrics are on the clients' port")
        print(f"    answers over HTTP and gRPC, {memory(status)} MB resident; health check: {asked.stdout.strip()}")


def asks_grpc(slot):
    _, rows = golden(slot)
    rows = numpy.array(rows[:3], dtype=numpy.float64)
    tensor = tritonclient.grpc.InferInput("input", list(rows.shape), "FP64")
    tensor.set_data_from_numpy(rows)
    with tritonclient.grpc.InferenceServerClient("127.0.0.1:8081") as client:
        answer = client.infer(slot, [tensor]).get_response()
    check(answer.outputs[0].shape[0] == 3, f"gRPC: {answer}")


def records(root):
    """A journal is written below the one folder that is the server's own."""
    environment = {"HEDGEROW__ROLLOUT__RECORD": "true"}
    mounts = {"models": REPO / "models", "hedgerow-data": "tmpfs"}
    with read_only(root, **mounts) as mounted, container(mounted, **environment) as process:
        wait_ready(process)
        _, rows = golden("diabetes-lgbm")
        check(get("/v1/models/diabetes-lgbm:predict", body={"instances": rows})[0] == 200, "no answer")
        check(any(inside(mounted, "/hedgerow-data").iterdir()), "nothing was written")


def sagemaker(root, one_model):
    """Started with the one word "serve", its model below /opt/ml/model, its port in a variable."""
    model = CACHE / "sagemaker"
    call("rm", "-rf", model)
    if not one_model:
        (model / "diabetes").mkdir(parents=True)
    call("cp", "-r", REPO / "models/diabetes-lgbm/1", model if one_model else model / "diabetes")
    inside(root, "/opt/ml/model").mkdir(parents=True, exist_ok=True)
    mounts = {"opt/ml/model": model}
    with read_only(root, **mounts) as mounted, container(mounted, ["serve"], SAGEMAKER_BIND_TO_PORT="8090") as process:
        wait_ready(process, "/ping", 8090)
        _, rows = golden("diabetes-lgbm")
        code, answer = get("/invocations", 8090, {"instances": rows})
        check(code == 200 and len(answer["predictions"]) == len(rows), f"/invocations: {code} {answer}")
    inside(root, "/opt/ml/model").rmdir()


def owned(root):
    """The server may write to its own folders (a volume takes over their owner) and to nothing of the
    program."""
    user = int(USER.split(":")[0])
    for path, owner in {"models": user, "hedgerow-data": user, "usr/bin/hedgerow": 0, "usr/lib/hedgerow/native": 0}.items():
        check((root / path).stat().st_uid == owner, f"/{path} is not user {owner}'s")


def described():
    labels = IMAGE.labels()
    cargo = tomllib.loads((REPO / "Cargo.toml").read_text())["package"]
    given = dict(value.split("=", 1) for value in IMAGE.about["ARG"])
    check(given["VERSION"] == cargo["version"], "ARG VERSION is not Cargo.toml's")
    toolchain = tomllib.loads((REPO / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    check(BUILD.base == f"rust:{toolchain.removesuffix('.0')}-slim-bookworm", "another Rust than rust-toolchain.toml's")
    for name in ("title", "description", "source", "licenses", "version", "revision", "created"):
        check(f"org.opencontainers.image.{name}" in labels, f"the label {name} is missing")
    check(labels["org.opencontainers.image.licenses"] == cargo["license"], "the licence is another")
    check(IMAGE.said("EXPOSE").split() == ["8080", "8081"], "other ports are exposed")


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def memory(status):
    return int(status["VmRSS"].split()[0]) // 1000


def megabytes(root):
    return sum(path.lstat().st_size for path in root.rglob("*")) / 1e6


def loopback_up():
    """What `ip link set lo up` does."""
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, UP and RUNNING


def main():
    apart()
    described()
    loopback_up()
    for name in ("distroless", "debian"):
        root = CACHE / sys.argv[1] / name
        ours = sum(megabytes(root / path) for path in ("usr/lib/hedgerow", "usr/share/doc/hedgerow"))
        binary = (root / "usr/bin/hedgerow").stat().st_size / 1e6
        print(f"image: on {name}: {megabytes(root):.0f} MB, of them hedgerow {binary:.0f} MB, native libraries {ours:.0f} MB")
        owned(root)
        serves(root)
        records(root)
        for one_model in (True, False):
            sagemaker(root, one_model)


main()
