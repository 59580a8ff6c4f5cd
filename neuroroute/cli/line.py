"""The command line as it is described: every verb with its options and help."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from neuroroute import __version__
from neuroroute.cli.out import load, served

_GROUPS: Final = {
    "keys": "keys",
    "users": "users",
    "models": "models",
    "providers": "providers",
    "config": "config",
    "migrate": "migrate",
    "journal": "journal",
    "alerts": "alerts",
    "import": "imports",
}
"""Verbs that have verbs of their own, each in a module of this package, as its `app`."""
_VERBS: Final = {
    "launch": "launch",
    "route": "route",
    "usage": "usage",
    "replay": "replay",
    "refit": "refit",
    "backup": "backup",
    "restore": "backup",
}
"""Single verbs, each a function of that name in a module of this package."""
_OPTIONS: Final[dict[str, dict[str, Any]]] = {"launch": {"context_settings": {"ignore_unknown_options": True}}}


def command_line(verb: str | None = None) -> typer.Typer:
    """
    The command line. Where `verb` is one of its verbs, with that one alone: to import and describe all of them takes a third of the time in
    which `serve` starts.
    """
    found = typer.Typer(
        name="neuroroute",
        help="An OpenAI-compatible gateway that sends each request to the model that suits it best.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=True,
    )
    found.callback(invoke_without_command=True)(_root)
    own: dict[str, Callable[..., None]] = {"serve": serve, "doctor": doctor}
    everything = verb not in {*_GROUPS, *_VERBS, *own}
    for name, module in _GROUPS.items():
        if everything or name == verb:
            found.add_typer(import_module(f"neuroroute.cli.{module}").app, name=name)
    for name, function in own.items():
        if everything or name == verb:
            found.command(name)(function)
    for name, module in _VERBS.items():
        if everything or name == verb:
            found.command(name, **_OPTIONS.get(name, {}))(getattr(import_module(f"neuroroute.cli.{module}"), name))
    return found


def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [PORT].")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes [WORKERS].")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the database and the admin key [NEUROROUTE_DATA_DIR].")] = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    raise typer.Exit(served(host=host, port=port, workers=workers, neuroroute_config=config, neuroroute_data_dir=data_dir))


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check what the gateway needs: Python, folders, database, Redis, port, providers; and say what to do."""
    from neuroroute.cli.doctor import examine

    raise typer.Exit(examine(load(), as_json=json))
