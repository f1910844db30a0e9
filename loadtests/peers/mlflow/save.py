"""Saves a model in MLflow's format, in the flavour of its library. Arguments: file, folder."""

import pathlib
import sys

source, folder = map(pathlib.Path, sys.argv[1:])
if source.suffix == ".json":
    import mlflow.xgboost
    import xgboost

    mlflow.xgboost.save_model(xgboost.Booster(model_file=source), folder)
else:
    import lightgbm
    import mlflow.lightgbm

    mlflow.lightgbm.save_model(lightgbm.Booster(model_file=source), folder)
