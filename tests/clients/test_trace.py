"""Traces between others: OpenTelemetry's own SDK calls, and rotel, a collector, decodes what comes."""

import pathlib
import re
import subprocess
import time

import numpy as np
import pytest
import rotel
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import format_span_id, format_trace_id

from conftest import ROOT, Server, free_port

AGENT = pathlib.Path(rotel.__file__).parent / "rotel-agent"


class Collector:
    def __init__(self, log):
        self.grpc, self.http = free_port(), free_port()
        self.path = log
        self.log = open(log, "wb")
        AGENT.chmod(0o755)
        self.process = subprocess.Popen(
            [
                AGENT, "start", "--exporter", "blackhole",
                "--otlp-grpc-endpoint", f"127.0.0.1:{self.grpc}", "--otlp-http-endpoint", f"127.0.0.1:{self.http}",
                "--debug-log", "traces", "--debug-log-verbosity", "detailed",
            ],
            stdout=self.log, stderr=self.log,
        )

    def spans(self):
        """Decoded spans: fields, and attributes without their types; those of the resource too."""
        found = []
        for resource in self.path.read_text().split("ResourceSpans #")[1:]:
            head, *spans = re.split(r"^Span #\d+$", resource, flags=re.M)
            attributes = lambda text: dict(re.findall(r"^ +-> ([\w.]+): \w+\((.*)\)$", text, re.M))
            for text in spans:
                fields = dict(re.findall(r"^ *([A-Z][A-Za-z ]+?) *: *(.*)$", text, re.M))
                field = lambda name: fields.get(name, "")
                found.append({
                    "trace": field("Trace ID"), "parent": field("Parent ID"), "id": field("ID"),
                    "name": field("Name"), "kind": field("Kind"), "failed": field("Status code") == "STATUS_CODE_ERROR",
                    "start": int(field("Start time") or 0), "end": int(field("End time") or 0),
                    "attributes": attributes(text), "resource": attributes(head),
                })
        return found

    def wait(self, condition):
        for _ in range(300):
            spans = self.spans()
            if condition(spans):
                # The last of them may be half written.
                time.sleep(0.3)
                return self.spans()
            time.sleep(0.1)
        raise AssertionError(f"the spans did not come within 30 s: {self.path.read_text()[-4000:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()


@pytest.fixture
def collector(tmp_path):
    collector = Collector(tmp_path / "rotel.log")
    yield collector
    collector.stop()


@pytest.fixture(params=["grpc", "http/protobuf"])
def traced(request, collector, tmp_path, monkeypatch):
    port = collector.grpc if request.param == "grpc" else collector.http
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "scores")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=pod-1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("HEDGEROW__CACHE__CAPACITY_BYTES", "1000000")
    monkeypatch.setenv("HEDGEROW__TRACE__BATCH_MS", "50")
    server = Server(ROOT / "models", tmp_path / "server.log")
    yield server
    assert server.stop() == 0


def caller(collector, sampler):
    provider = TracerProvider(sampler=sampler)
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{collector.grpc}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("caller")


def ask(server, protocol, headers):
    library = httpclient if protocol == "http" else grpcclient
    model = "fraud-xgb"
    with library.InferenceServerClient(server.http if protocol == "http" else server.grpc) as client:
        meta = client.get_model_metadata(model)
        meta = meta if protocol == "http" else {"inputs": [{"name": it.name, "datatype": it.datatype, "shape": list(it.shape)} for it in meta.inputs]}
        inputs = []
        for it in meta["inputs"]:
            shape = [1, *[int(n) for n in it["shape"][1:]]]
            kind = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}.get(it["datatype"], np.object_)
            values = np.full(shape, b"1" if kind is np.object_ else 1, dtype=kind)
            given = library.InferInput(it["name"], shape, it["datatype"])
            given.set_data_from_numpy(values)
            inputs.append(given)
        return client.infer(model, inputs, headers=headers)


def test_a_callers_trace_goes_on_through_the_server(collector, traced):
    tracer = caller(collector, ALWAYS_ON)
    for protocol, name in [
        ("http", "POST /v2/models/{model}/infer"),
        ("grpc", "inference.GRPCInferenceService/ModelInfer"),
    ]:
        with tracer.start_as_current_span("decide") as span:
            headers = {}
            propagate.inject(headers)
            assert int(headers["traceparent"][-2:], 16) & 1
            ask(traced, protocol, headers)
        trace = format_trace_id(span.get_span_context().trace_id)
        is_server = lambda it: it["trace"] == trace and it["kind"] == "SPAN_KIND_SERVER"
        spans = collector.wait(lambda spans: any(map(is_server, spans)) and any(it["name"] == "decide" and it["trace"] == trace for it in spans))
        [server] = filter(is_server, spans)
        assert server["name"] == name
        assert server["parent"] == format_span_id(span.get_span_context().span_id)
        assert not server["failed"]
        assert server["resource"]["service.name"] == "scores"
        assert server["resource"]["service.instance.id"] == "pod-1"
        assert server["resource"]["deployment.environment.name"] == "test"
        attributes = server["attributes"]
        assert (attributes["hedgerow.slot"], attributes["hedgerow.rows"]) == ("fraud-xgb", "1")
        assert int(attributes["hedgerow.revision"]) >= 1
        # The second request asks for the first one's row.
        hits = "0" if protocol == "http" else "1"
        assert attributes["hedgerow.cache_hits"] == hits
        steps = {it["name"]: it for it in spans if it["parent"] == server["id"]}
        assert {"decode", "encode"} <= steps.keys()
        assert ("infer" in steps) == (hits == "0")
        if "infer" in steps:
            assert steps["infer"]["attributes"]["hedgerow.batch_rows"] == "1"
        # Within the caller's own span, by its own clock.
        [decide] = [it for it in spans if it["name"] == "decide" and it["trace"] == trace]
        for it in [server, *steps.values()]:
            assert decide["start"] <= it["start"] <= it["end"] <= decide["end"]
        # The exposition links to it.
        page = traced.get("/metrics", admin=True)[1].decode()
        assert re.search(rf'^hedgerow_request_duration_seconds_bucket\{{.*protocol="{protocol}".* # \{{trace_id="{trace}",span_id="{server["id"]}"\}} \S+ \d+\.\d{{3}}$', page, re.M), page


def test_who_is_not_sampled_is_not_exported(collector, traced):
    for sampler in [ALWAYS_OFF, ALWAYS_ON]:
        with caller(collector, sampler).start_as_current_span("decide"):
            headers = {}
            propagate.inject(headers)
            ask(traced, "http", headers)
    # The metadata that the client asks for carries no context, and the server's own ratio is 0.
    collector.wait(lambda spans: any(it["kind"] == "SPAN_KIND_SERVER" for it in spans))
    time.sleep(0.5)
    assert sum(it["kind"] == "SPAN_KIND_SERVER" for it in collector.spans()) == 1


def test_an_exposition_with_exemplars_is_openmetrics(collector, traced):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    with caller(collector, ALWAYS_ON).start_as_current_span("decide") as span:
        headers = {}
        propagate.inject(headers)
        ask(traced, "grpc", headers)
    page = traced.get("/metrics", admin=True)[1].decode()
    families = {it.name: it for it in text_string_to_metric_families(page)}
    exemplars = [it.exemplar for it in families["hedgerow_request_duration_seconds"].samples if it.exemplar]
    assert [it.labels["trace_id"] for it in exemplars] == [format_trace_id(span.get_span_context().trace_id)]
