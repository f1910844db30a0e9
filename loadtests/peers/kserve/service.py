"""KServe's Python SDK: a Model around the original library, one process, no logs per request."""

import logging

import numpy as np
import predictor
from kserve import InferOutput, InferResponse, Model, ModelServer, model_server


class Trees(Model):
    def __init__(self, name):
        super().__init__(name)
        self.predictor = predictor.load()
        self.ready = True

    # Asynchronous: otherwise the SDK hands each request to a thread.
    async def predict(self, payload, headers=None, response_headers=None):
        rows = payload.inputs[0].as_numpy().astype(np.float32, copy=False)
        values = self.predictor(rows)
        kind = "FP32" if values.dtype == np.float32 else "FP64"
        output = InferOutput("predict", list(values.shape), kind)
        output.set_data_from_numpy(values, binary_data=payload.from_grpc)
        return InferResponse(payload.id or "0", self.name, [output], from_grpc=payload.from_grpc)


if __name__ == "__main__":
    name = model_server.args.model_name
    server = ModelServer(workers=1, enable_latency_logging=False)
    for logger in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    server.start([Trees(name)])
