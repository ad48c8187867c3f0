"""The headline figures as Prometheus gauges, for a node exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from evaluation.summary import SetScore
from evaluation.verdicts import About


def exposition(about: About, scores: Sequence[SetScore]) -> bytes:
    """Recall by set, class and group, and changed pixels by set, in the text format."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"streetblur_evaluation_{name}", text, ["set", *labels], registry=registry)

    recall = gauge("recall_ratio", "Obscured share of labelled boxes.", "label", "group")
    low = gauge("recall_low_ratio", "Lower end of its 95 % interval.", "label", "group")
    high = gauge("recall_high_ratio", "Upper end of its 95 % interval.", "label", "group")
    boxes = gauge("boxes", "Labelled boxes that count.", "label", "group")
    outside = gauge("changed_outside_ratio", "Pixels outside labelled boxes that changed.")
    vain = gauge("changed_in_vain_ratio", "Share of the changed pixels that lie outside.")
    regions = gauge("false_regions_per_image", "Changed areas a picture that touch no box.")
    for score in scores:
        for row in score.recalls:
            names = (score.name, row.label, row.group)
            recall.labels(*names).set(row.recall)
            low.labels(*names).set(row.low)
            high.labels(*names).set(row.high)
            boxes.labels(*names).set(row.boxes)
        outside.labels(score.name).set(score.changed_outside_pooled)
        vain.labels(score.name).set(score.changed_in_vain.value)
        regions.labels(score.name).set(score.false_regions.value)
    info = Gauge(
        "streetblur_evaluation_info",
        "What was evaluated; always 1.",
        ["name", "data", "policy", "models", "runtime"],
        registry=registry,
    )
    info.labels(about.name, about.data, about.policy, about.models, about.runtime).set(1)
    return generate_latest(registry)
