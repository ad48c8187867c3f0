"""What the subcommands do, between the command line and the job."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.access import Access, workspace_of
from pipeline.due import Choice, Rows
from pipeline.errors import ConfigurationError
from pipeline.job import JobSpec
from pipeline.ledger import Tally
from pipeline.logs import say_last, writes_json
from pipeline.overrides import load_overrides
from pipeline.policy import load_policy, packaged_policies
from pipeline.preconditions import (
    configured_secret,
    existing,
    last_policy,
    places,
    refuse_lost_records,
    refuse_nested_output,
)
from pipeline.records import named_features
from pipeline.storage import NotFound
from pipeline.verify import Verification
from pipeline.workspace import Workspace, find_job, jobs_in, open_workspace

log = logging.getLogger(__name__)
out = Console(highlight=False, soft_wrap=True)


def choice_of(*, failed: bool, quarantined: bool, shard: int | None) -> Choice:
    """Which rows a rerun works on.

    Raises:
        ConfigurationError: flags that exclude each other.
    """
    if sum((failed, quarantined, shard is not None)) > 1:
        raise ConfigurationError("choose one of --failed, --quarantined and --shard")
    if shard is not None:
        return Choice("all", shard=shard)
    return Choice("failed" if failed else "quarantined" if quarantined else "due")


def run(spec: JobSpec, *, bar: bool, choice: Choice | None = None) -> int:
    """Run a job, show its progress, write its report; returns the exit code."""
    from pipeline.metrics import JobMetrics
    from pipeline.model_commands import models_for, probe_for, versions_for
    from pipeline.observer import Observer
    from pipeline.progress import BarObserver, LogObserver, MetricsObserver
    from pipeline.report import write_report
    from pipeline.result import Exit
    from pipeline.runner import Runner

    metrics = JobMetrics(spec.job_name)
    if spec.metrics_port is not None:
        metrics.serve(spec.metrics_port)
    with ExitStack() as stack:
        observers: list[Observer] = [MetricsObserver(metrics, spec.job_name)]
        observers.append(
            stack.enter_context(BarObserver(Console(stderr=True))) if bar else LogObserver()
        )
        runner = Runner(
            spec,
            observers,
            models_for(spec.triton),
            choice or Choice(),
            available=versions_for(spec.triton),
            probe=probe_for(spec),
        )
        try:
            result = runner.run()
        except KeyboardInterrupt:
            stack.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is to clean up
            how = resume_command(spec, sys.argv[1:])
            say_last(
                f"committed shards stand. To go on:\n  {how}",
                label="interrupted",
                exit_code=Exit.INTERRUPTED,
            )
            return Exit.INTERRUPTED
    metrics.finish(complete=result.verification.complete)
    summary = write_report(result)
    store = result.workspace.ledger.store
    store.put("metrics.prom", metrics.text(), content_type="text/plain; version=0.0.4")
    out.print(_tally_table(result.verification.tally, result.verification.rows))
    show_findings(result.verification)
    rate = summary["this_run"]["images_per_s"]
    out.print(f"{result.processed} images in this run, {rate} images/s")
    if result.revision.note:
        out.print(f"[yellow]{escape(result.revision.note)}[/]")
    out.print(f"output   {escape(result.workspace.output.uri)}")
    out.print(f"report   {escape(store.uri)}/report.html")
    if writes_json():
        facts = {"exit_code": int(result.exit_code), **_facts(result.verification)}
        facts["findings"] = {n: one for n, one in facts["findings"].items() if one["count"]}
        log.info("finished", extra=facts)
    if result.exit_code is not Exit.COMPLETE:
        meaning = escape(_meaning(result.exit_code, result.verification))
        out.print(f"[yellow]exit code {int(result.exit_code)}:[/] {meaning}")
    return result.exit_code


def _meaning(code: int, found: Verification) -> str:
    """What an exit code says of the job, and what helps."""
    return {
        3: "finished, but some images were quarantined; `streetblur explain KEY OUTPUT` tells why",
        4: f"incomplete; {found.remedy()}; `streetblur verify OUTPUT` checks again",
        5: "nothing was detected in any image; if that is right, use --allow-empty"
        if found.rows
        else "there are no pictures in INPUT (JPEG, PNG, WebP or TIFF, by their suffix); if that "
        "is right, use --allow-empty",
    }.get(code, "")


def resume_command(spec: JobSpec, arguments: Sequence[str]) -> str:
    """The command that goes on with this job: what was typed, with the job's name."""
    words = ["streetblur", *arguments]
    if spec.job is None:
        words += ["--job", spec.job_name]
    return shlex.join(words)


