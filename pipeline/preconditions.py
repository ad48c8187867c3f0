"""What has to hold before a run, and before a dry run foretells one; nothing is written here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigurationError, nested_outputs
from pipeline.job import WORKSPACE_FOLDER, JobSpec
from pipeline.lease_record import LEASE_FOLDER
from pipeline.ledger import Ledger
from pipeline.marks import Mark, records_of
from pipeline.policy import DEFAULT_POLICY, PrivacyPolicy, load_policy
from pipeline.secret import NoiseSecret, read_secret
from pipeline.storage import (
    AccessDenied,
    NotFound,
    ObjectStore,
    StorageSettings,
    check_disjoint,
    open_store,
)
from pipeline.storage_location import check_records_apart, parse_location, places_above
from pipeline.workspace import Workspace, open_workspace

_NAMED = 20
_PLACE_FIXES = {
    "INPUT": "INPUT is the folder or bucket with the pictures to read, not a single file: check "
    "its spelling, and that its disk is mounted",
    "OUTPUT": "OUTPUT is the folder or bucket that a job has written to: check its spelling, or "
    "start a job with `streetblur run INPUT OUTPUT`",
}


def existing(name: Literal["INPUT", "OUTPUT"], uri: str, settings: StorageSettings) -> ObjectStore:
    """The store at ``uri``, which has to be there before anything else makes sense.

    Raises:
        ConfigurationError: it is not.
    """
    store = open_store(uri, settings=settings)
    try:
        store.ensure_root(create=False)
    except NotFound as error:
        raise ConfigurationError(
            f"there is no such folder or bucket for {name}", where=uri, fix=_PLACE_FIXES[name]
        ) from error
    return store


def places(spec: JobSpec) -> tuple[ObjectStore, Workspace]:
    """The input and the job's workspace; output and workspace need not be there yet.

    Raises:
        ConfigurationError: places overlap, or the input is not there.
    """
    check_disjoint(spec.input, spec.output)
    check_records_apart(spec.output, spec.workspace)
    if spec.workspace is not None:
        check_disjoint(spec.input, spec.workspace, name="workspace")
    source = existing("INPUT", spec.input, spec.storage)
    output = open_store(spec.output, settings=spec.storage)
    return source, open_workspace(
        output, spec.job_name, workspace=spec.workspace, settings=spec.storage
    )


def refuse_nested_output(spec: JobSpec) -> None:
    """Refuse an output that lies within another one: neither would know what the other blurred.

    One that lies within this one is found when this one is listed, see ``verify``.

    Raises:
        ConfigurationError: runs have been held over a place above.
    """
    for above in places_above(spec.output):
        with suppress(NotFound, AccessDenied):  # where nobody may look, nothing can be told
            store = open_store(above, settings=spec.storage)
            if next(iter(store.list(LEASE_FOLDER)), None) is not None:
                raise nested_outputs(spec.output, above)


def configured_secret(spec: JobSpec) -> NoiseSecret | None:
    """The noise secret that is configured, or None.

    Raises:
        ConfigurationError: it is wrong, or a shared cluster has none.
    """
    secret = read_secret()
    if secret is None and spec.ray_address is not None:
        raise ConfigurationError(
            "a shared cluster needs the noise secret on every node",
            where="STREETBLUR_SECRET",
            fix="Set STREETBLUR_SECRET or STREETBLUR_SECRET_FILE here and on every node",
        )
    return secret


def last_policy(ledger: Ledger) -> PrivacyPolicy:
    """The policy the job had last; else the default."""
    revisions = ledger.revisions() if ledger.job() else []
    return revisions[-1].policy if revisions else load_policy(DEFAULT_POLICY)


def refuse_lost_records(workspace: Workspace, *, allow_unblur: bool) -> None:
    """Refuse a workspace without the records of the newest run of each job over the output.

    They alone tell what these runs blurred; neither other records nor an old copy of them do.
    Runs that ended before they could publish anything do not count.

    Args:
        workspace: of the run to come.
        allow_unblur: whether it may be forgotten what earlier runs blurred.

    Raises:
        ConfigurationError: records are elsewhere, incomplete or too old.
    """
    lost = [] if allow_unblur else workspace.missing_marks()
    if not lost:
        return
    mark = lost[0]
    place = records_of(workspace.output, mark)
    if place in {None, workspace.place}:
        what = f"the records of job {mark.job!r} are missing here, incomplete or too old"
        how = f"Bring the whole folder {mark.job}/ of the workspace back, or name with --workspace "
        how += f"the folder that now holds {mark.job}/"
    else:
        where = f"{workspace.output.uri}/{place}" if "://" not in str(place) else place
        usual = place == WORKSPACE_FOLDER
        what = f"the records of the newest run of job {mark.job!r} are elsewhere"
        how = "Run without --workspace" if usual else f"Run with --workspace {where}"
        how += f", or with the folder that now holds {mark.job}/"
    if len(lost) > 1:
        what += f" (and those of {len(lost) - 1} more jobs)"
    raise ConfigurationError(
        f"{what}, and they alone tell what it blurred in this output",
        where=workspace.output.uri,
        fix=f"{how}. If they are lost for good, {_stand_ins(workspace, lost)} of what only they "
        "tell, and `streetblur run --allow-unblur` of all that was blurred before",
    )


def _stand_ins(workspace: Workspace, lost: Sequence[Mark]) -> str:
    """What to put in place of marks: "an empty file X lets go"."""
    root = parse_location(workspace.root.uri)
    isa = "file" if isinstance(root, Path) else "object"
    base = root if isinstance(root, Path) else workspace.root.uri
    names = ", ".join(shlex.quote(f"{base}/{mark.kept}") for mark in lost[:_NAMED])
    if len(lost) == 1:
        return f"an empty {isa} {names} lets go"
    more = ", ..." if len(lost) > _NAMED else ""
    return f"empty {isa}s ({names}{more}) let go"
