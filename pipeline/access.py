"""Where a job is, or is to be: flags, environment and job file, checked against what is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import ConfigurationError
from pipeline.job import JobSpec, load_spec, settings_from
from pipeline.preconditions import existing
from pipeline.storage import StorageSettings
from pipeline.workspace import Workspace, find_job, open_workspace
from serving.backends.triton_settings import TritonSettings
from serving.errors import InvalidInput


class Access(BaseSettings):
    """Where an existing job is; what no flag says comes from the environment or the job file."""

    model_config = SettingsConfigDict(
        env_prefix="STREETBLUR_", env_nested_delimiter="__", extra="ignore"
    )
    output: str
    job: str | None = None
    workspace: str | None = None
    storage: StorageSettings = StorageSettings()


class Servers(BaseSettings):
    """Triton servers, where a command is about them alone."""

    model_config = SettingsConfigDict(
        env_prefix="STREETBLUR_", env_nested_delimiter="__", extra="ignore"
    )
    triton: TritonSettings = TritonSettings()


def access_of(
    output: str | None,
    job: str | None,
    workspace: str | None,
    endpoint_url: str | None,
    insecure: bool | None = None,
    job_file: Path | None = None,
) -> Access:
    """Flags over environment over job file.

    Raises:
        ConfigurationError: a value is missing or wrong.
    """
    flags: dict[str, Any] = {"output": output, "job": job, "workspace": workspace}
    flags["storage"] = _storage_flags(endpoint_url, insecure)
    return settings_from(Access, flags, job_file)


def spec_of(
    job_file: Path | None, endpoint_url: str | None, insecure: bool | None, **flags: Any
) -> JobSpec:
    """The JobSpec of flags, environment and job file.

    Raises:
        ConfigurationError: naming file and field.
    """
    flags["triton"] = _triton_flags(flags.get("triton"), insecure)
    flags["models"] = _versions(flags.pop("model", None))
    flags["shadow"] = _shares(flags.pop("shadow", None))
    return load_spec(job_file, storage=_storage_flags(endpoint_url, insecure), **flags)


def _storage_flags(endpoint_url: str | None, insecure: bool | None) -> dict[str, Any] | None:
    """What the flags set of ``storage``; what they leave open, environment and file say."""
    flags = {"endpoint_url": endpoint_url or None, "insecure": insecure}
    return {name: value for name, value in flags.items() if value is not None} or None


def _triton_flags(urls: list[str] | None, insecure: bool | None) -> dict[str, Any] | None:
    """What the flags set of ``triton``."""
    flags = {"urls": tuple(urls) if urls else None, "insecure": insecure}
    return {name: value for name, value in flags.items() if value is not None} or None


def servers_of(urls: list[str], insecure: bool | None) -> TritonSettings:
    """The servers that a command names, reached as the environment says.

    Raises:
        ConfigurationError: an address is wrong, or a server elsewhere would be asked without TLS.
    """
    settings = settings_from(Servers, {"triton": _triton_flags(urls, insecure)}).triton
    try:
        settings.addresses()
    except InvalidInput as error:
        raise ConfigurationError(error.what, where=error.where, fix=error.fix) from error
    return settings


def _versions(named: list[str] | None) -> dict[str, str] | None:
    """Of ``NAME=VERSION`` the versions by name.

    Raises:
        ConfigurationError: not of this form.
    """
    found: dict[str, str] = {}
    for one in named or ():
        name, sign, version = one.partition("=")
        if not (sign and version.isdigit()):
            raise ConfigurationError(
                "this is no NAME=VERSION, where VERSION is a number",
                where=f"--model {one}",
                fix="For instance --model face_detector=2",
            )
        found[name] = version
    return found or None


def _shares(named: list[str] | None) -> dict[str, dict[str, str]] | None:
    """Of ``NAME:VERSION=SHARE`` the shares by name and version.

    Raises:
        ConfigurationError: not of this form.
    """
    found: dict[str, dict[str, str]] = {}
    for one in named or ():
        model, colon, rest = one.partition(":")
        version, sign, share = rest.partition("=")
        if not (colon and sign and version.isdigit()):
            raise ConfigurationError(
                "this is no NAME:VERSION=SHARE, where VERSION is a number",
                where=f"--shadow {one}",
                fix="For instance --shadow face_detector:2=0.1",
            )
        found.setdefault(model, {})[version] = share
    return found or None


def spec_of_job(access: Access, job_file: Path | None = None, **flags: Any) -> JobSpec:
    """The JobSpec of a job that exists: which one it is says its own record, the rest as always.

    Raises:
        ConfigurationError: there is no such job.
    """
    workspace = workspace_of(access)
    record = workspace.ledger.job()
    if record is None:
        raise ConfigurationError("there is no such job", where=workspace.job)
    flags["triton"] = _triton_flags(flags.get("triton"), access.storage.insecure or None)
    flags["models"] = _versions(flags.pop("model", None))
    flags["shadow"] = _shares(flags.pop("shadow", None))
    return load_spec(
        job_file,
        input=record.input,
        output=access.output,
        job=record.job,
        workspace=access.workspace,
        storage=asdict(access.storage),
        **flags,
    )


def workspace_of(access: Access) -> Workspace:
    """The workspace of an existing job.

    Raises:
        ConfigurationError: no such job, or several to choose from.
    """
    output = existing("OUTPUT", access.output, access.storage)
    probe = open_workspace(output, "any", workspace=access.workspace, settings=access.storage)
    job = find_job(probe.root, access.job)
    return open_workspace(output, job, workspace=access.workspace, settings=access.storage)
