"""The ``streetblur`` command: one function a subcommand, no logic.

Exit codes: 0 complete; 1 error; 2 usage or wrong settings; 3 finished with quarantined images;
4 incomplete; 5 nothing detected in any image (unless ``--allow-empty``); 130 interrupted.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from dataclasses import asdict
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from pipeline.cli_options import (
    AllowEmpty,
    AsJson,
    Execution,
    ExistingJob,
    InsecureServers,
    JobOptions,
    LogOption,
    Policy,
    ServerPort,
    ServersToCheck,
    Verbose,
    grouped,
)
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.logs import configure_logging, say_last, use_bar
from serving.errors import ServingError

COMMAND_GROUP = "streetblur.commands"
log = logging.getLogger(__name__)


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
@grouped
def run(
    job: JobOptions,
    execution: Execution,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is due; write nothing.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", help="Serve Prometheus metrics on this loopback port."),
    ] = None,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Anonymise every picture of INPUT into OUTPUT; run it again to go on or to take in changes."""
    from pipeline import access, operations

    configure_logging(log_format, verbose=verbose)
    spec = access.spec_of(**asdict(job), **asdict(execution), metrics_port=metrics_port)
    if dry_run:
        operations.show_preview(spec)
        return
    raise typer.Exit(operations.run(spec, bar=use_bar(log_format, verbose=verbose)))


@app.command()
@grouped
def plan(job: JobOptions, log_format: LogOption = "auto") -> None:
    """List INPUT into the job's manifest and say what was found; no picture is processed."""
    from pipeline import access, operations

    configure_logging(log_format, verbose=False)
    operations.plan(access.spec_of(**asdict(job)))


@app.command()
@grouped
def status(place: ExistingJob, as_json: AsJson = False) -> None:
    """Say where the jobs in OUTPUT stand (reads the ledger only)."""
    from pipeline import access, operations

    operations.show_status(access.access_of(**asdict(place)), as_json)


@app.command()
@grouped
def rerun(
    place: ExistingJob,
    execution: Execution,
    failed: Annotated[bool, typer.Option("--failed", help="Only images that failed.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only images that were quarantined.")
    ] = False,
    shard: Annotated[int | None, typer.Option("--shard", min=0, help="This whole shard.")] = None,
    policy: Policy = None,
    log_format: LogOption = "auto",
    verbose: Verbose = False,
) -> None:
    """Do again what failed, what was quarantined, or one shard; without a flag, all that is due.

    Policy, overrides and model versions are kept with the job. Limits, workers, servers, runtime,
    shadows and fallback are not: give them again, or the job file that it was run with.
    """
    from pipeline import access, operations

    configure_logging(log_format, verbose=verbose)
    choice = operations.choice_of(failed=failed, quarantined=quarantined, shard=shard)
    job = access.access_of(**asdict(place))
    spec = access.spec_of_job(job, job_file=place.job_file, policy=policy, **asdict(execution))
    bar = use_bar(log_format, verbose=verbose)
    raise typer.Exit(operations.run(spec, bar=bar, choice=choice))


@app.command()
@grouped
def verify(place: ExistingJob, allow_empty: AllowEmpty = None, as_json: AsJson = False) -> None:
    """Check that manifest, commits and the objects in OUTPUT agree; nothing is changed."""
    from pipeline import access, operations

    job = access.access_of(**asdict(place))
    raise typer.Exit(operations.verify_job(job, as_json, allow_empty=bool(allow_empty)))


@app.command()
@grouped
def explain(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of an image, relative to the input.")
    ],
    place: ExistingJob,
    as_json: AsJson = False,
) -> None:
    """Show what became of one image and why: each detection, kept or dropped."""
    from pipeline import access, operations

    job = access.access_of(**asdict(place))
    raise typer.Exit(operations.explain(job, key, as_json))


@app.command()
def serve(
    install: Annotated[
        bool,
        typer.Option("--install", help="Make the server's own environment first (300 MB, once)."),
    ] = False,
    grpc_port: ServerPort = None,
    http_port: ServerPort = None,
    metrics_port: ServerPort = None,
) -> None:
    """Start a real Triton server on this machine; prints its grpc:// address, for --triton."""
    from pipeline import serve_commands

    ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
    serve_commands.serve(install=install, ports=ports)


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
def models_check(triton: ServersToCheck = None, insecure: InsecureServers = None) -> None:
    """Check files, contracts and the canary image; or, with --triton, what servers answer."""
    from pipeline import access, model_commands

    if triton:
        model_commands.check_servers(access.servers_of(triton, insecure))
    else:
        model_commands.check()


@models_app.command("compare")
@grouped
def models_compare(place: ExistingJob, as_json: AsJson = False) -> None:
    """Show how shadows (--shadow) differ from the versions that decided, over a job in OUTPUT."""
    from pipeline import access, model_commands

    model_commands.show_comparison(access.access_of(**asdict(place)), as_json)


@policy_app.command("list")
def policy_list() -> None:
    """List the policies that ship with the package."""
    from pipeline import operations

    operations.list_policies()


@policy_app.command("show")
def policy_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a packaged policy, or a YAML file.")
    ],
) -> None:
    """Print a policy with all its values, as YAML that --policy accepts."""
    from pipeline import operations

    operations.show_policy(name)


def told(error: OSError) -> str:
    """One line for an error of the operating system that nobody foresaw, with its place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    what = f"{type(error).__name__}: {error.strerror or error}{place}"
    where = f"{error.filename}: " if error.filename is not None else ""
    return (
        f"{where}{what}. Check the path, its permissions and the disk's free space, and run again; "
        "`run` and `rerun` say more with --verbose."
    )


def main() -> None:
    """Entry point: every error becomes one clear line and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except (StreetblurError, ServingError) as error:
        _end(str(error), 2 if isinstance(error, ConfigurationError) else 1)
    except OSError as error:
        log.debug("unforeseen error of the operating system", exc_info=error)
        _end(told(error), 1)
    except KeyboardInterrupt:
        _end("stopped by a signal", 130)


def _end(text: str, code: int) -> NoReturn:
    say_last(text, label="interrupted" if code == 130 else "error", exit_code=code)
    sys.exit(code)


if __name__ == "__main__":
    main()
