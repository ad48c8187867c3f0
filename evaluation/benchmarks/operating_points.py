"""How far estimates from detections agree with output pictures, and how long they take.

``python -m evaluation.benchmarks.operating_points --verdicts FILE [--data ROOT] [--cache DIR]
[--markdown]``

``FILE`` is the verdicts.json of `streetblur evaluate` over the same labelled pictures, with the
policy named here: what was measured. Estimated: the same thresholds on cached candidates. Output
pictures show false blurs of both classes, so estimates of both are added. Time is CPU of this
process: reading the cache, laying out the candidates, and one setting of both classes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from evaluation.annotations import data_root
from evaluation.candidates import DEFAULT_CACHE, open_cache
from evaluation.labelled_sets import find_sets
from evaluation.markdown import table
from evaluation.operating_points import Thresholds, by_class
from evaluation.summary import COUNTED_FROM_PX, summarise
from evaluation.tune import Pictures, with_candidates
from evaluation.verdicts import Verdicts
from pipeline.policy import DEFAULT_POLICY, PrivacyPolicy, load_policy
from serving.geometry import LABELS

_GROUP = f">={COUNTED_FROM_PX} px"


def rows(
    pictures: dict[str, Pictures], verdicts: Verdicts, policy: PrivacyPolicy
) -> list[list[str]]:
    """Set, class, boxes, obscured measured and estimated, outside measured and estimated."""
    everywhere = {
        name: [(dataclasses.replace(one, labelled_classes=LABELS), found) for one, found in some]
        for name, some in pictures.items()
    }
    outside = dict.fromkeys(pictures, 0.0)
    recalls = {}
    for label in LABELS:
        thresholds = Thresholds.of(policy.for_label(label))
        for name, one in by_class(everywhere, label, policy).items():
            outside[name] += one.at(thresholds).outside_mean
        for name, one in by_class(pictures, label, policy).items():
            recalls[name, label] = one.at(thresholds).point()
    out = []
    for name in pictures:
        score = summarise(name, verdicts.sets[name])
        for label in LABELS:
            row, estimate = score.recall(label, _GROUP), recalls.get((name, label))
            if row is not None and estimate is not None:
                cells = [name, label, str(row.boxes), f"{row.recall:.1%}"]
                cells += [f"{estimate.recall.value:.1%}", f"{score.changed_outside_mean:.2%}"]
                out.append([*cells, f"{outside[name]:.2%}"])
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--policy", default=DEFAULT_POLICY)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    policy = load_policy(given.policy)
    verdicts = Verdicts.read(given.verdicts)
    sets = find_sets(given.data or data_root() / "dev", list(verdicts.sets))
    cached = open_cache(given.cache, policy)
    with_candidates(sets, cached, os.cpu_count() or 1)  # detects what is not cached yet
    spent: list[tuple[float, float, float]] = []
    for _ in range(given.repeats):
        start = time.process_time()
        pictures = with_candidates(sets, open_cache(given.cache, policy), 1)
        read = time.process_time()
        ready = {label: by_class(pictures, label, policy) for label in LABELS}
        laid_out = time.process_time()
        for label, some in ready.items():
            for one in some.values():
                one.at(Thresholds.of(policy.for_label(label)))
        spent.append((read - start, laid_out - read, time.process_time() - laid_out))
    head = ["set", "class", "boxes", "obscured", "estimated", "outside, mean", "estimated"]
    print(table([head, *rows(pictures, verdicts, policy)], texts=2))
    count = sum(len(some) for some in pictures.values())
    read, laid, one = (statistics.median(times) for times in zip(*spent, strict=True))
    print(
        f"\n{count} pictures: reading the cache {read:.2f} s, laying out {laid:.2f} s, a setting "
        f"of both classes {one:.2f} s (CPU, medians of {given.repeats})"
    )


if __name__ == "__main__":
    main()
