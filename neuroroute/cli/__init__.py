"""
The command line: `neuroroute <verb>`. Each verb imports what it needs when it runs, so that `serve` starts without the rest.

Verbs that print data take `--json`. Faults of the operator (settings, configuration, database) are told in plain lines, exit status 2.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from neuroroute import __version__
from neuroroute.cli import (
    alerts,
    backup,
    config,
    imports,
    journal,
    keys,
    launch,
    migrate,
    models,
    providers,
    refit,
    replay,
    route,
    usage,
    users,
)
from neuroroute.cli.out import Fault, faults, load

app = typer.Typer(
    name="neuroroute",
    help="An OpenAI-compatible gateway that sends each request to the model that suits it best.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=True,
)
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")
app.add_typer(models.app, name="models")
app.add_typer(providers.app, name="providers")
app.add_typer(config.app, name="config")
app.add_typer(migrate.app, name="migrate")
app.add_typer(journal.app, name="journal")
app.add_typer(alerts.app, name="alerts")
app.add_typer(imports.app, name="import")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [PORT].")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes [WORKERS].")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the database and the admin key [NEUROROUTE_DATA_DIR].")] = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    from neuroroute.serve import StartFailed, run

    settings = load(host=host, port=port, workers=workers, neuroroute_config=config, neuroroute_data_dir=data_dir)
    try:
        raise typer.Exit(run(settings))
    except StartFailed as failed:
        raise Fault(str(failed)) from failed


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check what the gateway needs: Python, folders, database, Redis, port, providers; and say what to do."""
    from neuroroute.cli.doctor import examine

    raise typer.Exit(examine(load(), as_json=json))


app.command("launch", context_settings={"ignore_unknown_options": True})(launch.launch)
app.command("route")(route.route)
app.command("usage")(usage.usage)
app.command("replay")(replay.replay)
app.command("refit")(refit.refit)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


def main() -> int:
    """Run the command line. Returns the exit status."""
    try:
        app(prog_name="neuroroute")
    except faults() as error:
        print(f"neuroroute: {error}" if "\n" not in str(error) else f"neuroroute:\n{error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
