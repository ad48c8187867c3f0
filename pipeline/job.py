"""JobSpec (what to do) and the records of a job in its workspace."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from pipeline.errors import ConfigurationError
from pipeline.lease_record import LONGEST_TTL_S
from pipeline.policy import ModelName, PrivacyPolicy, describe_validation
from pipeline.storage import StorageSettings
from pipeline.storage_location import WORKSPACE_FOLDER as WORKSPACE_FOLDER
from pipeline.yaml_files import read_yaml
from serving.backends.runtimes.choice import Runtime
from serving.backends.triton_settings import TritonSettings
from serving.errors import InvalidInput

log = logging.getLogger(__name__)

TAKEN_NAMES = frozenset({"lease", "tmp"})
# Read elsewhere: secret, model registry, evaluation.
_OTHER_SETTINGS = {
    *("SECRET", "SECRET_FILE", "MODEL_REPOSITORY", "CACHE", "DATA"),
    *("TRITON_TOKEN", "TRITON_TOKEN_FILE"),
}
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Limits(BaseModel):
    """Bounds that keep one bad image from harming the rest.

    Attributes:
        max_bytes: largest source object that is read.
        max_pixels: largest picture that is decoded (a decompression bomb stays below in bytes).
        stall_timeout_s: without any outcome for so long, the engine is stopped and what is left
            runs image by image in processes of their own.
        image_timeout_s: time one image may take in such a process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_bytes: Annotated[int, Field(gt=0)] = 256 * 2**20
    max_pixels: Annotated[int, Field(gt=0)] = 120_000_000
    stall_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    image_timeout_s: Annotated[float, Field(gt=0)] = 300.0


class JobSpec(BaseSettings):
    """What to do: read from command line flags, the environment, then a YAML job file.

    Each field can be set by ``STREETBLUR_<FIELD>`` (nested: ``STREETBLUR_STORAGE__ENDPOINT_URL``);
    a flag wins over the environment, the environment over the file.

    Attributes:
        input: ``s3://bucket/prefix`` or a folder.
        output: likewise; must not overlap the input.
        policy: name of a packaged policy or path of a policy file; by default the one the job had
            before, and ``default`` for a new job.
        job: job name; by default made of input, output and date.
        workspace: where the job keeps its records; by default inside the output.
        workers: detector actors at most; by default one a core.
        min_workers: detector actors that stay even when there is little to do.
        engine: ``ray`` or ``local`` (same stages, one process).
        ray_address: address of a running Ray cluster; by default a private one is started.
        overrides: YAML or JSON file of boxes to blur in any case, by key.
        allow_unblur: let a rerun of the same source drop boxes that were blurred before.
        allow_empty: accept a job in which nothing was detected in any image.
        shard_size: images a shard.
        wave_images: images a pass of the engine; bounds the driver's memory.
        metrics_port: serve Prometheus metrics on this loopback port while running.
        lease_ttl_s: how long a silent holder of the output's lease is waited for.
        limits: bounds for one image.
        storage: endpoint, timeouts and retries of the object store.
        models: versions of models, by name, instead of the policy's.
        shadow: by model and version, the share of pictures that this version judges as well,
            chosen by their keys; recorded for `models compare`, it decides nothing.
        fallback: what to do when a model fails its canary: go on with its ``previous`` version, or
            ``stop``.
        runtime: what runs models in the workers: ``onnxruntime`` (float32, the bytes of a Triton
            server), ``openvino``, or ``auto``: OpenVINO in bfloat16 where the processor has it.
            Only ``auto`` goes with servers.
        triton: the Triton servers to ask, if any, and how; by default the models run in the
            workers.
    """

    model_config = SettingsConfigDict(
        env_prefix="STREETBLUR_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    input: str
    output: str
    policy: str | None = None
    job: str | None = None
    workspace: str | None = None
    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    min_workers: Annotated[int, Field(ge=1, le=4096)] = 1
    engine: Literal["ray", "local"] = "ray"
    ray_address: str | None = None
    overrides: str | None = None
    allow_unblur: bool = False
    allow_empty: bool = False
    shard_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    wave_images: Annotated[int, Field(ge=1)] = 20_000
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    lease_ttl_s: Annotated[float, Field(gt=0, le=LONGEST_TTL_S, allow_inf_nan=False)] = 30.0
    limits: Limits = Limits()
    storage: StorageSettings = StorageSettings()
    models: dict[ModelName, Annotated[int, Field(ge=0)]] = {}
    shadow: dict[ModelName, dict[int, Annotated[float, Field(ge=0, le=1)]]] = {}
    fallback: Literal["previous", "stop"] = "previous"
    runtime: Runtime = "auto"
    triton: TritonSettings = TritonSettings()

    @model_validator(mode="after")
    def _servers_can_be(self) -> JobSpec:
        if self.triton.urls:
            try:
                self.triton.addresses()
            except InvalidInput as error:
                raise ConfigurationError(error.what, where=error.where, fix=error.fix) from error
        return self

    @model_validator(mode="after")
    def _workers_or_servers(self) -> JobSpec:
        if self.triton.urls and self.runtime != "auto":
            raise ConfigurationError(
                f"{self.runtime} would run the models in the workers, but Triton servers run them",
                where="runtime and triton.urls",
                fix="Leave out --runtime or --triton; --runtime auto takes back what the "
                "environment or the job file says",
            )
        return self

    @model_validator(mode="after")
    def _fewest_not_above_most(self) -> JobSpec:
        if self.workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} exceeds workers {self.workers}")
        return self

    @property
    def job_name(self) -> str:
        """The job's name, given or derived."""
        return self.job or default_job_name(self.input, self.output)


