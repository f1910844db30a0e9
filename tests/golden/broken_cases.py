"""Broken model files, and a word or two that the error about each must contain."""

import copy
import json
import struct

from common import output

import numpy as np
import onnx

OUT = output("broken", "files")
FOLDER = OUT.folder / "broken"
EXPECTED = {}


def write(name, content, words):
    data = content if isinstance(content, bytes) else content.encode()
    (FOLDER / name).write_bytes(data)
    EXPECTED[name] = words
    print(f"broken/{name}: {len(data)} bytes, must say: {words}", flush=True)


def xgboost_json():
    good = json.loads((OUT.folder / "xgb-binary/model.json").read_text())

    def broken(name, words, change):
        model = copy.deepcopy(good)
        change(model["learner"], model["learner"]["gradient_booster"]["model"]["trees"][0])
        write(f"{name}.json", json.dumps(model, separators=(",", ":")), words)

    def put(key, index, value):
        def change(_learner, tree):
            tree[key][index] = value

        return change

    def shorter(key):
        return lambda _learner, tree: tree[key].pop()

    write("truncated.json", json.dumps(good)[:4000], "unexpected end")
    write("garbage.json", '{"learner": nonsense}', "json")
    write("deep-nesting.json", "[" * 100_000, "deep")
    write("empty-object.json", "{}", "learner")
    write("not-an-object.json", "[1, 2, 3]", "object")
    broken("child-out-of-range", "child", put("left_children", 0, 999))
    broken("child-negative", "child", put("right_children", 0, -7))
    broken("one-child", "child", put("right_children", 0, -1))
    broken("cycle", "cycle", put("left_children", 1, 0))
    broken("own-child", "cycle", put("left_children", 0, 0))
    broken(
        "shared-child",
        "child",
        lambda _l, t: put("right_children", 0, t["left_children"][0])(_l, t),
    )
    broken("feature-out-of-range", "feature", put("split_indices", 0, 6))
    broken("feature-negative", "feature", put("split_indices", 0, -1))
    broken("short-thresholds", "split_conditions", shorter("split_conditions"))
    broken("short-children", "right_children", shorter("right_children"))
    broken("short-defaults", "default_left", shorter("default_left"))
    broken("text-threshold", "split_conditions", put("split_conditions", 0, "high"))
    broken("text-child", "left_children", put("left_children", 0, "one"))
    broken(
        "no-nodes",
        "tree 0",
        lambda _l, t: t.update({k: [] for k, v in t.items() if isinstance(v, list)}),
    )
    broken("no-children", "left_children", lambda _l, t: t.pop("left_children"))
    broken(
        "unknown-objective",
        "objective",
        lambda learner, _t: learner["objective"].update(name="reg:magic"),
    )
    broken(
        "unknown-booster",
        "booster",
        lambda learner, _t: learner["gradient_booster"].update(name="gbmagic"),
    )
    broken(
        "base-score-text",
        "base_score",
        lambda learner, _t: learner["learner_model_param"].update(base_score="half"),
    )
    broken(
        "class-out-of-range",
        "tree_info",
        lambda learner, _t: learner["gradient_booster"]["model"]["tree_info"].__setitem__(0, 5),
    )
    broken(
        "short-tree-info",
        "tree_info",
        lambda learner, _t: learner["gradient_booster"]["model"]["tree_info"].pop(),
    )
    broken(
        "too-many-names",
        "feature_names",
        lambda learner, _t: learner["feature_names"].append("eta"),
    )
    broken(
        "huge-feature-count",
        "num_feature",
        lambda learner, _t: learner["learner_model_param"].update(
            num_feature="99999999999999999999"
        ),
    )
    categorical(broken)


def categorical(_broken):
    model = json.loads((OUT.folder / "xgb-category-partition/model.json").read_text())
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    tree = next(tree for tree in trees if tree["categories_sizes"])
    tree["categories_sizes"][0] = 10_000
    write("category-size.json", json.dumps(model), "categories")
    tree["categories_sizes"][0] = 1
    tree["categories_segments"][0] = -4
    write("category-segment.json", json.dumps(model), "categories")
    tree["categories_segments"][0] = 0
    tree["categories"][0] = -1
    write("category-negative.json", json.dumps(model), "categor")


