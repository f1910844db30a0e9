"""A server's process: started on its core, asked until it answers, watched, paused and ended."""

import http.client
import os
import pathlib
import signal
import socket
import subprocess
import time

import grpc

import bodies
from places import OUT

SERVER_CORE = 0
LOAD_CORE = 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 120
STOP_SECONDS = 10
# One thread for whatever would start more: there is one core.
ENVIRONMENT = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Failed(Exception):
    """A server ended or did not answer; the text goes into the table."""


class Process:
    """A running server. It leads a process group of its own, and only that is ever signalled."""

    def __init__(self, command, name, environment=None, folder=None):
        logs = OUT / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log_path = logs / f"{name}.log"
        self.started = time.monotonic()
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **ENVIRONMENT, **(environment or {})},
                start_new_session=True,
            )

    def until(self, answers):
        """Asks until `answers()` holds; returns the milliseconds since the start."""
        while not answers():
            waited = time.monotonic() - self.started
            if self.process.poll() is not None:
                raise Failed(self.last_words())
            if waited > START_SECONDS:
                raise Failed(f"no good answer within {START_SECONDS} s: {self.last_words()}")
            time.sleep(0.001 if waited < 0.5 else 0.02)
        return (time.monotonic() - self.started) * 1e3

    def last_words(self):
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with code {self.process.returncode}"

    def tree(self):
        """The ids of the process and of all that descend from it."""
        return descendants(self.process.pid)

    def pause(self):
        signal_all(self.tree(), signal.SIGSTOP)

    def resume(self):
        signal_all(self.tree(), signal.SIGCONT)

    def close(self):
        """Ends the tree, politely at first. Nothing else has these ids: they are looked up now."""
        self.resume()
        tree = self.tree()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in tree[1:]:
            # Only those that are still in the group: ids are used again.
            fields = stat_fields(pathlib.Path(f"/proc/{pid}/stat"))
            if fields and int(fields[3]) == self.process.pid:
                os.kill(pid, signal.SIGKILL)


def descendants(first):
    """The id of a process and those of all that descend from it."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        if fields := stat_fields(stat):
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [first]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def stat_fields(path):
    """The fields after the command's name: state, parent, group, session, …; None if it is gone."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


def cpu_seconds(pids):
    """User and system time that the processes have taken so far."""
    ticks = 0
    for pid in pids:
        if fields := stat_fields(pathlib.Path(f"/proc/{pid}/stat")):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def memory_mb(pids):
    """Resident memory; what processes share is divided among them, not counted for each."""
    total_kb = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total_kb / 1024


def stay_off_the_servers_core():
    """The driver, and what it starts without a core of its own, go to the generator's core."""
    if (os.cpu_count() or 1) > LOAD_CORE:
        os.sched_setaffinity(0, {LOAD_CORE})


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(port, path, body, headers=None):
    """One request over HTTP: status, headers and body; None when nobody listens or answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"content-type": "application/json", **(headers or {})}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def call(port, body):
    """One ModelInfer over gRPC: the answer's bytes, or None."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(bodies.GRPC_PATH)
        try:
            return infer(body, timeout=30)
        except grpc.RpcError:
            return None