def load_spec(file: Path | None = None, **flags: Any) -> JobSpec:
    """Build the JobSpec from a YAML ``file`` (if any), the environment and ``flags`` that are set.

    Raises:
        ConfigurationError: naming file and field.
    """
    spec = settings_from(JobSpec, flags, file)
    warn_of_unknown_settings(os.environ)
    check_job_name(spec.job_name)
    return spec


Settings = TypeVar("Settings", bound=BaseSettings)


def settings_from(
    model: type[Settings], flags: Mapping[str, Any], file: Path | None = None
) -> Settings:
    """``model`` made of the ``flags`` that are set, the environment, and a YAML ``file`` (if any).

    Raises:
        ConfigurationError: naming each missing or wrong field, and the file.
    """
    content = _content(file) if file is not None else {}

    class WithFile(model):  # type: ignore[misc, valid-type]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            in_file = InitSettingsSource(settings_cls, init_kwargs=content)
            return (init_settings, env_settings, in_file)

    where = str(file) if file is not None else "job"
    fix = "Give the value as a flag, in the job file, or as STREETBLUR_<FIELD>"
    try:
        made: Settings = WithFile(
            **{name: value for name, value in flags.items() if value is not None}
        )
        return made
    except ValidationError as error:
        raise _wrong(error.errors(), file, fix) from error
    except SettingsError as error:
        raise ConfigurationError(
            str(error), where=where, fix="Nested fields are STREETBLUR_<GROUP>__<FIELD>"
        ) from error
    except ConfigurationError as error:  # of a group that judges its own values
        raise ConfigurationError(str(error), where=where) from error


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigurationError(
            "there is no such job file", where=str(file), fix="Check the path after --job-file"
        )
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ConfigurationError("a job file must be a mapping of fields", where=str(file))
    return content


def _wrong(faults: Sequence[ErrorDetails], file: Path | None, fix: str) -> ConfigurationError:
    """What to say of values that are missing or wrong; required are ``input`` and ``output``."""
    missing = [item for item in faults if item["type"] == "missing" and len(item["loc"]) == 1]
    others = [item for item in faults if item not in missing]
    texts = [describe_validation(others)] if others else []
    if missing:
        names = [str(item["loc"][0]) for item in missing]
        places = " and ".join(name.upper() for name in names)
        texts.insert(0, f"{places} {'is' if len(names) == 1 else 'are'} missing")
        fields = " and ".join(f"`{name}`" for name in names)
        variables = " and ".join(f"STREETBLUR_{name.upper()}" for name in names)
        fix = (
            f"Name {'it' if len(names) == 1 else 'them'} on the command line, as {fields} in a "
            f"job file (--job-file), or as {variables} in the environment"
        )
    return ConfigurationError("; ".join(texts), where=str(file) if file else "", fix=fix)


