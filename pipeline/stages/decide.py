"""Decide: the policy applied to candidates; pure, every decision with its reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from pipeline.errors import ImageRefused
from pipeline.policy import PrivacyPolicy
from pipeline.records import Decision, NamedBox
from pipeline.stages.envelope import Envelope
from serving.geometry import Candidate


class Decide:
    """Turns candidates, overrides and earlier boxes into decisions.

    Args:
        policy: the rules.
        past: by digest, the policies that items name in ``past``: what they would have blurred is
            blurred too, since a run that was cut off may have done so.
    """

    def __init__(
        self, policy: PrivacyPolicy, past: Mapping[str, PrivacyPolicy] | None = None
    ) -> None:
        self._policy = policy
        self._past = past or {}

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``decisions``, also to the shadows.

        Raises:
            ImageRefused: there was no good detection pass (fail closed; never reached in order).
        """
        if envelope.candidates is None or envelope.info is None:
            raise ImageRefused(
                "not_detected", "no detection pass was made", where=envelope.item.key
            )
        width, height = envelope.info.upright_size
        decisions = decide(envelope.candidates, self._policy, width, height)
        priors = [*envelope.item.priors]
        for digest in envelope.item.past:
            earlier = decide(envelope.candidates, self._past[digest], width, height)
            priors += [NamedBox(d.label, d.x1, d.y1, d.x2, d.y2) for d in earlier if d.kept]
        seen = {(d.label, d.x1, d.y1, d.x2, d.y2) for d in decisions if d.kept}
        for boxes, source, reason in (
            (envelope.item.overrides, "override", "override"),
            (priors, "prior", "blurred_before"),
        ):
            for decision in forced(boxes, source, reason, width, height):
                where = (decision.label, decision.x1, decision.y1, decision.x2, decision.y2)
                if where not in seen:
                    seen.add(where)
                    decisions.append(decision)
        shadows = tuple(
            dataclasses.replace(
                shadow,
                candidates=(),
                decisions=tuple(decide(shadow.candidates, self._policy, width, height)),
            )
            for shadow in envelope.shadows
        )
        return dataclasses.replace(envelope, decisions=tuple(decisions), shadows=shadows)


def decide(
    candidates: Iterable[Candidate], policy: PrivacyPolicy, width: int, height: int
) -> list[Decision]:
    """One decision a candidate; boxes are rounded outwards and cut to the image.

    Args:
        candidates: scored boxes in pixels of the upright image.
        policy: thresholds and sizes.
        width, height: upright size in pixels.
    """
    decisions = []
    for candidate in candidates:
        rules = policy.for_label(candidate.label)
        x1, x2 = _cover(candidate.box.x1, candidate.box.x2, width)
        y1, y2 = _cover(candidate.box.y1, candidate.box.y2, height)
        threshold = rules.threshold_at(y2 - y1)
        kept, reason = True, "above_threshold"
        if candidate.score < threshold:
            kept, reason = False, "below_threshold"
        elif candidate.probability < rules.min_probability:
            kept, reason = False, "below_probability"
        elif y2 - y1 < rules.min_height_px:
            kept, reason = rules.blur_below_minimum, "below_minimum"
        decisions.append(
            Decision(
                label=candidate.label,
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
                score=candidate.score,
                probability=candidate.probability,
                source=candidate.source,
                kept=kept,
                reason=reason,
                threshold=threshold,
                features=candidate.features,
            )
        )
    return decisions


def forced(
    boxes: Iterable[NamedBox], source: str, reason: str, width: int, height: int
) -> list[Decision]:
    """Decisions that keep ``boxes`` in any case; a box wholly outside the image is not kept."""
    decisions = []
    for box in boxes:
        x1, x2 = _cover(box.x1, box.x2, width)
        y1, y2 = _cover(box.y1, box.y2, height)
        inside = box.x2 > 0 and box.y2 > 0 and box.x1 < width and box.y1 < height
        decisions.append(
            Decision(
                label=box.label,
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
                score=1.0,
                probability=1.0,
                source=source,
                kept=inside,
                reason=reason if inside else f"{reason}_outside_image",
                threshold=0.0,
            )
        )
    return decisions


def _cover(low: float, high: float, size: int) -> tuple[int, int]:
    """Smallest pixel range of at least one pixel within 0..size that covers low..high."""
    first = min(max(math.floor(low), 0), size - 1)
    last = max(min(math.ceil(high), size), first + 1)
    return first, last
