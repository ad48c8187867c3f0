"""After a fallback ``plan`` and ``--dry-run`` go on with what judged last, as ``run`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import operations
from pipeline.access import Access, workspace_of
from pipeline.job import Revision, load_spec
from pipeline.ledger import Ledger
from pipeline.policy import PrivacyPolicy
from pipeline.status import job_status
from serving.errors import CanaryFailed
from tests.integration.jobs import pictures, run_stubbed
from tests.pipeline.test_preview import shown

pytestmark = pytest.mark.usefixtures("secret")


def models_of(versions: dict[str, int]) -> dict[str, str]:
    return {name: f"{number}:{number:016x}" for name, number in versions.items()}


@pytest.fixture(autouse=True)
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.model_commands.models_present", models_of)
    monkeypatch.setattr("pipeline.model_commands.models_in_force", models_of)


def failing(*names: str) -> Any:
    """Judges versions like a run that finds version 2 of the models in ``names`` to fail."""

    def probe(versions: dict[str, int], policies: Sequence[PrivacyPolicy]) -> None:
        for name in names:
            if versions[name] == 2:
                error = CanaryFailed("nothing is found", where=f"canary, {name}")
                error.model = name
                raise error

    return probe


def run(source: Path, output: Path, *names: str, **more: Any) -> tuple[Revision, int]:
    """Run with a face detector 2 that fails; the revision, and how many pictures were due."""
    result, _ = run_stubbed(
        source,
        output,
        detector="outdated",
        models_of=models_of,
        available=lambda model: (1, 2),
        probe=failing("face_detector", *names),
        **more,
    )
    return result.revision, result.processed


@pytest.fixture
def fell(source: Path, output: Path) -> Revision:
    """A job has fallen back to version 1; its revision."""
    revision, _ = run(source, output, versions={"face_detector": 2})
    assert "version 1 judges instead" in revision.note
    return revision


def ledger(output: Path) -> Ledger:
    return workspace_of(Access(output=str(output), job="test")).ledger


def plan(source: Path, output: Path, **flags: Any) -> Revision:
    operations.plan(load_spec(None, input=str(source), output=str(output), job="test", **flags))
    return ledger(output).current()


def test_a_dry_run_finds_due_what_a_run_does(
    source: Path, output: Path, fell: Revision, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(source, output, capsys)["due"] == "0"
    assert run(source, output) == (fell, 0)
    pictures(source / "late", 2, seed=3)
    assert shown(source, output, capsys)["due"] == "2"
    assert run(source, output)[1] == 2


def test_a_plan_forgets_no_fallback(source: Path, output: Path, fell: Revision) -> None:
    assert plan(source, output) == fell
    assert job_status(ledger(output), "test").due == 0
    pictures(source / "late", 2, seed=3)
    late = plan(source, output)
    assert (late.number, late.note, late.models) == (fell.number + 1, fell.note, fell.models)
    assert job_status(ledger(output), "test").due == 2
    assert run(source, output) == (late, 2)


@pytest.mark.parametrize("flags", [{"models": {"face_detector": 3}}, {"fallback": "stop"}])
def test_rules_that_name_another_version_or_no_fallback_are_taken_as_they_are(
    source: Path,
    output: Path,
    fell: Revision,
    capsys: pytest.CaptureFixture[str],
    flags: dict[str, Any],
) -> None:
    named = flags.get("models", {}).get("face_detector", 2)
    assert shown(source, output, capsys, **flags)["due"] == "6"
    revision = plan(source, output, **flags)
    assert revision.models["face_detector"].startswith(f"{named}:")
    assert revision.note == ""


def test_of_two_models_that_fell_the_one_that_is_named_anew_is_forgotten(
    source: Path, output: Path, fell: Revision
) -> None:
    both, _ = run(source, output, "plate_detector", versions={"plate_detector": 2})
    assert {name: value[0] for name, value in both.models.items()} == {
        **dict.fromkeys(("face_detector", "plate_detector", "postprocessor"), "1")
    }
    assert plan(source, output) == both
    one = plan(source, output, models={"face_detector": 3})
    versions = {name: value[0] for name, value in one.models.items()}
    assert versions == {"face_detector": "3", "plate_detector": "1", "postprocessor": "1"}
    assert one.note.startswith("plate_detector 2 failed its canary, version 1 judges instead")
    assert "face_detector" not in one.note