def warn_of_unknown_settings(environment: Mapping[str, str]) -> None:
    """Say which ``STREETBLUR_`` variables mean nothing: a typo would leave a default in force."""
    nested = {
        "STORAGE": fields(StorageSettings),
        "TRITON": fields(TritonSettings),
        "LIMITS": Limits.model_fields,
    }
    known = {name.upper() for name in JobSpec.model_fields} | _OTHER_SETTINGS
    for group, names in nested.items():
        known |= {f"{group}__{getattr(each, 'name', each)}".upper() for each in names}
    for name in sorted(environment):
        short = name.upper().removeprefix("STREETBLUR_")
        if short == name.upper() or short in known:
            continue
        near = difflib.get_close_matches(short, sorted(known), n=1)
        hint = f"; is STREETBLUR_{near[0]} meant?" if near else ""
        log.warning("%s in the environment is no setting and does nothing%s", name, hint)


def is_job_name(name: str) -> bool:
    """Whether a job may be called so: the name makes one clean folder name of its own."""
    return bool(_JOB_NAME.fullmatch(name)) and ".." not in name and name not in TAKEN_NAMES


def check_job_name(name: str) -> None:
    """Refuse a job name that would not make one clean folder name.

    Raises:
        ConfigurationError: the name has other characters than letters, digits and ``._-``.
    """
    if not is_job_name(name):
        raise ConfigurationError(
            "a job name has letters, digits, '.', '_' and '-' only, at most 100, and starts with a "
            f"letter or digit ({' and '.join(sorted(TAKEN_NAMES))} are taken)",
            where=f"job {name!r}",
            fix="Choose another name with --job",
        )


def default_job_name(source: str, output: str, now: datetime | None = None) -> str:
    """Job name made of input, output and the UTC date: ``photos-1f2e3d4c-2026-11-21``."""
    source, output = (
        place if "://" in place else os.path.abspath(place) for place in (source, output)
    )
    day = (now or datetime.now(UTC)).strftime("%Y-%m-%d")
    digest = hashlib.sha256(f"{source.rstrip('/')}\n{output.rstrip('/')}".encode()).hexdigest()[:8]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", source.rstrip("/").rsplit("/", 1)[-1]).strip("-")[:40]
    return f"{slug or 'job'}-{digest}-{day}"


class JobRecord(BaseModel):
    """``job.json``: what a job is, written once."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = 1
    job: str
    input: str
    output: str
    created: str
    shard_size: int


class ShardEntry(BaseModel):
    """One shard of a revision: its number, rows and key range."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    shard: int
    rows: int
    first_key: str
    last_key: str
    bytes: int
    sha256: str


class Revision(BaseModel):
    """``revisions/NNNN.json``: one listing of the input and the rules in force, written once.

    Attributes:
        number: 0 for the first listing.
        epoch: lease epoch of the run that wrote it; names the folder of its manifest.
        policy: the whole policy, so that the workspace explains itself.
        models: model name -> ``version:sha256`` as judged.
        overrides: boxes by key to blur in any case.
        shard_first: number of the first shard this revision adds.
        shard_count: how many it adds.
        added, changed, gone, unchanged: rows against the revision before.
        not_selected: objects that are no pictures, by suffix, and what the listing passed over
            (links, folder markers), by kind in brackets.
        runtime: what the models run on: other runtimes find slightly other boxes.
        note: why other model versions judge than the policy names; empty if they do not.
        inherits: other jobs over the same output whose blurred boxes stay blurred.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    number: int
    epoch: int
    created: str
    policy: PrivacyPolicy
    policy_digest: str
    models: dict[str, str]
    redaction_version: int
    overrides: dict[str, list[tuple[str, int, int, int, int]]] = {}
    shard_first: int
    shard_count: int
    rows: int
    live_rows: int
    added: int
    changed: int
    gone: int
    unchanged: int
    bytes: int
    not_selected: dict[str, int] = {}
    runtime: str = ""
    note: str = ""
    inherits: list[str] = []

    def rules_digest(self) -> str:
        """Digest (16 hex digits) of what judges every image: policy, models, redaction.

        Overrides are not in it, because each concerns one key: whoever compares digests to tell
        what is due compares ``overrides`` too.
        """
        content = [self.policy_digest, sorted(self.models.items()), self.redaction_version]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Folder of this revision's manifest files, relative to the workspace."""
        return f"manifest/{self.number:04d}-{self.epoch:08d}"
