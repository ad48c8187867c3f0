"""Models for the command line and for runs: what is in force, list, fetch, check."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.errors import ConfigurationError
from pipeline.fallback import Probe, VersionsOf
from pipeline.policy import PrivacyPolicy
from pipeline.stages.build import detectors_for
from serving import registry
from serving.backends.choose import open_backend
from serving.backends.triton_settings import TritonSettings
from serving.errors import ModelMissing
from serving.model_checks import check_models
from serving.sources import source_of

if TYPE_CHECKING:
    from pipeline.access import Access
    from pipeline.job import JobSpec

log = logging.getLogger(__name__)
out = Console(highlight=False, soft_wrap=True)


Models = Callable[[dict[str, int]], dict[str, str]]


def models_for(triton: TritonSettings, *, fetch_missing: bool = True) -> Models:
    """What tells ``version:fingerprint`` of the models that judge: here, or on the servers.

    Args:
        triton: servers, if any.
        fetch_missing: of models here, fetch what is missing or stale.
    """
    if triton.urls:
        return partial(models_served, triton)
    return models_in_force if fetch_missing else models_foreseen


def versions_for(triton: TritonSettings) -> VersionsOf:
    """What tells the versions of a model that could judge, rising: here, or on every server."""

    def versions_of(model: str) -> tuple[int, ...]:
        if triton.urls:
            from serving.backends.served import served_versions

            found = served_versions(triton, model)
        else:
            found = registry.present_versions(registry.find_repository(), model)
        return (0, *found) if model == "postprocessor" else found

    return versions_of


def probe_for(spec: JobSpec) -> Probe:
    """What judges the canary with given versions as the workers of ``spec`` do at their start."""

    def probe(versions: dict[str, int], policies: Sequence[PrivacyPolicy]) -> None:
        backend = open_backend(spec.triton, runtime=spec.runtime)
        detectors = detectors_for(backend, policies, versions)
        try:
            detectors.check()
        finally:
            detectors.close()

    return probe


def models_served(triton: TritonSettings, versions: dict[str, int]) -> dict[str, str]:
    """``version:fingerprint`` of each model on the servers; the empty filter has none.

    Raises:
        ServingError: a server does not answer or serves something else.
    """
    from serving.backends.served import served_fingerprints

    asked = {name: number for name, number in versions.items() if not _is_empty(name, number)}
    found = served_fingerprints(triton, asked)
    return {
        name: f"{number}:{found[name]}" if name in found else str(number)
        for name, number in versions.items()
    }


def models_in_force(versions: dict[str, int]) -> dict[str, str]:
    """``version:fingerprint`` of each model that judges; fetches what is missing or stale.

    Raises:
        ServingError: a model cannot be had.
    """
    if not all(registry.is_intact(name, number) for name, number in versions.items() if number):
        registry.fetch_models(log=log.info)
    found = models_present(versions)
    for name in _missing(found):
        raise _is_missing(name, versions[name])
    return found


def models_foreseen(versions: dict[str, int]) -> dict[str, str]:
    """As ``models_in_force``, but fetches nothing: what it would fetch is ``version:missing``.

    Raises:
        ServingError: a model cannot be had.
    """
    found = models_present(versions)
    for name in _missing(found):
        if source_of(name, versions[name]) is None:
            raise _is_missing(name, versions[name])
    return found


def _missing(found: dict[str, str]) -> list[str]:
    return [name for name, value in found.items() if value.endswith(":missing")]


def _is_missing(name: str, version: int) -> ModelMissing:
    return ModelMissing(
        f"version {version} is not in the model repository",
        where=f"{name} in {registry.find_repository()}",
        fix="Put it there, or name another version in the policy (models:), --model or --shadow",
    )


def models_present(versions: dict[str, int]) -> dict[str, str]:
    """``version:fingerprint`` of each model, or ``version:missing``; the empty filter has no file.

    Raises:
        ModelMissing: a model is there, but not its record.
        ModelCorrupt: a model's record cannot be read.
    """
    repository = registry.find_repository()
    found = {}
    for name, number in versions.items():
        if _is_empty(name, number):
            found[name] = "0"
            continue
        try:
            path = registry.model_path(repository, name, number)
        except ModelMissing:
            found[name] = f"{number}:missing"
            continue
        found[name] = f"{number}:{registry.read_record(path.parent).fingerprint}"
    return found


def _is_empty(name: str, version: int) -> bool:
    """Whether this is the filter that lets everything through; it is no model."""
    return name == "postprocessor" and version == 0


def fetch() -> None:
    """Fetch what is missing and say under which licence it comes."""
    for model in registry.fetch_models(log=_say):
        record = model.record
        if not model.fresh:  # a fresh one has been announced
            what = f"{record.model} {record.version}: {record.origin}, licence {record.licence}"
            _say(f"{what}; there already")


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - progress for people, before any log exists


def show() -> None:
    """Print the models of the repository."""
    table = Table("model", "version", "present", "licence", "origin")
    for model in registry.list_models():
        present = "yes" if model.present else "no"
        table.add_row(model.model, str(model.version), present, model.licence, model.origin)
    out.print(table)
    out.print(f"repository: {escape(str(registry.find_repository()))}")


def show_comparison(access: Access, as_json: bool) -> None:
    """Print how the shadows of a job differ from what decided.

    Raises:
        ConfigurationError: there is no such job, or no shadow judged any of its pictures.
    """
    from pipeline.access import workspace_of
    from pipeline.compare import HEIGHTS, compare

    workspace = workspace_of(access)
    found = compare(workspace.ledger)
    if not found:
        raise ConfigurationError(
            "no shadow has judged any picture of this job",
            where=f"job {workspace.job}",
            fix="Run it with --shadow, for instance --shadow face_detector:2=0.1",
        )
    if as_json:
        out.print_json(json.dumps([one.as_dict() for one in found]))
        return
    for one in found:
        decided = ", ".join(f"{name or '?'} ({count})" for name, count in one.current.items())
        table = Table(title=f"{one.model}: shadow {one.shadow} against {decided or 'none'}")
        for name in ("label", "height", "both blur", "only current", "only shadow"):
            table.add_column(name, justify="left" if name == "label" else "right")
        for label, heights in sorted(one.boxes.items()):
            for least, most in zip(HEIGHTS, [*HEIGHTS[1:], None], strict=True):
                if (counts := heights.get(least)) is not None:
                    numbers = (counts.both, counts.only_current, counts.only_shadow)
                    size = f"{least}-{most} px" if most else f"{least} px on"
                    table.add_row(label, size, *map(str, numbers))
        out.print(table)
        out.print(f"{one.images} pictures judged by both, mean score shift {one.score_shift:+.3f}")
        for message, count in one.failed.items():
            out.print(f"[yellow]{count} not judged by the shadow:[/] {escape(message)}")
        for count, key in one.as_dict()["differing"]:
            out.print(f"  {count} boxes differ in {escape(key)}")


def check() -> None:
    """Check every version of every model; an error says which ones are wrong."""
    for record in check_models():
        text = f"{record.model} {record.version} sha256 {record.sha256[:16]}"
        out.print(f"[green]ok[/] {text}, hash, contract and canary")


def check_servers(triton: TritonSettings) -> None:
    """Have every version on each server judge the canary; an error says which one is wrong."""
    from serving.backends.served import check_served

    for text in check_served(triton):
        out.print(f"[green]ok[/] {escape(text)}")
