"""Real pictures through Ray and a real S3 server; recall and false blurs from the outputs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evaluation.gate import BASELINE, regressions, told
from evaluation.judge import judge_file
from evaluation.judge_sets import judge_set
from evaluation.labelled_sets import find_sets
from evaluation.summary import SetScore, summarise
from evaluation.verdicts import Verdicts
from pipeline import policy
from pipeline.storage import StorageSettings, open_store
from tests.integration.jobs import data_root, streetblur

DEV = data_root() / "dev"
DEFAULT = Path(policy.__file__).parent / "policies" / "default.yaml"
FACE_FLOOR, PLATE_FLOOR = 0.93, 0.97
FACE_SETS = ("facemask_kaggle", "facemask_ilc2021")
PLATE_SETS = ("openalpr_us", "openalpr_eu")
OUTSIDE = {
    **dict.fromkeys(FACE_SETS, 0.035),
    **dict.fromkeys((*PLATE_SETS, "openalpr_br", "romanian_plates", "kaggle_cars"), 0.01),
}
KNOWN_MISSES = {"kaggle_cars": 0.02}
"""Over its ceiling, a known miss (docs/benchmarks/README.md), and how far it may go."""
SUBSET = {"facemask_kaggle": 1000, "facemask_ilc2021": 1000, "openalpr_us": 1000, "openalpr_eu": 57}

pytestmark = pytest.mark.skipif(
    not DEV.is_dir(), reason=f"no annotated pictures at {DEV} (set STREETBLUR_DATA)"
)


def run_over_s3(server, bucket: str, sources: list[Path], folder: Path) -> Path:
    """Upload ``sources``, run the job bucket to bucket, download the outputs; their folder.

    Every output is decoded as a whole by its check, not a share of them.
    """
    settings = StorageSettings(endpoint_url=server.endpoint_url)
    raw = open_store(f"s3://{bucket}/raw", settings=settings)
    blurred = open_store(f"s3://{bucket}/blurred", settings=settings)

    def upload(path: Path) -> None:
        raw.put(path.relative_to(DEV).as_posix(), path.read_bytes())

    def download(key: str) -> None:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blurred.get(key))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, sources))
    own = folder / "default.yaml"
    own.write_text(DEFAULT.read_text() + "check: {decode_share: 1.0}\n")
    places = (f"s3://{bucket}/raw", f"s3://{bucket}/blurred", "--job", "quality")
    done = streetblur(
        "run",
        *places,
        *("--endpoint-url", server.endpoint_url, "--policy", str(own)),
        *("--log-format", "json"),
        timeout=3600,
    )
    told = done.stdout[-1500:] + done.stderr[-3000:]
    assert done.returncode == 0, told
    summary = json.loads(blurred.get("_streetblur/quality/summary.json"))
    assert summary["published"] == len(sources), told
    keys = [item.key for item in blurred.list(exclude=("_streetblur/",))]
    assert len(keys) == len(sources)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(download, keys))
    return folder


def check_floors(scores: dict[str, SetScore]) -> None:
    """The floors that an output must hold; a known miss ends as an expected failure."""
    missed = []
    for name, score in scores.items():
        label, floor = ("face", FACE_FLOOR) if name in FACE_SETS else ("plate", PLATE_FLOOR)
        if name in FACE_SETS + PLATE_SETS:
            row = score.recall(label, ">=12 px")
            assert row is not None
            assert row.recall >= floor, f"{name}: {row.recall:.3f} of {row.boxes} boxes"
        if name in OUTSIDE:
            outside = max(score.changed_outside_pooled, score.changed_outside_mean)
            if OUTSIDE[name] < outside <= KNOWN_MISSES.get(name, 0):
                missed.append(f"{name}: {outside:.2%} changed outside, aim {OUTSIDE[name]:.1%}")
                continue
            assert outside <= OUTSIDE[name], f"{name}: {outside:.4f}"
    if missed:
        pytest.xfail("; ".join(missed))


def test_floors_hold_on_a_fixed_subset(s3_server, s3_bucket, tmp_path):
    pictures = {one.name: one.pictures[: SUBSET[one.name]] for one in find_sets(DEV, list(SUBSET))}
    sources = [DEV / name / one.image for name, found in pictures.items() for one in found]
    outputs = run_over_s3(s3_server, s3_bucket, sources, tmp_path)
    judged = {
        name: tuple(judge_file(one, DEV / name, outputs / name) for one in found)
        for name, found in pictures.items()
    }
    check_floors({name: summarise(name, found) for name, found in judged.items()})
    baseline = Verdicts.read(BASELINE)
    # the baseline is float32's; false blurs of this machine's runtime have ceilings above
    found = regressions(baseline, Verdicts(baseline.about, judged))
    worse = [one for one in found if one.metric == "recall"]
    assert not worse, told(worse)


@pytest.mark.nightly
def test_floors_hold_on_all_of_dev(s3_server, s3_bucket, tmp_path):
    sources = sorted(DEV.rglob("*.jpg"))
    outputs = run_over_s3(s3_server, s3_bucket, sources, tmp_path)
    check_floors(
        {
            one.name: summarise(
                one.name, judge_set(one.pictures, one.folder, outputs / one.name, name=one.name)
            )
            for one in find_sets(DEV)
        }
    )
