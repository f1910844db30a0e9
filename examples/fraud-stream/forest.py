"""Evaluates XGBoost's model.json for binary classification in plain Python.

The demo uses it to know what each revision would have said of every payment, so that it can count
money. It is slow and close to the library, not bit for bit: sums are in double precision. The
server never sees it.
"""

import json
import math
import struct


class Forest:
    """The trees of one file."""

    def __init__(self, path):
        learner = json.loads(path.read_text())["learner"]
        self.names = learner["feature_names"]
        base = float(learner["learner_model_param"]["base_score"].strip("[]"))
        self.base = math.log(base / (1.0 - base))
        self.trees = [nested(tree) for tree in learner["gradient_booster"]["model"]["trees"]]

    def score(self, features):
        """The probability of fraud; None among the features is a missing value."""
        row = [single(features[name]) for name in self.names]
        margin = self.base
        for node in self.trees:
            while type(node) is tuple:
                feature, threshold, default_left, left, right = node
                value = row[feature]
                if value is None:
                    node = left if default_left else right
                else:
                    node = left if value < threshold else right
            margin += node
        return 1.0 / (1.0 + math.exp(-margin))


def nested(tree, node=0):
    """A tree as (feature, threshold, default left, left, right), a leaf as its value."""
    left, right = tree["left_children"][node], tree["right_children"][node]
    threshold = single(tree["split_conditions"][node])
    if left == -1:
        return threshold
    return (
        tree["split_indices"][node],
        threshold,
        bool(tree["default_left"][node]),
        nested(tree, left),
        nested(tree, right),
    )


def single(value):
    """The nearest number of 32 bits, which is what the library compares."""
    return None if value is None else struct.unpack("f", struct.pack("f", value))[0]
