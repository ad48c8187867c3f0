"""The options that subcommands share: each declared once, in groups that a command takes whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from pipeline.logs import LogFormat

Output = Annotated[
    str | None,
    typer.Argument(
        metavar="OUTPUT",
        help="s3://bucket/prefix or a folder (environment: STREETBLUR_OUTPUT).",
        show_default=False,
    ),
]
Workspace = Annotated[
    str | None,
    typer.Option("--workspace", help="Where records are kept; by default inside the output."),
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint-url", help="Address of an S3-compatible server.")
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure", help="Accept S3 and Triton servers elsewhere that are reached without TLS."
    ),
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", help="default, eu, us, or a YAML file; a resumed job keeps its own."),
]
JobFile = Annotated[
    Path | None,
    typer.Option("--job-file", help="YAML file with the same fields as the flags."),
]
AllowEmpty = Annotated[
    bool | None,
    typer.Option("--allow-empty", help="Accept a job in which nothing was detected anywhere."),
]
LogOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", help="auto: a bar on a terminal, JSON lines elsewhere; text: plain lines."
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="A line for each picture instead of a bar.")
]
ServerPort = Annotated[
    int | None,
    typer.Option(min=1, max=65_535, help="On this loopback port; by default a free one."),
]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--triton",
        metavar="URL",
        help="A Triton server to ask, grpc://host:port (grpcs:// for TLS); repeat it for several. "
        "By default the models run in the workers.",
    ),
]
ServersToCheck = Annotated[
    list[str] | None,
    typer.Option(
        "--triton",
        metavar="URL",
        help="A Triton server to check, grpc://host:port (grpcs:// for TLS); repeat it for "
        "several. By default the model repository here is checked.",
    ),
]
InsecureServers = Annotated[
    bool | None,
    typer.Option("--insecure", help="Accept servers elsewhere that are reached without TLS."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a job is; named as in ``JobSpec``."""

    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="s3://bucket/prefix or a folder (environment: STREETBLUR_INPUT).",
            show_default=False,
        ),
    ] = None
    output: Output = None
    policy: Policy = None
    job: Annotated[
        str | None,
        typer.Option("--job", help="Job name; by default input, output and date make it."),
    ] = None
    job_file: JobFile = None
    workspace: Workspace = None
    overrides: Annotated[
        str | None,
        typer.Option("--overrides", help="YAML or JSON: boxes to blur in any case, by key."),
    ] = None
    endpoint_url: Endpoint = None
    insecure: Insecure = None


@dataclass(frozen=True, slots=True)
class ExistingJob:
    """Where a job is that has been run or planned."""

    output: Output = None
    job: Annotated[
        str | None, typer.Option("--job", help="Which job, where OUTPUT holds several.")
    ] = None
    workspace: Workspace = None
    endpoint_url: Endpoint = None
    insecure: Insecure = None
    job_file: JobFile = None


@dataclass(frozen=True, slots=True)
class Judging:
    """What judges pictures, and where; named as in ``JobSpec``."""

    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Detector actors at most; by default one a core."),
    ] = None
    engine: Annotated[
        Literal["ray", "local"] | None,
        typer.Option("--engine", help="ray, or local: the same stages in this one process."),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="A running Ray cluster; by default a private one."),
    ] = None
    runtime: Annotated[
        Literal["auto", "onnxruntime", "openvino"] | None,
        typer.Option(
            "--runtime",
            help="What runs the models in the workers. auto: OpenVINO in bfloat16 where the "
            "processor has it, else ONNX Runtime; onnxruntime: float32, the same bytes as Triton.",
        ),
    ] = None
    triton: Servers = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=VERSION",
            help="Judge by this version of a model instead of the policy's; may be repeated.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Execution(Judging):
    """How due images are processed; named as in ``JobSpec``."""

    shadow: Annotated[
        list[str] | None,
        typer.Option(
            "--shadow",
            metavar="NAME:VERSION=SHARE",
            help="Let this version judge a share of the pictures as well, for `models compare`; "
            "it decides nothing. May be repeated.",
        ),
    ] = None
    fallback: Annotated[
        Literal["previous", "stop"] | None,
        typer.Option(
            "--fallback",
            help="When a model fails its canary: go on with its previous version (default), or "
            "stop.",
        ),
    ] = None
    allow_unblur: Annotated[
        bool | None,
        typer.Option("--allow-unblur", help="Let this run drop boxes that were blurred before."),
    ] = None
    allow_empty: AllowEmpty = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups: each field of a dataclass parameter becomes an own option."""
    flat: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(group, include_extras=True)
        names = [field.name for field in fields(group)]
        groups[parameter.name] = (group, names)
        for field in fields(group):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            flat.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=hints[field.name],
                )
            )

    @wraps(command)
    def taking_options(**values: Any) -> None:
        made = {
            name: group(**{each: values.pop(each) for each in names})
            for name, (group, names) in groups.items()
        }
        command(**made, **values)

    taking_options.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    taking_options.__annotations__ = {each.name: each.annotation for each in flat}
    return taking_options
