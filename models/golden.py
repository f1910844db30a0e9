"""Rows that hurt, and the golden.json they are recorded in.

Shared by models/train.py and tests/golden/make.py. Standard library and NumPy
only, so that it also runs beside a library release of many years ago.
"""

import json
import math
from pathlib import Path

import numpy as np

NAN = float("nan")
INF = float("inf")


def to_json(value):
    """The value as strict JSON knows it: missing is null, infinities are strings."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return value


def rows_of(array):
    """A list of lists of doubles from a vector or matrix of predictions."""
    array = np.asarray(array)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    array = array.reshape(array.shape[0], -1)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    return array.tolist()


def write(folder, **fields):
    """Writes folder/golden.json with one row per line, the keys in the order given."""
    out = ["{"]
    for key, value in fields.items():
        if key == "rows":
            text = matrix(value, "  ")
        elif key == "outputs":
            parts = [f"    {json.dumps(k)}: {matrix(v, '    ')}" for k, v in value.items()]
            text = "{\n" + ",\n".join(parts) + "\n  }"
        else:
            text = json.dumps(value, allow_nan=False)
        out.append(f"  {json.dumps(key)}: {text},")
    out[-1] = out[-1].rstrip(",")
    out.append("}\n")
    Path(folder, "golden.json").write_text("\n".join(out))


def matrix(rows, indent):
    lines = [json.dumps([to_json(v) for v in row], allow_nan=False) for row in rows]
    return "[\n" + ",\n".join(f"{indent}  {line}" for line in lines) + f"\n{indent}]"


def edge_rows(real, thresholds, *, seed, single=True, infinite=True, missing=True):
    """Real rows, and rows made from them to sit on every edge a tree can have.

    real: [rows, features] doubles, at least 12 rows. thresholds: a list of split
    values per feature (empty where the model never splits on it). single: the
    library compares in float32, so its neighbours are one float32 step away.
    Columns without thresholds keep real values.
    """
    rng = np.random.default_rng(seed)
    real = np.asarray(real, dtype=np.float64)
    rows = [row.copy() for row in real[:8]]
    rows += [row.astype(np.float32).astype(np.float64) for row in real[8:11]]

    def variant(change):
        row = real[rng.integers(len(real))].copy()
        for feature, splits in enumerate(thresholds):
            if len(splits):
                row[feature] = change(splits[rng.integers(len(splits))])
        return row

    step = step_single if single else np.nextafter
    rows += [variant(lambda t: t) for _ in range(4)]
    rows += [variant(lambda t: step(t, INF)) for _ in range(2)]
    rows += [variant(lambda t: step(t, -INF)) for _ in range(2)]
    # One double step off a float32 threshold rounds back onto the threshold.
    rows.append(variant(lambda t: np.nextafter(t, -INF if rng.random() < 0.5 else INF)))
    rows.append(variant(lambda t: -0.0))
    rows.append(variant(lambda t: rng.choice([0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 2e-35])))
    rows.append(variant(lambda t: rng.choice([1e30, -1e30, 3e38, -3e38])))
    if missing:
        for rate in (0.1, 0.3, 0.6):
            row = real[rng.integers(len(real))].copy()
            row[rng.random(len(row)) < rate] = NAN
            rows.append(row)
        row = variant(lambda t: t)
        row[rng.random(len(row)) < 0.4] = NAN
        rows.append(row)
        rows.append(np.full(real.shape[1], NAN))
    if infinite:
        rows.append(variant(lambda t: INF))
        rows.append(variant(lambda t: -INF))
        rows.append(variant(lambda t: rng.choice([INF, -INF, t, NAN if missing else t])))
    return np.array(rows)


def step_single(value, towards):
    """The next float32 after value, as a double."""
    return float(np.nextafter(np.float32(value), np.float32(towards)))


def xgboost_thresholds(model, features):
    """Numerical split values per feature of a parsed XGBoost JSON model."""
    booster = model["learner"]["gradient_booster"]
    trees = booster.get("model", booster.get("gbtree", {}).get("model"))["trees"]
    found = [set() for _ in range(features)]
    for tree in trees:
        kinds = tree.get("split_type") or [0] * len(tree["left_children"])
        columns = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], kinds)
        for left, feature, value, kind in columns:
            if left != -1 and not kind:
                found[feature].add(float(np.float32(value)))
    return [sorted(values) for values in found]


def lightgbm_thresholds(text, features):
    """Numerical split values per feature of a LightGBM text model."""
    found = [set() for _ in range(features)]
    used, kinds = [], []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "split_feature":
            used = [int(v) for v in value.split()]
        elif key == "threshold":
            values = [float(v) for v in value.split()]
        elif key == "decision_type":
            kinds = [int(v) for v in value.split()]
            for feature, split, kind in zip(used, values, kinds):
                if not kind & 1:
                    found[feature].add(split)
    return [sorted(values) for values in found]


def onnx_thresholds(model, features):
    """Split values per feature of the tree ensembles in an onnx.ModelProto."""
    found = [set() for _ in range(features)]
    for node in model.graph.node:
        attributes = {a.name: a for a in node.attribute}
        if "nodes_featureids" not in attributes:
            continue
        values = list(attributes["nodes_values"].floats) if "nodes_values" in attributes else []
        modes = attributes["nodes_modes"].strings
        for feature, value, mode in zip(attributes["nodes_featureids"].ints, values, modes):
            if mode != b"LEAF":
                found[feature].add(float(value))
    return [sorted(values) for values in found]


def save_onnx(model, path):
    """Saves without what differs from run to run: properties, the order of the operator sets."""
    del model.metadata_props[:]
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    path.write_bytes(model.SerializeToString(deterministic=True))


def without_zipmap(model):
    """A copy of an ONNX model whose ZipMap is gone, its input being the output "probabilities"."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    zipmaps = [node for node in bare.graph.node if node.op_type == "ZipMap"]
    for node in zipmaps:
        kept = [o for o in bare.graph.output if o.name not in node.output]
        del bare.graph.output[:]
        bare.graph.output.extend(kept)
        bare.graph.output.append(
            onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None)
        )
        bare.graph.node.remove(node)
    names = {node.input[0]: node.output[0] for node in zipmaps}
    return bare, names


def onnx_outputs(model, feeds):
    """What ONNX Runtime answers, by the graph's own output names, ZipMap left out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    bare, names = without_zipmap(model)
    session = onnxruntime.InferenceSession(
        bare.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = [output.name for output in session.get_outputs()]
    values = session.run(wanted, feeds)
    return {names.get(name, name): rows_of(value) for name, value in zip(wanted, values)}
