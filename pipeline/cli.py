"""The ``streetblur`` command: one function a subcommand, no logic.

Exit codes: 0 complete; 1 error; 2 usage or wrong settings; 3 finished with quarantined images;
4 incomplete; 5 nothing detected in any image (unless ``--allow-empty``); 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.logs import LogFormat, configure_logging, use_json
from serving.errors import ServingError

COMMAND_GROUP = "streetblur.commands"
errors = Console(stderr=True, highlight=False)


class LazyGroup(TyperGroup):
    """Own subcommands, plus those that other packages register, imported only when called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Own commands first, in order."""
        more = [point.name for point in entry_points(group=COMMAND_GROUP)]
        return [*super().list_commands(ctx), *sorted(more)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a registered command by its name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group=COMMAND_GROUP):
            if point.name == cmd_name:
                return typer.main.get_command(point.load())
        return None


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Makes faces and licence plates in a bucket or folder of photographs unrecognisable.\n\n"
        "Exit codes: 0 complete, 1 error, 2 usage or wrong settings, 3 finished with quarantined "
        "images, 4 incomplete, 5 nothing detected in any image, 130 interrupted."
    ),
)
models_app = typer.Typer(no_args_is_help=True, help="List, fetch and check the models.")
policy_app = typer.Typer(no_args_is_help=True, help="List and show privacy policies.")
app.add_typer(models_app, name="models")
app.add_typer(policy_app, name="policy")

Input = Annotated[
    str | None, typer.Argument(help="s3://bucket/prefix or a folder.", show_default=False)
]
Output = Annotated[
    str | None,
    typer.Argument(
        help="s3://bucket/prefix or a folder (environment: STREETBLUR_OUTPUT).", show_default=False
    ),
]
JobName = Annotated[
    str | None, typer.Option("--job", help="Job name; by default input, output and date make it.")
]
JobFile = Annotated[
    Path | None, typer.Option("--job-file", help="YAML file with the same fields as the flags.")
]
Workspace = Annotated[
    str | None,
    typer.Option("--workspace", help="Where records are kept; by default inside the output."),
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint-url", help="Address of an S3-compatible server.")
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", help="default, eu, us, or a YAML file; a resumed job keeps its own."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Detector actors at most; by default one a core."),
]
Engine = Annotated[
    Literal["ray", "local"] | None,
    typer.Option("--engine", help="ray, or local: the same stages in this one process."),
]
Overrides = Annotated[
    str | None, typer.Option("--overrides", help="YAML or JSON: boxes to blur in any case, by key.")
]
AllowUnblur = Annotated[
    bool | None,
    typer.Option("--allow-unblur", help="Let this run drop boxes that were blurred before."),
]
AllowEmpty = Annotated[
    bool | None,
    typer.Option("--allow-empty", help="Accept a job in which nothing was detected anywhere."),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", help="A running Ray cluster; by default a private one."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", help="Serve Prometheus metrics on this loopback port."),
]
LogOption = Annotated[
    LogFormat, typer.Option("--log-format", help="auto: a bar on a terminal, JSON lines elsewhere.")
]
Verbose = Annotated[bool, typer.Option("--verbose", help="More log lines.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        typer.echo(version("streetblur"))
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command()
def run(
    input_uri: Input = None,
    output_uri: Output = None,
    policy: Policy = None,
    job: JobName = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is due; write nothing.")
    ] = False,
    job_file: JobFile = None,
    workspace: Workspace = None,
    engine: Engine = None,
    overrides: Overrides = None,
    allow_unblur: AllowUnblur = None,
    allow_empty: AllowEmpty = None,
    ray_address: RayAddress = None,
    endpoint_url: Endpoint = None,
    metrics_port: MetricsPort = None,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Anonymise every picture of INPUT into OUTPUT; run it again to go on or to take in changes."""
    from pipeline import operations

    configure_logging(log_format, verbose=verbose)
    spec = operations.spec_of(
        job_file,
        endpoint_url,
        input=input_uri,
        output=output_uri,
        policy=policy,
        job=job,
        workers=workers,
        workspace=workspace,
        engine=engine,
        overrides=overrides,
        allow_unblur=allow_unblur,
        allow_empty=allow_empty,
        ray_address=ray_address,
        metrics_port=metrics_port,
    )
    if dry_run:
        operations.show_preview(spec)
        return
    raise typer.Exit(operations.run(spec, bar=not use_json(log_format)))


