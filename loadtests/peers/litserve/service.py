"""LitServe: one API server and one worker process, no batching."""

import sys

import litserve
import numpy as np
import predictor


class Trees(litserve.LitAPI):
    def setup(self, device):
        self.predictor = predictor.load()

    def decode_request(self, request):
        return np.asarray(request["instances"], dtype=np.float32)

    def predict(self, rows):
        return self.predictor(rows)

    def encode_response(self, values):
        return {"predictions": values.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Trees(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
