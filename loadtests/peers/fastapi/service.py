"""FastAPI: the handler that one writes by hand, without a model of the request to validate."""

import numpy as np
import orjson
import predictor
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)
predict = predictor.load()


@app.post("/predict")
async def answer(request: Request):
    rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float32)
    document = {"predictions": predict(rows).tolist()}
    return Response(orjson.dumps(document), media_type="application/json")
