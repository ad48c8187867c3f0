"""Made-up figures on fairness and scenes, and what those on fairness are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evaluation.fairness.crops import FaceCrop
from evaluation.fairness.report import FairnessReport, about_run, make_report
from evaluation.fairness.scenes import CONDITIONS
from evaluation.fairness.trial import Trial
from evaluation.origin import Origin
from evaluation.scenes.figures import (
    Estimate,
    FromDay,
    SceneAbout,
    SceneFigures,
    SceneRecall,
    Touched,
)
from pipeline.policy import load_policy

NASTY = "<script>alert('$x^2$')</script>&amp;"
ORIGIN = Origin("d1", "p1", "face_detector=1:f1,plate_detector=1:f2", "onnxruntime f32")


def crop(colour: tuple[int, int, int] = (190, 140, 110), side: int = 200) -> FaceCrop:
    return FaceCrop.of("a.jpg", np.full((side, side, 3), colour, np.uint8), {"ethnicity": "a"})


def trial_of(people: int, weak: Sequence[int]) -> Trial:
    """Faces of two sizes at ten places each; those of ``weak`` are missed at half of them at 16."""
    shape = (len(CONDITIONS), 20, people)
    critical = np.full(shape, 0.6)
    critical[:, :5, list(weak)] = 0.12
    sizes = np.array([16] * 10 + [48] * 10)
    return Trial(sizes, CONDITIONS, critical >= 0.2, critical, critical)


def people(count: int) -> list[FaceCrop]:
    return [
        replace(
            crop(),
            groups={
                "ethnicity": "ab"[number % 2],
                "gender": "mf"[number // 2 % 2],
                "age": "18-29",
                "skin tone": "tan",
            },
            luminance=0.2 + 0.01 * (number // 2 % 5),
        )
        for number in range(count)
    ]


def fairness(origin: Origin = ORIGIN) -> FairnessReport:
    """Sixty people; every other one is missed at half of the places at 16 px."""
    trial = replace(trial_of(60, range(1, 59, 2)), origin=origin)
    crops = people(60)
    policy = load_policy("default")
    about = about_run(trial, 60, ["street"], policy, f"fairness {NASTY}")
    return make_report(trial, crops, about, policy)


def scene_figures(origin: Origin = ORIGIN) -> SceneFigures:
    """Faces of two sizes by day and at night, the small ones of too few scenes for an interval."""
    about = SceneAbout(NASTY, f"scenes {NASTY}", "2026-11-22", "m", {}, origin, 6, 12)
    shares = {("day", ">=12 px"): 0.9, ("day", "12-16 px"): 0.8, ("night", ">=12 px"): 0.7}
    return SceneFigures(
        about,
        tuple(
            SceneRecall(
                "face",
                variation,
                size,
                40,
                Estimate(share, None if size == "12-16 px" else (share - 0.1, share + 0.05)),
            )
            for (variation, size), share in shares.items()
        ),
        (FromDay("face", "night", Estimate(-0.2, (-0.3, -0.1))),),
        (Touched("all", "day", 3, 9), Touched(NASTY, "day", 3, 9)),
    )
