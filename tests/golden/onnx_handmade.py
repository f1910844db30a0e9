"""Tiny hand-made ONNX graphs: node modes, aggregates, post transforms and odd inputs."""

from common import output

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import golden

OUT = output("onnxruntime", onnxruntime.__version__)
ML = "ai.onnx.ml"
NAMES = ["a", "b", "c"]


class Trees:
    """Random full trees of depth 3 over three features, as parallel node lists."""

    def __init__(self, count=4, *, modes=("BRANCH_LEQ",), targets=1, seed=4, tracks=False):
        rng = np.random.default_rng(seed)
        self.nodes = {
            key: []
            for key in (
                "treeids",
                "nodeids",
                "featureids",
                "values",
                "modes",
                "truenodeids",
                "falsenodeids",
            )
        }
        self.tracks, self.leaves = [], []
        for tree in range(count):
            for node in range(15):
                leaf = node >= 7
                values = {
                    "treeids": tree,
                    "nodeids": node,
                    "featureids": 0 if leaf else int(rng.integers(3)),
                    "values": 0.0 if leaf else float(rng.choice([-1.5, -0.25, 0.0, 0.3, 1.0, 2.0])),
                    "modes": "LEAF" if leaf else str(rng.choice(modes)),
                    "truenodeids": 0 if leaf else 2 * node + 1,
                    "falsenodeids": 0 if leaf else 2 * node + 2,
                }
                for key, value in values.items():
                    self.nodes[key].append(value)
                self.tracks.append(int(tracks and not leaf and rng.random() < 0.5))
                if leaf:
                    for target in range(targets):
                        self.leaves.append((tree, node, target, float(np.float32(rng.normal()))))
        self.with_tracks = tracks

    def attributes(self, prefix):
        """Everything but the weights' own name: target_ or class_."""
        made = {f"nodes_{key}": values for key, values in self.nodes.items()}
        if self.with_tracks:
            made["nodes_missing_value_tracks_true"] = self.tracks
        for index, key in enumerate(("treeids", "nodeids", "ids", "weights")):
            made[f"{prefix}_{key}"] = [leaf[index] for leaf in self.leaves]
        return made


def rows_for(nodes, seed, infinite=True, missing=True):
    """Rows whose columns sit on, beside and far from the split values."""
    real = np.random.default_rng(seed).normal(size=(12, 3)) * 1.5
    splits = [
        sorted(
            {
                v
                for f, v, m in zip(nodes["featureids"], nodes["values"], nodes["modes"])
                if f == feature and m != "LEAF"
            }
            | {0.3}
        )
        for feature in range(3)
    ]
    splits = [[float(np.float32(v)) for v in values] for values in splits]
    return golden.edge_rows(real, splits, seed=seed, infinite=infinite, missing=missing)