def xgboost_ubj():
    good = (OUT.folder / "xgb-binary-ubj/model.ubj").read_bytes()
    half = good[: len(good) // 2]
    huge = struct.pack(">q", 2**60)
    word = b"{L" + struct.pack(">q", 7) + b"learner"
    write("truncated.ubj", half, "unexpected end")
    write("one-byte.ubj", good[:1], "unexpected end")
    write("huge-typed-array.ubj", word + b"[$l#L" + huge, "unexpected end")
    write("huge-null-array.ubj", word + b"[$Z#L" + huge, "length")
    write("huge-string.ubj", word + b"SL" + huge, "unexpected end")
    write("huge-object.ubj", b"{#L" + huge, "unexpected end")
    write("negative-length.ubj", word + b"[$l#L" + struct.pack(">q", -5), "length")
    write("unknown-marker.ubj", word + b"?", "marker")
    write("deep-nesting.ubj", word + b"[" * 100_000, "deep")
    write("not-utf8.ubj", b"{L" + struct.pack(">q", 2) + b"\xff\xfe", "utf-8")
    # The last children array of the first tree claims to be far longer than the file.
    at = good.index(b"left_children") + len(b"left_children")
    assert good[at : at + 5] == b"[$l#L", good[at : at + 5]
    write("long-array.ubj", good[: at + 5] + huge + good[at + 13 :], "unexpected end")


def lightgbm_text():
    good = (OUT.folder / "lgb-binary/model.txt").read_text()

    def edit(name, words, key, change):
        lines = good.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(key + "="))
        values = lines[at].split("=", 1)[1].split(" ")
        lines[at] = key + "=" + " ".join(change(values))
        write(f"{name}.txt", "\n".join(lines) + "\n", words)

    write("truncated.txt", good[: good.index("Tree=1") + 60], "tree 1")
    write("no-header.txt", good[good.index("Tree=0") :], "lightgbm")
    write("prose.txt", "Dear server, please find the model attached.\n", "lightgbm")
    edit("child-out-of-range-lgb", "child", "left_child", lambda v: ["99", *v[1:]])
    edit("leaf-out-of-range", "child", "right_child", lambda v: [*v[:-1], "-99"])
    edit("cycle-lgb", "cycle", "left_child", lambda v: ["0", *v[1:]])
    edit("feature-out-of-range-lgb", "feature", "split_feature", lambda v: ["6", *v[1:]])
    edit("feature-negative-lgb", "feature", "split_feature", lambda v: ["-1", *v[1:]])
    edit("short-threshold", "threshold", "threshold", lambda v: v[:-1])
    edit("nan-threshold", "threshold", "threshold", lambda v: ["nan", *v[1:]])
    edit("text-threshold-lgb", "threshold", "threshold", lambda v: ["high", *v[1:]])
    edit("short-leaf-value", "leaf_value", "leaf_value", lambda v: v[:-1])
    edit("short-decision-type", "decision_type", "decision_type", lambda v: v[:-1])
    edit("huge-leaf-count", "num_leaves", "num_leaves", lambda _v: ["4000000000"])
    edit("zero-leaves", "num_leaves", "num_leaves", lambda _v: ["0"])
    edit(
        "zero-iteration-trees", "num_tree_per_iteration", "num_tree_per_iteration", lambda _v: ["0"]
    )
    edit("unknown-objective-lgb", "objective", "objective", lambda _v: ["magic"])
    text = (OUT.folder / "lgb-category/model.txt").read_text().splitlines()
    at = next(i for i, line in enumerate(text) if line.startswith("cat_boundaries="))
    text[at] = "cat_boundaries=0 500000"
    write("category-boundaries.txt", "\n".join(text) + "\n", "cat_boundaries")


def onnx_graphs():
    good = onnx.load(OUT.folder / "onnx-mode-leq/model.onnx")

    def edit(name, words, attribute, change):
        model = onnx.ModelProto()
        model.CopyFrom(good)
        found = next(a for a in model.graph.node[0].attribute if a.name == attribute)
        change(found)
        write(f"{name}.onnx", model.SerializeToString(deterministic=True), words)

    data = good.SerializeToString(deterministic=True)
    write("truncated.onnx", data[: len(data) // 2], "onnx")
    write("text.onnx", "This is a text file, not a model.\n", "onnx")
    write("no-graph.onnx", onnx.ModelProto(ir_version=8).SerializeToString(), "graph")
    # Field 7 (the graph), length-delimited, claims four gigabytes.
    write("huge-length.onnx", b"\x3a\xff\xff\xff\xff\x0f", "onnx")
    edit(
        "child-out-of-range",
        "nodes_truenodeids",
        "nodes_truenodeids",
        lambda a: a.ints.__setitem__(0, 99),
    )
    edit("cycle", "cycle", "nodes_falsenodeids", lambda a: a.ints.__setitem__(1, 0))
    edit("feature-out-of-range", "feature", "nodes_featureids", lambda a: a.ints.__setitem__(0, 3))
    edit("feature-negative", "feature", "nodes_featureids", lambda a: a.ints.__setitem__(0, -1))
    edit("short-values", "nodes_values", "nodes_values", lambda a: a.floats.pop())
    edit("short-modes", "nodes_modes", "nodes_modes", lambda a: a.strings.pop())
    edit("unknown-mode", "mode", "nodes_modes", lambda a: a.strings.__setitem__(0, b"BRANCH_MAYBE"))
    edit("duplicate-node", "node", "nodes_nodeids", lambda a: a.ints.__setitem__(1, 0))
    edit(
        "weight-without-leaf",
        "target_nodeids",
        "target_nodeids",
        lambda a: a.ints.__setitem__(0, 77),
    )
    edit("target-out-of-range", "target_ids", "target_ids", lambda a: a.ints.__setitem__(0, 4))


def main():
    if OUT.only and "broken" not in OUT.only:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for extension in ("json", "ubj", "txt", "onnx"):
        write(f"empty.{extension}", b"", "empty")
    xgboost_json()
    xgboost_ubj()
    lightgbm_text()
    onnx_graphs()
    text = json.dumps(dict(sorted(EXPECTED.items())), indent=2)
    (FOLDER / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
