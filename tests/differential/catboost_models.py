"""Random CatBoost models without categorical features, saved as its JSON."""

import json
import tempfile
from pathlib import Path

import catboost
import numpy as np
from draw import Table, asked, flip, pick

# Loss function: labels, prediction type, how many ulp its exponential may be away from ours.
LOSSES = {
    "RMSE": ("any", None, 0),
    "MAE": ("any", None, 0),
    "Quantile:alpha=0.3": ("any", None, 0),
    "Logloss": ("binary", "Probability", 0),
    "CrossEntropy": ("unit", "Probability", 0),
    "MultiClass": ("classes", "Probability", 32),
    "MultiClassOneVsAll": ("classes", "Probability", 0),
    "MultiRMSE": ("several", None, 0),
    "Poisson": ("count", "Exponent", 16),
    "Tweedie:variance_power=1.4": ("count", "Exponent", 16),
}


def case(rng, turn):
    table = Table(rng, False)
    loss = list(LOSSES)[turn % len(LOSSES)]
    made, kind, ulps = LOSSES[loss]
    positive = np.exp(np.clip(table.target / 2, -4, 4))
    labels = {
        "any": table.target,
        "binary": (table.target > np.median(table.target)) * 1,
        "unit": 1 / (1 + np.exp(-table.target)),
        "classes": table.classes(3).astype(int),
        "several": np.column_stack([table.target, positive]),
        "count": np.floor(positive * 2),
    }[made]
    params = {
        "loss_function": loss,
        "iterations": int(rng.integers(1, 12)),
        "depth": int(rng.integers(1, 9)),
        "random_seed": int(rng.integers(1 << 30)),
        "border_count": int(pick(rng, [3, 32, 254])),
        "learning_rate": pick(rng, [0.03, 0.3, 1.0]),
        "nan_mode": pick(rng, ["Min", "Max"]),
        "thread_count": 1,
        "verbose": 0,
        "allow_writing_files": False,
    }
    if flip(rng, 0.3):
        params["grow_policy"] = pick(rng, ["Lossguide", "Depthwise"])
        params["min_data_in_leaf"] = 3
    booster = catboost.CatBoost(params).fit(table.rows, labels, sample_weight=table.weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.json")
        booster.save_model(str(path), format="json")
        described = json.loads(path.read_text())["features_info"]["float_features"]
    found = [feature["borders"] for feature in described]
    rows = asked(rng, table, found, single=flip(rng), infinite=True)
    raw = booster.predict(rows, prediction_type="RawFormulaVal", thread_count=1)
    predict = raw if kind is None else booster.predict(rows, prediction_type=kind, thread_count=1)
    if kind == "Probability" and np.asarray(raw).ndim == 1:
        predict = predict[:, 1]
    return {
        "name": f"cat-{loss.split(':')[0].lower()}",
        "library": f"catboost {catboost.__version__}",
        "file": "catboost.json",
        "save": lambda path: booster.save_model(path, format="json"),
        "rows": rows,
        "predict": predict,
        "raw": raw,
        "predict_ulps": ulps,
    }
