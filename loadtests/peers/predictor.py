"""The model behind those peers that take a Python function: the original library, one thread."""

import os
import pathlib

MODEL = "HEDGEROW_BENCH_MODEL"


def load(path=None):
    """A function from rows (f32, [rows, features]) to probabilities ([rows])."""
    path = pathlib.Path(path or os.environ[MODEL])
    if path.suffix == ".json":
        import xgboost

        booster = xgboost.Booster(model_file=path)
        booster.set_param({"nthread": 1})
        # Without the DMatrix that `predict` wants: the library's fastest way from Python.
        return booster.inplace_predict

    import lightgbm

    booster = lightgbm.Booster(model_file=path)
    return lambda rows: booster.predict(rows, num_threads=1)