def plan(spec: JobSpec) -> None:
    """List the input into the manifest and print what was found."""
    from pipeline.model_commands import models_for
    from pipeline.runner import Runner

    workspace, revision = Runner(spec, [], models_for(spec.triton)).plan_only()
    table = Table(title=f"job {workspace.job}, revision {revision.number}", show_header=False)
    table.add_row("pictures", f"{revision.live_rows:,} ({revision.bytes / 1e6:,.1f} MB)")
    table.add_row("new shards", f"{revision.shard_count:,}")
    table.add_row(
        "against the revision before",
        f"{revision.added} added, {revision.changed} changed, {revision.gone} gone",
    )
    table.add_row("not selected", _counts(revision.not_selected))
    out.print(table)


def show_preview(spec: JobSpec) -> None:
    """Print what a run would do; writes nothing and fetches no model."""
    from pipeline.fallback import Versions
    from pipeline.model_commands import models_for
    from pipeline.planner import Rules, assume_models, preview
    from pipeline.shadow_plans import plan_shadows, refuse_own_shadow
    from serving.backends.choose import runs_on

    configured_secret(spec)
    source, workspace = places(spec)
    ledger = workspace.ledger
    record = ledger.job_for(source.uri, workspace.output.uri, moved_here=workspace.moved_here)
    with suppress(NotFound):
        refuse_lost_records(workspace, allow_unblur=spec.allow_unblur)
    refuse_nested_output(spec)
    with suppress(NotFound):
        workspace.refuse_if_public(write=False)
    policy = load_policy(spec.policy) if spec.policy else last_policy(ledger)
    policy = policy.with_models(spec.models)
    overrides = load_overrides(spec.overrides) if spec.overrides else None
    models_of = models_for(spec.triton, fetch_missing=False)
    named = policy.models.model_dump()
    models_of(named)
    refuse_own_shadow(spec, named)
    plan_shadows(spec, models_of)
    versions = Versions.last(ledger, policy) if spec.fallback == "previous" else Versions()
    models = assume_models(models_of(versions.of(policy)), workspace)
    found = preview(
        source,
        workspace,
        Rules(policy, models, overrides, versions.note, runs_on(spec.triton, spec.runtime)),
        damaged=_damaged(workspace),
        shard_size=record.shard_size if record else spec.shard_size,
        allow_unblur=spec.allow_unblur,
    )
    table = Table(title=f"job {spec.job_name} (dry run)", show_header=False)
    table.add_row("input", escape(source.uri))
    table.add_row("output", escape(workspace.output.uri))
    table.add_row("policy", policy.name)
    table.add_row("pictures", f"{found.images:,} ({found.bytes / 1e6:,.1f} MB)")
    table.add_row("due", f"{found.due:,}")
    table.add_row("  for a missing or altered output", f"{found.damaged:,}")
    table.add_row("changed, gone", f"{found.changed:,}, {found.gone:,}")
    table.add_row("not selected", _counts(found.not_selected))
    out.print(table)


class _Every:
    """All rows: there is no output at all."""

    def __contains__(self, item: object) -> bool:
        return True


def _damaged(workspace: Workspace) -> Rows:
    """Rows whose output is missing or altered, as a run finds them before it begins."""
    from pipeline.verify import verify

    if not workspace.ledger.job() or not workspace.ledger.commits():
        return frozenset()
    try:
        return verify(workspace).damaged
    except NotFound:
        return _Every()


def show_status(access: Access, as_json: bool) -> None:
    """Print the state of one job, or of all jobs of the workspace."""
    from pipeline.status import job_status

    output = existing("OUTPUT", access.output, access.storage)
    probe = open_workspace(output, "any", workspace=access.workspace, settings=access.storage)
    _warn_of_lost_records(probe)
    names = [find_job(probe.root, access.job)] if access.job else jobs_in(probe.root)
    if not names:
        find_job(probe.root, None)
    found = [job_status(probe.sibling(name), name) for name in names]
    if as_json:
        out.print_json(
            json.dumps([{**asdict(one), "tally": one.tally.model_dump()} for one in found])
        )
        return
    for one in found:
        table = _tally_table(one.tally, one.images, title=f"job {one.job}")
        table.add_row("due", f"{one.due:,}")
        table.add_row("shards committed", f"{one.committed:,} of {one.shards:,}")
        for name, value in one.details.items():
            text = _counts(value) if isinstance(value, dict) else str(value)
            table.add_row(name, escape(text))
        out.print(table)


