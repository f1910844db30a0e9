"""Models of unusual size for the tails: grown by repeating the trees of others, or trained small.

Each is a file in target/servers/grown, made once and again when the model it grew from changes.
"""

import json

import numpy as np

import train
from places import OUT

LARGE_BYTES = 100_000_000
HEAVY_TIMES = 10
DEEP_TIMES = 50
WIDE_FEATURES = 1_200
HUNDRED_FEATURES = 100
SEED = 7
NO_CHILD = -1


def large():
    """LightGBM's text of at least LARGE_BYTES: the 1,000 x 63 model's trees again and again."""
    source = train.model_file("lgb-1000x63")
    return made("large.txt", source, lambda: repeat_lightgbm(source.read_text()))


def heavy():
    """XGBoost's JSON with HEAVY_TIMES the trees of the 500 x 8 model: some 5,000."""
    source = train.model_file("xgb-500x8")
    return made("heavy.json", source, lambda: repeat_xgboost(source.read_text(), HEAVY_TIMES))


def deep():
    """As `heavy`, of the 100 x 6 model's trees, which take seconds to train: 5,000."""
    source = train.model_file("xgb-100x6")
    return made("deep.json", source, lambda: repeat_xgboost(source.read_text(), DEEP_TIMES))


def undefined():
    """XGBoost's JSON of the 100 x 6 model whose leaves are NaN, and so all its scores."""
    source = train.model_file("xgb-100x6")
    return made("undefined.json", source, lambda: without_leaves(source.read_text()))


def tiny():
    """LightGBM, 3 trees of 4 leaves on 5 features."""
    return made("tiny.txt", None, lambda: train_small(5, 3, 4))


def wide():
    """LightGBM on WIDE_FEATURES features."""
    return made("wide.txt", None, lambda: train_small(WIDE_FEATURES, 100, 31))


def hundred():
    """LightGBM on HUNDRED_FEATURES features, for large requests."""
    return made("hundred.txt", None, lambda: train_small(HUNDRED_FEATURES, 100, 31))


def made(name, source, text):
    """The path of a file, written if it is not there or older than what it is made of."""
    path = OUT / "grown" / name
    if not path.exists() or (source and path.stat().st_mtime < source.stat().st_mtime):
        print(f"making {name}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text())
    return path


def repeat_lightgbm(text):
    head, trees, tail = split_lightgbm(text)
    times = -(-LARGE_BYTES // sum(map(len, trees)))
    numbered = []
    for _ in range(times):
        for tree in trees:
            _, rest = tree.split("\n", 1)
            numbered.append(f"Tree={len(numbered)}\n{rest}")
    sizes = " ".join(str(len(tree)) for tree in numbered)
    lines = [f"tree_sizes={sizes}" if "tree_sizes=" in line else line for line in head.split("\n")]
    return "\n".join(lines) + "".join(numbered) + tail


def split_lightgbm(text):
    """The header, the blocks of trees, and what follows from `end of trees` on."""
    head, rest = text.split("Tree=0\n", 1)
    body, end, tail = rest.partition("end of trees")
    blocks = f"Tree=0\n{body}".split("Tree=")[1:]
    return head, [f"Tree={block}" for block in blocks], end + tail


def repeat_xgboost(text, times):
    document = json.loads(text)
    model = document["learner"]["gradient_booster"]["model"]
    trees = model["trees"] * times
    # The same tree stands several times in the list, so each is written out with its own number.
    model["trees"] = [{**tree, "id": number} for number, tree in enumerate(trees)]
    model["tree_info"] = [0] * len(trees)
    model["iteration_indptr"] = list(range(len(trees) + 1))
    model["gbtree_model_param"]["num_trees"] = str(len(trees))
    return json.dumps(document, separators=(",", ":"))


def without_leaves(text):
    document = json.loads(text)
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        for node, child in enumerate(tree["left_children"]):
            if child == NO_CHILD:
                tree["split_conditions"][node] = tree["base_weights"][node] = float("nan")
    # As XGBoost writes it: NaN stands bare.
    return json.dumps(document, separators=(",", ":"))


def train_small(features, trees, leaves):
    import lightgbm

    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(4_000, features))
    labels = (rows[:, :5].sum(axis=1) + rng.normal(size=len(rows)) > 0).astype(float)
    parameters = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(rows, labels), trees).model_to_string()
