"""Ray Serve: a cluster of one node, one HTTP proxy and one replica, no dashboard, no access log."""

import signal
import sys
import tempfile

import numpy as np
import orjson
import predictor
import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Trees:
    def __init__(self):
        self.predictor = predictor.load()

    async def __call__(self, request: Request):
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float32)
        document = {"predictions": self.predictor(rows).tolist()}
        return Response(orjson.dumps(document), media_type="application/json")


if __name__ == "__main__":
    # Short: paths of Unix sockets are in it.
    place = tempfile.TemporaryDirectory(prefix="ray-")
    ray.init(
        num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, _temp_dir=place.name
    )
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=quiet)
    serve.run(Trees.bind(), route_prefix="/predict", logging_config=quiet)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
    place.cleanup()
