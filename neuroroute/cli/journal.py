"""`neuroroute journal`: what processes noted of their calls and has not reached the database yet."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import Fault, load, show, with_database

if TYPE_CHECKING:
    from neuroroute.store.postgres import Database

app = typer.Typer(
    help="The journal of calls in the data directory: what is in it, whether it is whole, and its way to the database.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FOLDER = "journal"


def _folder() -> Path:
    return load().neuroroute_data_dir.expanduser() / FOLDER


def _rows() -> list[dict[str, Any]]:
    from neuroroute.accounting.records import USAGE
    from neuroroute.accounting.recovery import status

    folder = _folder()
    if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Fault(f"{folder} belongs to another user: run this as the one who runs the gateway.")
    return [
        {
            "journal": one.owner,
            "state": "in use" if one.alive else "left behind",
            "segments": one.segments,
            "bytes": one.size_bytes,
            "finished": one.found.finished if one.found is not None else None,
            "interrupted": one.found.interrupted if one.found is not None else None,
            "torn_bytes": one.found.torn_bytes if one.found is not None else None,
            "corrupt_bytes": one.found.corrupt_bytes if one.found is not None else None,
            "unreadable": one.found.unreadable if one.found is not None else None,
        }
        for one in status(folder, USAGE)
    ]


@app.command("status")
def status_(json: Json = False) -> None:
    """Show all journals: those of running processes, and those that killed ones left with the calls in them."""
    show(_rows(), ("journal", "state", "segments", "bytes", "finished", "interrupted"), as_json=json)


@app.command()
def verify(json: Json = False) -> None:
    """Read every record of the journals that are left behind. Exit status 1 where something is damaged; a torn end is none: it was never told."""
    rows = _rows()
    show(rows, ("journal", "state", "finished", "interrupted", "torn_bytes", "corrupt_bytes", "unreadable"), as_json=json)
    if any(row["corrupt_bytes"] or row["unreadable"] for row in rows):
        raise typer.Exit(1)


@app.command()
def replay(json: Json = False) -> None:
    """Bring what killed processes left to the database. Running gateways do this by themselves; a call is written once however often it is replayed."""
    from neuroroute.accounting.records import USAGE
    from neuroroute.accounting.recovery import Recovery
    from neuroroute.core.errors import NeuroRouteError
    from neuroroute.store.usage import Usage

    folder = _folder()

    async def work(database: "Database") -> list[dict[str, Any]]:
        recovery = Recovery(folder, Usage(database).insert_many, USAGE)
        try:
            journals = await recovery.recover()
        except (NeuroRouteError, TimeoutError, OSError) as error:
            raise Fault(f"The journals stay as they are: {error}") from error
        found = recovery.found
        return [{"journals": journals, **asdict(found), "rejected": recovery.rejected}]

    columns = ("journals", "finished", "interrupted", "torn_bytes", "corrupt_bytes", "unreadable", "rejected")
    show(with_database(load(), work), columns, as_json=json)
