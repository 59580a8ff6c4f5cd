"""`neuroroute backup` and `neuroroute restore`: all that a gateway keeps in its database, as one file."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database

if TYPE_CHECKING:
    from neuroroute.store.backup import Manifest
    from neuroroute.store.postgres import Database

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SECRETS = "Keep the file as you keep keys: whoever has it can make keys of this gateway valid elsewhere."


def backup(file: Annotated[Path, typer.Argument(help="Where to write; must not be there yet.")], json: Json = False) -> None:
    """Write users, keys, configuration, usage, audit log and all else of the database to one file. Gateways may run meanwhile."""

    async def work(database: "Database") -> "Manifest":
        from neuroroute.store import backup as files

        return await files.backup(database, file)

    manifest = _done(work)
    _show(manifest, {"wrote": str(file), "bytes": file.stat().st_size}, as_json=json)
    if not json:
        print(SECRETS)


def restore(
    file: Annotated[Path, typer.Argument(help="What neuroroute backup wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Also into a database that has rows: they are replaced.")] = False,
    json: Json = False,
) -> None:
    """Put a backup into an empty database: all rows come, or none. Its keys work on; an older schema is brought up to date."""

    async def work(database: "Database") -> "Manifest":
        from neuroroute.store import backup as files

        return await files.restore(database, file, force=force, told=(lambda line: None) if json else print)

    manifest = _done(work)
    _show(manifest, {"restored": str(file)}, as_json=json)
    if manifest.sealed_provider_keys and not json:
        print(
            f"{manifest.sealed_provider_keys} provider keys are sealed: they open with the NEUROROUTE_SECRET_KEY that they were sealed with."
        )


def _done(work: Callable[[Any], Coroutine[Any, Any, "Manifest"]]) -> "Manifest":
    from neuroroute.store.backup import BackupFaulty

    try:
        return with_database(load(), work)
    except BackupFaulty as faulty:
        raise Fault(str(faulty)) from faulty


def _show(manifest: "Manifest", first: dict[str, object], *, as_json: bool) -> None:
    tables = [{"table": table.name, "rows": table.rows, "bytes": table.bytes} for table in manifest.tables]
    facts = {
        **first, "created_at": manifest.created_at, "schema": manifest.migrations[-1][0], "rows": manifest.rows,
        "sealed_provider_keys": manifest.sealed_provider_keys,
    }  # fmt: skip
    if as_json:
        show_one({**facts, "tables": tables}, as_json=True)
        return
    show([table for table in tables if table["rows"]], ("table", "rows", "bytes"), as_json=False)
    show_one(facts, as_json=False)
