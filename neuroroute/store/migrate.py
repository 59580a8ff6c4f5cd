"""
Migrations: forward only, one transaction each.

`NNNN_pre_name.sql` runs before new code does, `NNNN_post_name.sql` may wait until the old code is gone (`run(phase="pre")` leaves those out).
What ran is in the table `migrations` with a checksum; a file that changed afterwards stops the run.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Final

from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.dataclass import dataclass
from neuroroute.store.postgres import Database, DatabaseAway, DatabaseFault, Duplicate, Queries

LOCK: Final = 0x6E657572  # any number that is ours
LOCK_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.05
MIGRATION_TIMEOUT_S: Final = 3600.0
_NAME: Final = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql")
_log = logging.getLogger("neuroroute.migrate")

FIND_TABLE: Final = "SELECT to_regclass('migrations') IS NOT NULL"
MAKE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL
)
"""
LIST_APPLIED: Final = "SELECT name, checksum, applied_at FROM migrations ORDER BY name"
INSERT_APPLIED: Final = "INSERT INTO migrations (name, checksum, applied_at) VALUES ($1, $2, $3)"
TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"


class MigrationFailed(RuntimeError):
    """The schema can not be brought up to date. The message is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `applied_at` is None where it did not run yet."""

    name: str
    phase: str
    checksum: str
    sql: str
    applied_at: datetime | None = None


def folder() -> Path:
    """
    Where the migrations are: in the checkout, or in the installed package.

    Raises: MigrationFailed
    """
    package = Path(__file__).resolve().parent.parent
    for found in (package / "_migrations", package.parent / "migrations"):
        if any(found.glob("[0-9]*.sql")):
            return found
    raise MigrationFailed(f"No migrations were found beside {package}.")


def files(where: Path | None = None) -> list[Migration]:
    """
    All migrations in their order.

    Raises: MigrationFailed on a name or number that breaks the rules.
    """
    found: list[Migration] = []
    for path in sorted((where or folder()).glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationFailed(f"{path} is not named NNNN_pre_name.sql or NNNN_post_name.sql.")
        if found and found[-1].name[:4] == match[1]:
            raise MigrationFailed(f"{path} has the number of {found[-1].name}.sql: numbers may be left out, but not used twice.")
        sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        found.append(Migration(path.stem, match[2], hashlib.sha256(sql.encode()).hexdigest(), sql))
    return found


def create(name: str, phase: str = "pre", where: Path | None = None) -> Path:
    """
    An empty migration with the next number.

    Raises: MigrationFailed on a bad name.
    """
    place = where or folder()
    last = max((int(migration.name[:4]) for migration in files(place)), default=0)
    path = place / f"{last + 1:04d}_{phase}_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}.sql"
    if _NAME.fullmatch(path.name) is None:
        raise MigrationFailed(f"{path.name} is not a name for a migration: phase is pre or post, the name has letters and digits.")
    path.write_text("-- What changes, and why.\n", encoding="utf-8")
    return path


async def status(database: Queries, where: Path | None = None) -> list[Migration]:
    """
    All migrations, with the time when each ran.

    Those of a newer version come last and have no SQL: while versions are replaced one by one, the old one runs on the new schema.
    Raises: MigrationFailed where a file changed after it ran; DatabaseAway
    """
    known = files(where)
    rows = await database.fetch(LIST_APPLIED) if await database.fetchval(FIND_TABLE) else []
    applied = {row["name"]: row for row in rows}
    result = []
    for migration in known:
        row = applied.get(migration.name)
        if row is not None and row["checksum"] != migration.checksum:
            raise MigrationFailed(
                f"{migration.name} was changed after it ran ({row['applied_at']:%Y-%m-%d}): put the file back as it was, and write a new migration."
            )
        done_at = None if row is None else row["applied_at"]
        result.append(Migration(migration.name, migration.phase, migration.checksum, migration.sql, done_at))
    newer = sorted(applied.keys() - {migration.name for migration in known})
    return result + [Migration(name, name[5:9].rstrip("_"), applied[name]["checksum"], "", applied[name]["applied_at"]) for name in newer]


async def run(database: Database, where: Path | None = None, *, phase: str | None = None, only: Collection[str] | None = None) -> list[str]:
    """
    Bring the schema up to date; several processes may do it at once.

    phase: "pre" stops before the first `post` migration, but on an empty database, where there is no old code to wait for; None runs all.
    only: the names of those that may run; None = any.
    Returns the names of those that ran now.
    Raises: MigrationFailed, before anything runs where a `pre` one would have to wait behind a `post` one; DatabaseAway
    """
    done = []
    known = await status(database, where)
    if phase == "pre":
        phase = _may_stop(known)
    for migration in known:
        if migration.applied_at is not None or (only is not None and migration.name not in only):
            continue
        if phase == "pre" and migration.phase == "post":
            break
        if await _apply(database, migration):
            done.append(migration.name)
    return done


def _may_stop(known: list[Migration]) -> str | None:
    """The phase that stops before `post`, or None where nothing ever ran. Raises: MigrationFailed."""
    if all(migration.applied_at is None for migration in known):
        return None
    waiting = [migration for migration in known if migration.applied_at is None]
    post = next((place for place, migration in enumerate(waiting) if migration.phase == "post"), len(waiting))
    behind = next((migration.name for migration in waiting[post:] if migration.phase == "pre"), None)
    if behind is not None:
        raise MigrationFailed(
            f"{behind} must run before the new code and waits behind {waiting[post].name}, which must wait until the old code is gone: "
            f"roll out the version that ends with {waiting[post].name} first, or stop all gateways and run neuroroute migrate up."
        )
    return "pre"


async def _apply(database: Database, migration: Migration) -> bool:
    """Run one migration. False: another process did it meanwhile."""
    deadline_s = monotonic_s() + LOCK_TIMEOUT_S
    while monotonic_s() < deadline_s:
        try:
            async with database.transaction(timeout_s=MIGRATION_TIMEOUT_S) as transaction:
                # Asked again and again, in a new transaction each time: who waits inside pg_advisory_lock holds a snapshot, and
                # CREATE INDEX CONCURRENTLY of the lock's owner waits for that snapshot: a deadlock.
                if await transaction.fetchval(TRY_LOCK, LOCK):
                    await transaction.execute(MAKE_TABLE)
                    if any(row["name"] == migration.name for row in await transaction.fetch(LIST_APPLIED)):
                        return False
                    began_s = monotonic_s()
                    await transaction.script(migration.sql, timeout_s=MIGRATION_TIMEOUT_S)
                    await transaction.execute(INSERT_APPLIED, migration.name, migration.checksum, utcnow())
                    _log.info("migration %s: %.0f ms", migration.name, (monotonic_s() - began_s) * 1000)
                    return True
        except DatabaseAway:
            raise
        except (DatabaseFault, Duplicate) as error:
            raise MigrationFailed(f"{migration.name} failed and changed nothing: {error.__cause__}") from error
        await asyncio.sleep(POLL_S)
    raise MigrationFailed(f"Another process has been migrating this database for more than {LOCK_TIMEOUT_S:.0f} s.")