def _warn_of_lost_records(workspace: Workspace) -> None:
    """Say that records may be those of an earlier time."""
    try:
        refuse_lost_records(workspace, allow_unblur=False)
    except ConfigurationError as error:
        log.warning("what follows may be out of date: %s", error)


def verify_job(access: Access, as_json: bool, *, allow_empty: bool) -> int:
    """Reconcile and print what was found; returns the exit code."""
    from pipeline.result import exit_code
    from pipeline.verify import verify

    workspace = workspace_of(access)
    refuse_lost_records(workspace, allow_unblur=False)
    result = verify(workspace)
    code = exit_code(result, allow_empty=allow_empty)
    if as_json:
        out.print_json(json.dumps({"exit_code": int(code), **_facts(result)}))
        return code
    out.print(_tally_table(result.tally, result.rows))
    show_findings(result)
    out.print("[green]complete[/]" if result.complete else "[red]not complete[/]")
    return code


def _facts(result: Verification) -> dict[str, Any]:
    return {
        "complete": result.complete,
        "images": result.rows,
        "tally": result.tally.model_dump(),
        "findings": {name: asdict(one) for name, one in result.findings().items()},
    }


def explain(access: Access, key: str, as_json: bool) -> int:
    """Print what became of one image; returns the exit code.

    Raises:
        ConfigurationError: the job does not know the key.
    """
    from pipeline.status import find_outcome

    workspace = workspace_of(access)
    _warn_of_lost_records(workspace)
    known, outcome = find_outcome(workspace.ledger, key)
    if not known:
        raise ConfigurationError(
            "this key is not in the job's manifest",
            where=key,
            fix="Keys are relative to the input; objects that are no pictures are not selected",
        )
    if outcome is None:
        out.print(f"{escape(key)}: planned, not processed yet")
        return 0
    if as_json:
        for item in outcome["detections"] or ():
            item["features"] = named_features(item.get("features"))
        out.print_json(json.dumps(outcome, default=str))
        return 0
    table = Table(title=escape(key), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in outcome.items():
        nothing = value in (None, "", []) or (isinstance(value, float) and not value)
        if name not in {"detections", "key"} and not nothing:
            table.add_row(name, f"{value:.4g}" if isinstance(value, float) else escape(str(value)))
    out.print(table)
    if not outcome["detections"]:
        return 0
    boxes = Table(title="detections")
    for name in ("", "label", "box", "score", "filter", "least", "source", "reason"):
        boxes.add_column(name, overflow="fold")
    for item in outcome["detections"] or ():
        boxes.add_row(
            "kept" if item["kept"] else "dropped",
            item["label"],
            f"{item['x1']},{item['y1']} {item['x2']},{item['y2']}",
            f"{item['score']:.3f}",
            f"{item['probability']:.2f}",
            f"{item['threshold']:.2f}",
            item["source"],
            item["reason"],
        )
    out.print(boxes)
    return 0


def list_policies() -> None:
    """Print the packaged policies."""
    table = Table("name", "digest", "description")
    for name in packaged_policies():
        policy = load_policy(name)
        table.add_row(name, policy.digest(), policy.description)
    out.print(table)


def show_policy(name: str) -> None:
    """Print a policy as YAML."""
    out.print(load_policy(name).to_yaml(), markup=False, end="")


def show_findings(result: Verification) -> None:
    """Print the findings that are not empty."""
    grave = {"due", "missing", "altered", "unaccounted"}
    for name, finding in result.findings().items():
        if finding.count:
            colour = "red" if name in grave else "yellow"
            more = ", ..." if finding.count > 5 else ""
            names = ", ".join(escape(repr(key)) for key in finding.sample[:5])
            out.print(f"[{colour}]{name}: {finding.count}[/] ({names}{more})")
            out.print(f"  {escape(finding.fix)}.")


def _tally_table(tally: Tally, images: int, title: str | None = None) -> Table:
    table = Table(title=title, show_header=False)
    table.add_row("images", f"{images:,}")
    for name in ("published", "quarantined", "failed"):
        table.add_row(name, f"{getattr(tally, name):,}")
    table.add_row("obscured", _counts(tally.kept))
    table.add_row("candidates dropped", _counts(tally.dropped))
    for reason, count in sorted(tally.reasons.items()):
        table.add_row(f"  {reason}", f"{count:,}")
    return table


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in counts.items()) or "none"
