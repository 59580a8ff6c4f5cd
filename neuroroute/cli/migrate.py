"""`neuroroute migrate`: the schema of the database."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import Fault, load, show, with_database

if TYPE_CHECKING:
    from neuroroute.store.postgres import Database

app = typer.Typer(help="The schema of the database: bring it up to date (default), show its state, make a new migration.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def migrate(
    context: typer.Context,
    status: Annotated[bool, typer.Option("--status", help="Only show what ran and what is to run.")] = False,
    create: Annotated[str | None, typer.Option("--create", metavar="NAME", help="Make an empty migration with the next number.")] = None,
    phase: Annotated[
        str | None, typer.Option(help="pre: stop before what must wait for the old code to be gone. With --create: its kind.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring the schema up to date."""
    if context.invoked_subcommand is not None:
        return
    if phase not in (None, "pre", "post"):
        raise Fault("--phase is pre or post.")
    if create is not None:
        from neuroroute.store import migrate as migrations

        try:
            path = migrations.create(create, phase or "pre")
        except migrations.MigrationFailed as failed:
            raise Fault(str(failed)) from failed
        show([{"made": str(path)}], ("made",), as_json=json)
    elif status:
        _status(json)
    else:
        _up(phase, json)


@app.command()
def up(
    phase: Annotated[str | None, typer.Option(help="pre: stop before what must wait for the old code to be gone.")] = None,
    json: Json = False,
) -> None:
    """Bring the schema up to date."""
    _up(phase, json)


def _up(phase: str | None, json: bool) -> None:
    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.store import migrate as migrations

        return [{"migration": name} for name in await migrations.run(database, phase=phase)]

    done = with_database(load(), work)
    if not done and not json:
        print("The schema is up to date.")
    else:
        show(done, ("migration",), as_json=json)


def _status(json: bool) -> None:
    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.store import migrate as migrations

        return [
            {"migration": migration.name, "phase": migration.phase, "applied_at": migration.applied_at}
            for migration in await migrations.status(database)
        ]

    show(with_database(load(), work), ("migration", "phase", "applied_at"), as_json=json)
