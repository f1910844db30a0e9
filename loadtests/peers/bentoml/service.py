"""BentoML: one worker; the API is asynchronous, so that a request is not handed to a thread."""

import bentoml
import numpy as np
import predictor


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Model:
    def __init__(self):
        self.predictor = predictor.load()

    @bentoml.api(route="/predict")
    async def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.predictor(instances.astype(np.float32, copy=False))
