"""Predicts the golden rows of fraud-xgb with KServe's REST and gRPC clients; prints the answers as JSON."""

import asyncio
import json
import pathlib
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]


def finite_rows():
    """KServe's clients write infinities in ways of their own; missing values they know."""
    golden = json.loads((ROOT / "models/fraud-xgb/1/golden.json").read_text())
    rows = [[np.nan if cell is None else float(cell) for cell in row] for row in golden["rows"]]
    kept = [index for index, row in enumerate(rows) if not np.isinf(np.array(row, np.float32)).any()]
    return kept, np.array(rows, np.float32)[kept]


async def main(http, grpc):
    kept, rows = finite_rows()
    value = InferInput("input", list(rows.shape), "FP32")
    value.set_data_from_numpy(rows, binary_data=False)
    request = InferRequest("fraud-xgb", [value])
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers = {
        "rest": await rest.infer(f"http://{http}", request, model_name="fraud-xgb"),
        "grpc": await InferenceGRPCClient(grpc).infer(request),
    }
    said = {name: answer.outputs[0].as_numpy().ravel().tolist() for name, answer in answers.items()}
    print(json.dumps({"rows": kept, **said}))


asyncio.run(main(*sys.argv[1:]))