@app.command()
def plan(
    input_uri: Input = None,
    output_uri: Output = None,
    policy: Policy = None,
    job: JobName = None,
    job_file: JobFile = None,
    workspace: Workspace = None,
    overrides: Overrides = None,
    endpoint_url: Endpoint = None,
    log_format: LogOption = "auto",
) -> None:
    """List INPUT into the job's manifest and say what was found; no picture is touched."""
    from pipeline import operations

    configure_logging(log_format, verbose=False)
    operations.plan(
        operations.spec_of(
            job_file,
            endpoint_url,
            input=input_uri,
            output=output_uri,
            policy=policy,
            job=job,
            workspace=workspace,
            overrides=overrides,
        )
    )


@app.command()
def status(
    output_uri: Output = None,
    job: JobName = None,
    workspace: Workspace = None,
    endpoint_url: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Say where the jobs in OUTPUT stand (reads the ledger only)."""
    from pipeline import operations

    operations.show_status(operations.access_of(output_uri, job, workspace, endpoint_url), as_json)


@app.command()
def rerun(
    output_uri: Output = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only images that failed.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only images that were quarantined.")
    ] = False,
    shard: Annotated[int | None, typer.Option("--shard", min=0, help="This whole shard.")] = None,
    job: JobName = None,
    policy: Policy = None,
    workers: Workers = None,
    engine: Engine = None,
    workspace: Workspace = None,
    allow_unblur: AllowUnblur = None,
    allow_empty: AllowEmpty = None,
    ray_address: RayAddress = None,
    endpoint_url: Endpoint = None,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Do again what failed, what was quarantined, or one shard; without a flag, all that is due."""
    from pipeline import operations

    configure_logging(log_format, verbose=verbose)
    choice = operations.choice_of(failed=failed, quarantined=quarantined, shard=shard)
    spec = operations.spec_of_job(
        operations.access_of(output_uri, job, workspace, endpoint_url),
        policy=policy,
        workers=workers,
        engine=engine,
        allow_unblur=allow_unblur,
        allow_empty=allow_empty,
        ray_address=ray_address,
    )
    raise typer.Exit(operations.run(spec, bar=not use_json(log_format), choice=choice))


@app.command()
def verify(
    output_uri: Output = None,
    job: JobName = None,
    workspace: Workspace = None,
    endpoint_url: Endpoint = None,
    allow_empty: AllowEmpty = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile manifest, commits and the bucket itself."""
    from pipeline import operations

    access = operations.access_of(output_uri, job, workspace, endpoint_url)
    raise typer.Exit(operations.verify_job(access, as_json, allow_empty=bool(allow_empty)))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="Key of an image, relative to the input.")],
    output_uri: Output = None,
    job: JobName = None,
    workspace: Workspace = None,
    endpoint_url: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of one image and why: each detection, kept or dropped."""
    from pipeline import operations

    access = operations.access_of(output_uri, job, workspace, endpoint_url)
    raise typer.Exit(operations.explain(access, key, as_json))


@models_app.command("list")
def models_list() -> None:
    """List the models, their versions, licences and where they lie."""
    from pipeline import model_commands

    model_commands.show()


@models_app.command("fetch")
def models_fetch() -> None:
    """Fetch the default models by exact version and SHA-256 and write them into the repository."""
    from pipeline import model_commands

    configure_logging("text", verbose=False)
    model_commands.fetch()


@models_app.command("check")
def models_check() -> None:
    """Check files, contracts and the canary image."""
    from pipeline import model_commands

    model_commands.check()


@policy_app.command("list")
def policy_list() -> None:
    """List the policies that ship with the package."""
    from pipeline import operations

    operations.list_policies()


@policy_app.command("show")
def policy_show(
    name: Annotated[str, typer.Argument(help="Name of a packaged policy, or a YAML file.")],
) -> None:
    """Print a policy with all its values, as YAML that --policy accepts."""
    from pipeline import operations

    operations.show_policy(name)


def main() -> None:
    """Entry point: every error becomes one clear line and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except (StreetblurError, ServingError) as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        errors.print("[yellow]interrupted[/]")
        sys.exit(130)
