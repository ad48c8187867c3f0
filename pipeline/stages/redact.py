"""Redact: kept boxes into the picture, same format out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.encode import RedactedImage, redact_image
from pipeline.errors import ImageRefused
from pipeline.noise import NoiseKey
from pipeline.policy import PrivacyPolicy
from pipeline.records import Decision
from pipeline.redaction import RedactionBox
from pipeline.secret import NoiseSecret
from pipeline.stages.envelope import Envelope
from serving.geometry import Box


@dataclass(frozen=True, slots=True)
class Redaction:
    """A redacted file, with what its check needs.

    Attributes:
        image: the new bytes, their route and notes.
        boxes: what was obscured, in upright pixels.
    """

    image: RedactedImage
    boxes: list[RedactionBox]


def kept_areas(decisions: Iterable[Decision], policy: PrivacyPolicy) -> list[RedactionBox]:
    """What ``policy`` makes of the kept decisions: grown areas in upright pixels."""
    return [
        RedactionBox.around(Box(d.x1, d.y1, d.x2, d.y2), policy.for_label(d.label).style, d.label)
        for d in decisions
        if d.kept
    ]


class Redact:
    """Writes the kept boxes into the source's bytes.

    Args:
        place: where the pictures come from, see :class:`pipeline.noise.NoiseKey`.
    """

    def __init__(self, policy: PrivacyPolicy, secret: NoiseSecret, place: str) -> None:
        self._policy = policy
        self._secret = secret
        self._place = place

    def __call__(self, envelope: Envelope) -> tuple[Envelope, Redaction]:
        """The envelope with the share of pixels in kept boxes, and the redaction.

        Raises:
            ImageRefused: no decision was made, or the picture cannot be coded again.
        """
        if envelope.decisions is None or envelope.data is None or envelope.info is None:
            raise ImageRefused("not_decided", "no decision was made", where=envelope.item.key)
        boxes = kept_areas(envelope.decisions, self._policy)
        image = redact_image(
            envelope.data,
            envelope.info,
            boxes,
            noise=NoiseKey(self._secret.reveal(), envelope.item.key, self._place),
            policy=self._policy,
        )
        area = sum((b.x2 - b.x1) * (b.y2 - b.y1) for b in boxes)
        share = min(area / (envelope.info.width * envelope.info.height), 1.0)
        envelope = dataclasses.replace(
            envelope, obscured_share=share, notes=(*envelope.notes, *image.notes)
        )
        return envelope, Redaction(image, boxes)
