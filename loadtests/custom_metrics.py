"""Answers custom.metrics.k8s.io as prometheus-adapter documents it: a rule's template, filled in for the
pods that a selector finds, asked of Prometheus, and handed on in thousandths, cut off.

It knows of the rules what helm/examples/prometheus-adapter-values.yaml uses of them. Standard library only.
"""

import http.client
import json
import math
import re
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controlplane import PlaneError
from scrape import ScrapeError

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
ROOT = f"/apis/{GROUP}/{VERSION}"
RESOURCE = {"singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
ASKED = re.compile(rf"{ROOT}/namespaces/([^/]+)/pods/\*/([^/]+)")


def series(rule):
    return re.match(r"\w+", rule["seriesQuery"])[0]


def name(rule):
    return rule.get("name", {}).get("as") or series(rule)


def expanded(rule, namespace, pods):
    """The rule's query for pods of a namespace."""
    matchers = f'namespace="{namespace}",pod=~"{"|".join(sorted(pods))}"'
    filled = {"Series": series(rule), "LabelMatchers": matchers, "GroupBy": "pod"}
    return re.sub(r"<<\.(\w+)>>", lambda found: filled[found[1]], rule["metricsQuery"])


def failure(code, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class CustomMetrics:
    """The API, on a port of its own. `answers` has what was told last of each metric: {pod: thousandths}."""

    def __init__(self, plane, scraper, rules):
        self.plane, self.scraper = plane, scraper
        self.rules = {name(rule): rule for rule in rules}
        self.answers = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                try:
                    status, found = api.answer(urllib.parse.urlsplit(self.path))
                except (OSError, http.client.HTTPException, PlaneError, ScrapeError) as error:
                    status, found = 503, failure(503, str(error))
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(plane.certificate, plane.key)
        # The handshake is made by the thread of the connection.
        self.listener.socket = trust.wrap_socket(
            self.listener.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.listener.server_port

    def register(self, namespace):
        """Behind the API server, by a Service that is a name outside the cluster."""
        service = {"type": "ExternalName", "externalName": "localhost"}
        self.create(f"/api/v1/namespaces/{namespace}/services", "v1", "Service", "metrics", service)
        spec = {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": namespace, "name": "metrics", "port": self.port},
        }
        registered = "apiregistration.k8s.io/v1"
        self.create(f"/apis/{registered}/apiservices", registered, "APIService", f"{VERSION}.{GROUP}", spec)

    def create(self, path, version, kind, called, spec):
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": called}, "spec": spec}
        self.plane.ask("POST", path, body)

    def answer(self, asked):
        if asked.path.rstrip("/") == ROOT:
            resources = [{"name": f"pods/{it}", **RESOURCE} for it in self.rules]
            kind = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
            return 200, {**kind, "resources": resources}
        found = ASKED.fullmatch(urllib.parse.unquote(asked.path))
        if not found or found[2] not in self.rules:
            return 404, failure(404, f"there is no {asked.path}")
        namespace, metric = found.groups()
        selector = dict(urllib.parse.parse_qsl(asked.query)).get("labelSelector", "")
        values = self.values(namespace, metric, selector)
        self.answers[metric] = values
        return 200, self.listed(namespace, metric, values)

    def values(self, namespace, metric, selector):
        """Thousandths by pod; a pod that has none is left out, and NaN is 0, as in the adapter."""
        chosen = urllib.parse.urlencode({"labelSelector": selector})
        pods = self.plane.ask("GET", f"/api/v1/namespaces/{namespace}/pods?{chosen}")["items"]
        if not pods:
            return {}
        query = expanded(self.rules[metric], namespace, [pod["metadata"]["name"] for pod in pods])
        return {
            labels["pod"]: 0 if math.isnan(value) else int(value * 1000)
            for labels, value in self.scraper.query(query)
        }

    def listed(self, namespace, metric, values):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        items = [
            {
                "describedObject": {"kind": "Pod", "namespace": namespace, "name": pod, "apiVersion": "/v1"},
                "metric": {"name": metric},
                "timestamp": now,
                "value": f"{value}m",
            }
            for pod, value in values.items()
        ]
        return {"kind": "MetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}

    def stop(self):
        self.listener.shutdown()
        self.listener.server_close()
