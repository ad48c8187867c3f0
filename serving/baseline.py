"""The untrained post-processor, version 1: a logistic function of the features, weights by hand.

``python -m serving.baseline`` makes its files in the model repository again, the same to the byte.

It keeps the interface of the trained filter that will replace it, so that clients, servers and
records are the final ones. Its probability ranks; it is calibrated on nothing, and the packaged
policies drop nothing by it. It does not look at the crops.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
from numpy.typing import NDArray

from serving.contracts import FEATURES, POSTPROCESSOR
from serving.geometry import LABELS, Label
from serving.graphs import HEADER, IR_VERSION, stamp

VERSION = 1

WEIGHTS: dict[Label, dict[str, float]] = {
    "face": {
        # The detector's own odds, unchanged: the feature is a tenth of the logit.
        "score_logit": 10.0,
        # A second detector that sees nothing there (0) halves the odds; one that is sure (1) has
        # them quadruple or so. Not asked: no change.
        "secondary_1": 2.0,
        "secondary_1_known": -0.7,
        "secondary_2": 2.0,
        "secondary_2_known": -0.7,
        # Landmarks out of order speak against a face, plausible ones hardly for it.
        "landmarks": 1.0,
        "landmarks_known": -0.9,
        # Colour speaks softly: masks, night and tinted lamps are common on streets. Brightness has
        # no weight at all, so that dark skin cannot lower a score.
        "face_colour": 1.0,
        # Walls, sky and asphalt have few grey levels; a face has many.
        "entropy": 2.0,
        "support_other_pass": 0.5,
    },
    "plate": {
        "score_logit": 10.0,
        "secondary_1": 2.0,
        "secondary_1_known": -0.7,
        "secondary_2": 2.0,
        "secondary_2_known": -0.7,
        "landmarks": 1.0,
        "landmarks_known": -0.9,
        # A plate is wider than high, and carries sharp characters.
        "log_aspect": 4.0,
        "sharpness": 4.0,
        # Plates hang on vehicles; one without is not ruled out.
        "vehicle_overlap": 1.5,
        "vehicle_known": -0.7,
        "support_other_pass": 0.5,
    },
}
"""Added up per class. None is negative but those of ``..._known``, which only set the middle of
their companion, so the probability never falls when the detector's score rises."""

BIAS: dict[Label, float] = {"face": -2.0, "plate": -1.0}
"""Takes back what an average candidate gains: its probability is then near its score."""

_GRAPH = """
baseline (uint8[N,{crop},{crop},1] crops, float[N,{count}] features) => (float[N] probability)
    <float[{count},{labels}] weights, float[{labels}] bias, int64[{labels}] label_columns>
{{
    weighted = MatMul(features, weights)
    logits = Add(weighted, bias)
    labels = Gather<axis = 1>(features, label_columns)
    chosen = Mul(logits, labels)
    last = Constant<value_ints = [1]>()
    logit = ReduceSum<keepdims = 0>(chosen, last)
    probability = Sigmoid(logit)
}}
"""


def build_baseline() -> onnx.ModelProto:
    """The graph, which keeps the contract ``postprocessor``.

    ``crops`` is a real input: the fingerprint's batch is counted on it.
    """
    crop = POSTPROCESSOR.inputs[0].shape[1]
    text = _GRAPH.format(crop=crop, count=len(FEATURES), labels=len(LABELS))
    model = onnx.parser.parse_model(HEADER + text)
    weights = np.zeros((len(FEATURES), len(LABELS)), np.float32)
    for column, label in enumerate(LABELS):
        for name, value in WEIGHTS[label].items():
            weights[FEATURES.index(name), column] = value
    values: dict[str, NDArray[np.generic]] = {
        "weights": weights,
        "bias": np.array([BIAS[label] for label in LABELS], np.float32),
        "label_columns": np.array([FEATURES.index(f"is_{label}") for label in LABELS], np.int64),
    }
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in values.items()
    )
    model.ir_version = IR_VERSION
    model.graph.name = POSTPROCESSOR.name
    model.producer_name = "streetblur"
    return stamp(model, POSTPROCESSOR)


def recipe_digest() -> str:
    """SHA-256 of all that goes into the graph: features in order, weights, bias, graph text."""
    recipe = {"features": FEATURES, "weights": WEIGHTS, "bias": BIAS, "graph": _GRAPH}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Make the files again, whatever lies there."""
    from serving.registry import build_model, find_repository
    from serving.sources import BASELINE

    built = build_model(BASELINE, find_repository())
    print(f"{built.path}: sha256 {built.record.sha256}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
