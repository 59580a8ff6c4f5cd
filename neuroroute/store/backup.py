"""
The whole state of a gateway as one file, and back.

The file is a zip archive: `tables/NAME` holds a table in PostgreSQL's binary COPY format, `manifest.json` (the last entry) the migrations that
had run, and of each table its columns, rows and SHA-256. All tables are of one snapshot. Memory stays bounded: tables go through in pieces.
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from neuroroute.core import jsonbytes
from neuroroute.core.clock import utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.store import migrate
from neuroroute.store.postgres import BadValue, Database, DatabaseFault, Transaction

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
LEFT_OUT: Final = ("migrations", "budget_holds", "semantic_answers")
"""What ran is in the manifest; holds belong to processes that are gone; the third is a cache, and not in every database."""
PIECE_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 86_400.0

SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
TABLES: Final = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
GROUP BY c.relname ORDER BY c.relname
"""
REFERENCES: Final = """
SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent FROM pg_constraint
WHERE contype = 'f' AND connamespace = current_schema()::regnamespace AND conrelid <> confrelid
"""
SEALED: Final = "SELECT count(*) FROM provider_keys"


class BackupFaulty(Exception):
    """A backup that can not be made or restored. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """bytes: before compression. sha256: of these."""

    name: str
    columns: list[str]
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """migrations: [name, checksum] of all that had run. sealed_provider_keys: how many need the NEUROROUTE_SECRET_KEY that they were sealed with."""

    format: int
    created_at: str
    migrations: list[list[str]]
    tables: list[Table]
    sealed_provider_keys: int = 0

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


async def backup(database: Database, path: Path) -> Manifest:
    """
    Write the state of this moment to `path`, readable by its owner alone; whole or not at all.

    Raises: BackupFaulty where a file is there already, or nothing can be written; DatabaseAway
    """
    with _new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        return await _fill(database, archive)


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Becomes `path` where the block ends well."""
    if path.exists():
        raise BackupFaulty(f"{path} is there already: choose another name.")
    making = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except OSError as error:
        raise BackupFaulty(f"{path}: can not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            making.unlink()


async def _fill(database: Database, archive: zipfile.ZipFile) -> Manifest:
    async with database.transaction(timeout_s=TIMEOUT_S) as transaction:
        await transaction.execute(SNAPSHOT)
        ran = [[one.name, one.checksum] for one in await migrate.status(transaction) if one.applied_at is not None]
        if not ran:
            raise BackupFaulty("This database has no tables of NeuroRoute: there is nothing to keep.")
        tables = []
        for row in await transaction.fetch(TABLES):
            if row["name"] not in LEFT_OUT:
                tables.append(await _copy_out(transaction, archive, row["name"], list(row["columns"])))
        sealed = int(await transaction.fetchval(SEALED))
        manifest = Manifest(FORMAT, utcnow().isoformat(), ran, tables, sealed)
        archive.writestr(MANIFEST, jsonbytes.dumps(asdict(manifest)))
    return manifest


async def _copy_out(transaction: Transaction, archive: zipfile.ZipFile, name: str, columns: list[str]) -> Table:
    digest, size = hashlib.sha256(), 0
    with archive.open(f"tables/{name}", "w", force_zip64=True) as entry:

        async def keep(piece: bytes) -> None:
            nonlocal size
            digest.update(piece)
            size += len(piece)
            entry.write(piece)

        told = await transaction.stream(
            lambda connection: connection.copy_from_table(name, output=keep, columns=columns, format="binary"), f"COPY {name}"
        )
    return Table(name, columns, _rows(told), size, digest.hexdigest())


def read_manifest(path: Path) -> Manifest:
    """Raises: BackupFaulty where the file is none of ours, or of a newer format."""
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, Any] = jsonbytes.loads(archive.read(MANIFEST))
        if found["format"] > FORMAT:
            raise BackupFaulty(f"{path} was written by a newer NeuroRoute: restore it with that one.")
        tables = [Table(**table) for table in found["tables"]]
        datetime.fromisoformat(found["created_at"])
        return Manifest(found["format"], found["created_at"], found["migrations"], tables, int(found["sealed_provider_keys"]))
    except OSError as error:
        raise BackupFaulty(f"{path}: can not be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise BackupFaulty(f"{path} is no backup of NeuroRoute, or is cut off.") from error


async def restore(database: Database, path: Path, *, force: bool = False, told: Callable[[str], None] = lambda line: None) -> Manifest:
    """
    Put a backup into an empty database, then bring its schema up to date. All rows come, or none.

    force: into one that has rows; they are gone then.
    Raises: BackupFaulty where the backup is damaged or of a newer schema, or the database is not empty; DatabaseAway
    """
    manifest = read_manifest(path)
    await _fitting_schema(database, manifest)
    async with database.transaction(timeout_s=TIMEOUT_S) as transaction:
        columns = {row["name"]: set(row["columns"]) for row in await transaction.fetch(TABLES)}
        if strange := [table.name for table in manifest.tables if not set(table.columns) <= columns.get(table.name, set())]:
            raise BackupFaulty(f"{path} has tables or columns that this database lacks: {', '.join(strange)}.")
        full = [name for name in columns if name not in LEFT_OUT and await _has_rows(transaction, name)]
        if full and not force:
            raise BackupFaulty(
                f"The database is not empty ({', '.join(sorted(full))}): restore into a new one, or replace its rows with --force."
            )
        emptied = ", ".join(f'"{name}"' for name in columns if name != "migrations")
        await transaction.script(f"TRUNCATE {emptied}")
        parents = await transaction.fetch(REFERENCES)
        with zipfile.ZipFile(path) as archive:
            for table in _parents_first(manifest.tables, [(row["child"], row["parent"]) for row in parents]):
                told(f"{table.name}: {table.rows} rows")
                await _copy_in(transaction, archive, table)
    await migrate.run(database)
    return manifest


async def _fitting_schema(database: Database, manifest: Manifest) -> None:
    """Bring an empty database to the schema of the backup; one that has another schema is refused."""
    known = {one.name: one for one in await migrate.status(database)}
    for name, checksum in manifest.migrations:
        if name not in known or not known[name].sql:
            raise BackupFaulty(f"The backup has a newer schema ({name}): restore it with the NeuroRoute that wrote it, or a newer one.")
        if known[name].checksum != checksum:
            raise BackupFaulty(f"The backup was written with another {name} than the one here.")
    ran = {name for name, one in known.items() if one.applied_at is not None}
    wanted = {name for name, _ in manifest.migrations}
    if ran - wanted:
        raise BackupFaulty(
            "The backup is of an older schema than this database: restore it into a database without tables; it is brought up to date there."
        )
    if wanted - ran:
        await migrate.run(database, only=wanted)


async def _has_rows(transaction: Transaction, name: str) -> bool:
    found = await transaction.stream(lambda connection: connection.fetchval(f'SELECT EXISTS (SELECT FROM "{name}")'), f"rows of {name}")  # noqa: S608
    return bool(found)


async def _copy_in(transaction: Transaction, archive: zipfile.ZipFile, table: Table) -> None:
    """The rows of one table, its own triggers off: sums come as they are, and nobody is told of each row."""
    digest = hashlib.sha256()
    await transaction.script(f'ALTER TABLE "{table.name}" DISABLE TRIGGER USER')
    try:
        with archive.open(f"tables/{table.name}") as entry:
            count = await transaction.stream(
                lambda connection: connection.copy_to_table(
                    table.name, source=_pieces(entry, digest.update), columns=table.columns, format="binary"
                ),
                f"COPY {table.name}",
            )
    except (KeyError, zipfile.BadZipFile, EOFError, zlib.error, BadValue, DatabaseFault) as error:
        raise BackupFaulty(f"The backup is damaged: {table.name} can not be read. Nothing was restored.") from error
    if digest.hexdigest() != table.sha256 or _rows(count) != table.rows:
        raise BackupFaulty(f"The backup is damaged: {table.name} is not what was written. Nothing was restored.")
    await transaction.script(f'ALTER TABLE "{table.name}" ENABLE TRIGGER USER')


async def _pieces(entry: IO[bytes], seen: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    while piece := entry.read(PIECE_BYTES):
        seen(piece)
        yield piece


def _parents_first(tables: list[Table], references: list[tuple[str, str]]) -> list[Table]:
    waiting, ordered = list(tables), list[Table]()
    while waiting:
        names = {table.name for table in waiting}
        ready = [table for table in waiting if not any(child == table.name and parent in names for child, parent in references)]
        ordered += ready or waiting
        waiting = [table for table in waiting if table not in ready] if ready else []
    return ordered


def _rows(tag: object) -> int:
    """COPY 5 -> 5"""
    return int(str(tag).rpartition(" ")[2])