def save(case, nodes, sources, outputs, rows, feeds, *, opset=3, tolerance=1e-5, **fields):
    """Writes the graph and what ONNX Runtime answers."""
    graph = helper.make_graph(
        nodes,
        case,
        [helper.make_tensor_value_info(*entry) for entry in sources],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(ML, opset), helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    (OUT.case(case) / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    answers = golden.onnx_outputs(model, feeds)
    numbers = [
        abs(v) for made in answers.values() for row in made for v in row if isinstance(v, float)
    ]
    tolerance *= max([1.0] + [v for v in numbers if np.isfinite(v)])
    OUT.record(case, tolerance=tolerance, columns=NAMES, rows=rows, outputs=answers, **fields)


def regressor(case, trees, *, post="NONE", aggregate="SUM", targets=1, rows=None, **attributes):
    if not OUT.wants(case):
        return
    made = {**trees.attributes("target"), **attributes}
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["input"],
        ["variable"],
        domain=ML,
        n_targets=targets,
        post_transform=post,
        aggregate_function=aggregate,
        **made,
    )
    rows = rows_for(trees.nodes, len(case)) if rows is None else rows
    save(
        case,
        [node],
        [("input", TensorProto.FLOAT, [None, 3])],
        [("variable", TensorProto.FLOAT)],
        rows,
        {"input": rows.astype(np.float32)},
    )


def modes():
    for mode in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"):
        name = f"onnx-mode-{mode.lower()}"
        regressor(name, Trees(modes=[f"BRANCH_{mode}"]))
        regressor(f"{name}-tracks", Trees(modes=[f"BRANCH_{mode}"], tracks=True))
    every = [f"BRANCH_{mode}" for mode in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")]
    regressor("onnx-mode-mixed", Trees(modes=every, tracks=True))


def transforms():
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        case = f"onnx-aggregate-{aggregate.lower()}"
        regressor(case, Trees(), aggregate=aggregate, base_values=[0.5])
        regressor(
            f"{case}-3",
            Trees(targets=3),
            aggregate=aggregate,
            targets=3,
            base_values=[0.5, -1.0, 2.0],
        )
    regressor("onnx-targets-3", Trees(targets=3), targets=3)
    for post in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        case = f"onnx-post-{post.lower().replace('_', '-')}"
        regressor(case, Trees(), post=post)
        regressor(f"{case}-3", Trees(targets=3), post=post, targets=3, base_values=[0.1, 0.0, -0.2])
    regressor("onnx-post-probit", probabilities(Trees()), post="PROBIT")


def probabilities(trees):
    """Leaves whose sum is between 0 and 1, as PROBIT needs."""
    trees.leaves = [
        (tree, node, target, float(np.float32(0.02 + 0.2 / (1 + np.exp(-value)))))
        for tree, node, target, value in trees.leaves
    ]
    return trees


def classifiers():
    """One weight column for two classes, three classes, text labels, every post transform."""
    for post in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        tag = post.lower().replace("_", "-")
        classifier(f"onnx-binary-{tag}", Trees(), post, classlabels_int64s=[0, 1])
        names = ["red", "green", "blue"]
        classifier(f"onnx-three-{tag}", Trees(targets=3), post, classlabels_strings=names)
    # Of one column under PROBIT, ONNX Runtime leaves the second class unwritten: three only.
    three = probabilities(Trees(targets=3))
    classifier("onnx-three-probit", three, "PROBIT", classlabels_int64s=[0, 1, 2])
    classifier(
        "onnx-binary-base", Trees(), "LOGISTIC", classlabels_int64s=[0, 1], base_values=[0.4]
    )
    classifier(
        "onnx-binary-base-2",
        Trees(targets=2),
        "SOFTMAX",
        classlabels_int64s=[3, 7],
        base_values=[0.4, -0.1],
    )
    classifier("onnx-binary-two-columns", Trees(targets=2), "NONE", classlabels_int64s=[0, 1])
    positive = probabilities(Trees())
    classifier("onnx-binary-positive-weights", positive, "NONE", classlabels_int64s=[0, 1])
    classifier("onnx-binary-text", Trees(), "LOGISTIC", classlabels_strings=["no", "yes"])


def classifier(case, trees, post, **attributes):
    if not OUT.wants(case):
        return
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["input"],
        ["label", "probabilities"],
        domain=ML,
        post_transform=post,
        **trees.attributes("class"),
        **attributes,
    )
    label = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64
    rows = rows_for(trees.nodes, len(case))
    save(
        case,
        [node],
        [("input", TensorProto.FLOAT, [None, 3])],
        [("label", label), ("probabilities", TensorProto.FLOAT)],
        rows,
        {"input": rows.astype(np.float32)},
    )


def doubles():
    """Weights and splits as double tensors, on a double input."""
    case = "onnx-double"
    if not OUT.wants(case):
        return
    trees = Trees()
    made = trees.attributes("target")
    splits, weights = made.pop("nodes_values"), made.pop("target_weights")
    splits = [value + 1e-12 if value else value for value in splits]
    made["nodes_values_as_tensor"] = helper.make_tensor(
        "splits", TensorProto.DOUBLE, [len(splits)], splits
    )
    made["target_weights_as_tensor"] = helper.make_tensor(
        "weights", TensorProto.DOUBLE, [len(weights)], [w + 1e-10 for w in weights]
    )
    made["base_values_as_tensor"] = helper.make_tensor("base", TensorProto.DOUBLE, [1], [0.125])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["variable"], domain=ML, n_targets=1, **made
    )
    rows = rows_for(trees.nodes, 5)
    for row in range(11, 17):
        rows[row] += rows[row] * 0 + (1e-12 if row % 2 else 0)
    # The operator computes in double and answers in float32.
    save(
        case,
        [node],
        [("input", TensorProto.DOUBLE, [None, 3])],
        [("variable", TensorProto.FLOAT)],
        rows,
        {"input": rows},
    )


