"""Requests as files, one per model, form and number of rows, and the answers read back.

A form is a body together with the protocol that carries it. Numbers in JSON are the shortest
decimals that read back as the same f32, as clients that hold f32 print them.
"""

import json

import numpy as np
from tritonclient.grpc import service_pb2

from places import OUT

INPUT = "input"
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


class Unreadable(Exception):
    """An answer that holds no predictions; the text says what came instead."""


def open_inference(model, rows):
    """The Open Inference Protocol's JSON."""
    tensor = {"name": INPUT, "datatype": "FP32", "shape": list(rows.shape), "data": flat(rows)}
    return dumps({"inputs": [tensor]})


def instances(model, rows):
    """A list of rows, as TensorFlow Serving has it; for servers without a form of their own."""
    return dumps({"instances": nested(rows)})


def inputs(model, rows):
    """MLflow's form that is read without a data frame."""
    return dumps({"inputs": nested(rows)})


def typed(model, rows):
    """The protobuf message with the numbers in `fp32_contents`."""
    message = request(model, rows)
    message.inputs[0].contents.fp32_contents.extend(rows.ravel().tolist())
    return message.SerializeToString()


def raw(model, rows):
    """The protobuf message with the numbers as bytes."""
    message = request(model, rows)
    message.raw_input_contents.append(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return message.SerializeToString()


def request(model, rows):
    message = service_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape)
    return message


FORMS = {
    "open-inference": open_inference,
    "instances": instances,
    "inputs": inputs,
    "typed": typed,
    "raw": raw,
}


def flat(rows):
    return [shortest(value) for value in rows.ravel()]


def nested(rows):
    return [flat(row) for row in rows]


def shortest(value):
    """The f64 whose shortest decimal is that of the f32 `value`."""
    return float(str(np.float32(value)))


def dumps(document):
    return json.dumps(document, separators=(",", ":")).encode()


def file(form, model, rows):
    """The path of a body's file, written if it is not there; `rows` is `[rows, features]`."""
    folder = OUT / "bodies"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}-{form}-{len(rows)}"
    path.write_bytes(FORMS[form](model, rows))
    return path


def predictions(body, form):
    """The predictions of an answer's body as f64, exactly as they were sent."""
    try:
        return from_protobuf(body) if form in ("typed", "raw") else from_json(body)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        said = body[:120].decode(errors="replace")
        raise Unreadable(f"{type(error).__name__} in an answer: {said}") from None


def outputs_at(body, form):
    """Where the last part of an answer begins: what precedes it has an id, another each time."""
    if form != "raw":
        return body.index(b'"outputs":')
    # Of raw answers: the numbers of the last tensor.
    last = service_pb2.ModelInferResponse.FromString(body).raw_output_contents[-1]
    return body.rindex(last)


def from_json(body):
    document = json.loads(body)
    if isinstance(document, list):
        return np.array(document, dtype=np.float64).ravel()
    if "outputs" not in document:
        return np.array(document["predictions"], dtype=np.float64).ravel()
    output = document["outputs"][0]
    values = np.array(output["data"], dtype=np.float64).ravel()
    # The decimal of an f32 stands for that f32.
    return values.astype(np.float32).astype(np.float64) if output["datatype"] == "FP32" else values


def from_protobuf(body):
    try:
        message = service_pb2.ModelInferResponse.FromString(body)
    except Exception as error:  # protobuf's own class differs between its implementations.
        raise ValueError(str(error)) from None
    output = message.outputs[0]
    if message.raw_output_contents:
        kind = {"FP32": "<f4", "FP64": "<f8"}[output.datatype]
        return np.frombuffer(message.raw_output_contents[0], dtype=kind).astype(np.float64)
    contents = output.contents
    values = contents.fp32_contents if output.datatype == "FP32" else contents.fp64_contents
    return np.array(values, dtype=np.float64)
