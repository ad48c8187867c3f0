"""Do verdicts from candidates agree with those on pictures that were really redacted?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.fairness.judged import judge_boxes
from evaluation.fairness.scenes import Scene, Stage
from evaluation.sweep import judge_setting
from pipeline.decode import decode_upright
from pipeline.images import ImageLimits, inspect_image
from pipeline.policy import PrivacyPolicy
from serving.detectors import DetectorSet


@dataclass(frozen=True, slots=True)
class Check:
    """Faces judged both ways.

    Attributes:
        scenes: how many were redacted.
        faces: in them.
        both: obscured by either judgement.
        only_candidates: the candidates say so, the output picture does not.
        only_output: the reverse.
    """

    scenes: int
    faces: int
    both: int
    only_candidates: int
    only_output: int

    @property
    def agreement(self) -> float:
        """Share of faces on which both say the same, 0..1."""
        return 1 - (self.only_candidates + self.only_output) / self.faces if self.faces else 1.0


def check_redaction(
    stage: Stage, scenes: Sequence[Scene], policy: PrivacyPolicy, detectors: DetectorSet
) -> Check:
    """Redact ``scenes`` as the product does, with faces and plates, and judge the output files."""
    both = only_candidates = only_output = faces = 0
    with tempfile.TemporaryDirectory(prefix="streetblur-fairness-") as folder:
        for number, scene in enumerate(scenes):
            labels = stage.labels(scene, f"{number}.jpg")
            data = stage.jpeg(scene)
            path = Path(folder) / labels.image
            path.write_bytes(data)
            pixels = decode_upright(data, inspect_image(data, ImageLimits()))
            candidates = detectors.detect(pixels).candidates
            (seen,) = judge_setting(policy, [(labels, candidates)], Path(folder))
            boxes = [item.box for item in labels.boxes]
            told = judge_boxes(boxes, candidates, policy, labels.width, labels.height)
            for one, obscured in zip(seen.boxes, told.obscured.tolist(), strict=True):
                faces += 1
                both += one.obscured and obscured
                only_candidates += obscured and not one.obscured
                only_output += one.obscured and not obscured
            path.unlink()
    return Check(len(scenes), faces, both, only_candidates, only_output)
