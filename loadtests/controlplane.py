"""A Kubernetes control plane without nodes: etcd, kube-apiserver, and of kube-controller-manager the
controllers that are named. Nothing runs a pod: `Pods` says of each that it is up. Standard library only.
"""

import http.client
import json
import secrets
import ssl
import subprocess
import threading
import time

from scrape import free_port

START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 15
LOOK_EVERY_S = 0.2
CONTROLLERS = ["deployment", "replicaset", "horizontal-pod-autoscaler"]
MERGE = "application/merge-patch+json"


class PlaneError(Exception):
    """A part did not start, or the API server refused something."""


class ControlPlane:
    """The processes, each with its log in the folder. `kube` is the program of loadtests/kube."""

    def __init__(self, kube, folder):
        folder.mkdir(parents=True)
        self.kube, self.folder = kube, folder
        self.etcd, self.peers, self.port = free_port(), free_port(), free_port()
        self.token = secrets.token_hex(16)
        self.certificate = folder / "apiserver.crt"
        self.key = folder / "apiserver.key"
        self.kubeconfig = folder / "kubeconfig"
        self.parts = {}
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.stop()
            raise

    def prepare(self):
        (self.folder / "tokens.csv").write_text(f"{self.token},show,show,system:masters\n")
        words = ["openssl", "genrsa", "-out", self.folder / "accounts.key", "2048"]
        subprocess.run(words, check=True, capture_output=True)
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "show", "cluster": cluster}],
            "users": [{"name": "show", "user": {"token": self.token}}],
            "contexts": [{"name": "show", "context": {"cluster": "show", "user": "show"}}],
            "current-context": "show",
        }
        # JSON is YAML.
        self.kubeconfig.write_text(json.dumps(config))

    def start(self):
        client, peers = f"http://127.0.0.1:{self.etcd}", f"http://127.0.0.1:{self.peers}"
        etcd = {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
        }
        self.run("etcd", ["etcd"], etcd)
        accounts = self.folder / "accounts.key"
        apiserver = {
            "etcd-servers": client,
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "cert-dir": self.folder,
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "AlwaysAllow",
            "service-cluster-ip-range": "10.0.0.0/24",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": accounts,
            "service-account-signing-key-file": accounts,
            # A loopback address may be nobody's endpoint.
            "endpoint-reconciler-type": "none",
        }
        self.run("apiserver", [self.kube, "apiserver"], apiserver)
        self.wait_ready()
        manager = {
            "kubeconfig": self.kubeconfig,
            "controllers": ",".join(f"{name}-controller" for name in CONTROLLERS),
            "leader-elect": "false",
            "secure-port": 0,
            # Every look of the autoscaler is a line that a program can read.
            "logging-format": "json",
            "v": 4,
        }
        self.run("controller-manager", [self.kube, "controller-manager"], manager)

    def run(self, name, command, flags):
        words = [*map(str, command), *(f"--{flag}={value}" for flag, value in flags.items())]
        with self.log(name).open("wb") as log:
            self.parts[name] = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)

    def log(self, name):
        return self.folder / f"{name}.log"

    def wait_ready(self):
        limit = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < limit:
            for name, part in self.parts.items():
                if part.poll() is not None:
                    raise PlaneError(f"{name} ended:\n{self.last_words(name)}")
            try:
                self.ask("GET", "/readyz", headers={"Accept": "*/*"}, read=bytes)
                return
            except (OSError, http.client.HTTPException, PlaneError):
                time.sleep(0.2)
        raise PlaneError(f"kube-apiserver did not become ready:\n{self.last_words('apiserver')}")

    def last_words(self, name):
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-15:])

    def ask(self, method, path, body=None, kind="application/json", headers=None, read=json.loads):
        """The answer to a request to the API server, which must be a good one."""
        trust = ssl.create_default_context(cafile=self.certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=trust)
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, **(headers or {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), given)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise PlaneError(f"{method} {path} answered {response.status}: {answer.decode()[:500]}")
        return read(answer)

    def stop(self):
        """The last that was started first."""
        for part in reversed(self.parts.values()):
            if part.poll() is not None:
                continue
            part.terminate()
            try:
                part.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()


class Pods:
    """Stands for the nodes: every pod of the namespace runs and is ready at once, on this machine. Where
    its annotations say that it is scraped goes into `targets`, since Debian's Prometheus cannot ask the
    API server."""

    def __init__(self, plane, namespace):
        self.plane, self.namespace = plane, namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods"
        self.targets = plane.folder / "targets.json"
        self.known = None
        self.running = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopping.wait(LOOK_EVERY_S):
            try:
                found = self.plane.ask("GET", self.path)["items"]
                for pod in found:
                    if pod["status"].get("phase") != "Running":
                        self.put_up(pod)
                self.announce(found)
                self.running = len(found)
            except (OSError, http.client.HTTPException, PlaneError):
                # A pod that is gone meanwhile, or the end of the show: the next look tells.
                continue

    def put_up(self, pod):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {"status": "True", "lastTransitionTime": now}
        status = {
            "phase": "Running",
            "startTime": now,
            "conditions": [{"type": name, **condition} for name in ("Ready", "ContainersReady")],
        }
        path = f"{self.path}/{pod['metadata']['name']}/status"
        self.plane.ask("PATCH", path, {"status": status}, MERGE)

    def announce(self, pods):
        """For Prometheus: it reads the file again when another takes its place."""
        found = {}
        for pod in pods:
            marks = pod["metadata"]["annotations"]
            if marks.get("prometheus.io/scrape") == "true":
                found[pod["metadata"]["name"]] = f"127.0.0.1:{marks['prometheus.io/port']}"
        if found == self.known:
            return
        listed = [
            {"targets": [address], "labels": {"namespace": self.namespace, "pod": name}}
            for name, address in found.items()
        ]
        aside = self.targets.with_suffix(".new")
        aside.write_text(json.dumps(listed))
        aside.rename(self.targets)
        self.known = found

    def stop(self):
        self.stopping.set()
        self.thread.join()