def other_inputs():
    trees = Trees()
    made = trees.attributes("target")
    ensemble = lambda source: helper.make_node(
        "TreeEnsembleRegressor", [source], ["variable"], domain=ML, n_targets=1, **made
    )
    rows = rows_for(trees.nodes, 6)
    single = rows.astype(np.float32)
    variable = [("variable", TensorProto.FLOAT)]
    if OUT.wants("onnx-scaled"):
        scaler = helper.make_node(
            "Scaler",
            ["input"],
            ["scaled"],
            domain=ML,
            offset=[0.1, -0.2, 0.0],
            scale=[2.0, 0.5, 1.0],
        )
        save(
            "onnx-scaled",
            [scaler, ensemble("scaled")],
            [("input", TensorProto.FLOAT, [None, 3])],
            variable,
            rows,
            {"input": single},
            engine="onnx",
        )
    if OUT.wants("onnx-two-inputs"):
        joined = helper.make_node("Concat", ["left", "right"], ["both"], axis=1)
        sources = [("left", TensorProto.FLOAT, [None, 2]), ("right", TensorProto.FLOAT, [None, 1])]
        save(
            "onnx-two-inputs",
            [joined, ensemble("both")],
            sources,
            variable,
            rows,
            {"left": single[:, :2], "right": single[:, 2:]},
            engine="onnx",
            inputs=[
                {"name": "left", "type": "float32", "columns": ["a", "b"]},
                {"name": "right", "type": "float32", "columns": ["c"]},
            ],
        )
    whole = np.clip(np.round(np.nan_to_num(rows[:20])), -5, 5).astype(np.int64)
    if OUT.wants("onnx-int64"):
        # ONNX Runtime takes integers for the classifier alone.
        node = helper.make_node(
            "TreeEnsembleClassifier",
            ["input"],
            ["label", "probabilities"],
            domain=ML,
            post_transform="LOGISTIC",
            classlabels_int64s=[0, 1],
            **trees.attributes("class"),
        )
        save(
            "onnx-int64",
            [node],
            [("input", TensorProto.INT64, [None, 3])],
            [("label", TensorProto.INT64), ("probabilities", TensorProto.FLOAT)],
            whole,
            {"input": whole},
            inputs=[{"name": "input", "type": "int64", "columns": NAMES}],
        )
    if OUT.wants("onnx-int64-cast"):
        cast = helper.make_node("Cast", ["input"], ["cast"], to=TensorProto.FLOAT)
        save(
            "onnx-int64-cast",
            [cast, ensemble("cast")],
            [("input", TensorProto.INT64, [None, 3])],
            variable,
            whole,
            {"input": whole},
            engine="onnx",
            inputs=[{"name": "input", "type": "int64", "columns": NAMES}],
        )


def tree_ensemble_5():
    """The one operator that replaces both from ai.onnx.ml 5 on."""
    case = "onnx-tree-ensemble-5"
    if not OUT.wants(case):
        return
    trees = Trees(2)
    nodes = trees.nodes
    inner = [i for i, mode in enumerate(nodes["modes"]) if mode != "LEAF"]
    place = {index: at for at, index in enumerate(inner)}
    leaves = {(tree, node): (at, value) for at, (tree, node, _, value) in enumerate(trees.leaves)}

    def child(index, key):
        tree, node = nodes["treeids"][index], nodes[key][index]
        leaf = leaves.get((tree, node))
        return (leaf[0], 1) if leaf else (place[tree * 15 + node], 0)

    true = [child(i, "truenodeids") for i in inner]
    false = [child(i, "falsenodeids") for i in inner]
    split = helper.make_tensor(
        "splits", TensorProto.FLOAT, [len(inner)], [nodes["values"][i] for i in inner]
    )
    mode = helper.make_tensor("modes", TensorProto.UINT8, [len(inner)], [0] * len(inner))
    weight = helper.make_tensor(
        "weights", TensorProto.FLOAT, [len(trees.leaves)], [leaf[3] for leaf in trees.leaves]
    )
    node = helper.make_node(
        "TreeEnsemble",
        ["input"],
        ["variable"],
        domain=ML,
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=[place[0], place[15]],
        nodes_featureids=[nodes["featureids"][i] for i in inner],
        nodes_splits=split,
        nodes_modes=mode,
        nodes_truenodeids=[c[0] for c in true],
        nodes_trueleafs=[c[1] for c in true],
        nodes_falsenodeids=[c[0] for c in false],
        nodes_falseleafs=[c[1] for c in false],
        leaf_targetids=[0] * len(trees.leaves),
        leaf_weights=weight,
    )
    rows = rows_for(nodes, 7)
    save(
        case,
        [node],
        [("input", TensorProto.FLOAT, [None, 3])],
        [("variable", TensorProto.FLOAT)],
        rows,
        {"input": rows.astype(np.float32)},
        opset=5,
        engine="onnx",
    )


if __name__ == "__main__":
    for make in (modes, transforms, classifiers, doubles, other_inputs, tree_ensemble_5):
        make()
