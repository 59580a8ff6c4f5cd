"""What all verbs share: settings, faults, tables and JSON on standard output."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neuroroute.core import jsonbytes, log, settings
from neuroroute.core.settings import Settings, SettingsFaulty

if TYPE_CHECKING:
    from neuroroute.chain.versions import Versions
    from neuroroute.store.postgres import Database

Result = TypeVar("Result")


class Fault(Exception):
    """Something that the person at the terminal can mend. The message says how."""


def load(**overrides: object) -> Settings:
    """The settings, with those of a .env file in the working directory. Raises: SettingsFaulty."""
    settings.load_env_file(Path(".env"))
    return settings.read(**overrides)


def served(**overrides: object) -> int:
    """Run the gateway until it is told to stop. Returns the exit status. Raises: Fault."""
    from neuroroute.serve import StartFailed, run

    try:
        return run(load(**overrides))
    except StartFailed as failed:
        raise Fault(str(failed)) from failed


def faults() -> tuple[type[Exception], ...]:
    """What is told without a traceback."""
    from neuroroute.core.config import ConfigFaulty

    return (Fault, SettingsFaulty, ConfigFaulty)


def show(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool) -> None:
    """Rows as a JSON list, or as a table of these columns."""
    if as_json:
        print(jsonbytes.dumps_pretty(list(rows)))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(len(line[place]) for line in [heads, *cells]) for place in range(len(columns))]
    for line in [heads, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Mapping[str, object], *, as_json: bool) -> None:
    """One thing: JSON, or a line for each of its facts."""
    if as_json:
        print(jsonbytes.dumps_pretty(dict(row)))
        return
    width = max(map(len, row), default=0)
    for name, value in row.items():
        print(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(str, value)) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def with_database(chosen: Settings, work: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
    """
    What `work(database)` gives, on the database of these settings; an embedded one is started for it if it does not run.

    Raises: Fault
    """
    import asyncio

    from neuroroute.core.errors import NeuroRouteError
    from neuroroute.serve.database import Ground
    from neuroroute.store.embedded import EmbeddedFailed
    from neuroroute.store.migrate import MigrationFailed
    from neuroroute.store.postgres import Database, DatabaseAway, DatabaseFault

    log.setup("warn" if chosen.log_level == "info" else chosen.log_level)
    ground = Ground(chosen, chosen.neuroroute_data_dir.expanduser().absolute())

    async def run(url: str) -> Result:
        async with Database(url, pool_min=0, pool_max=2) as database:
            return await work(database)

    try:
        return asyncio.run(run(ground.start()))
    except DatabaseAway as away:
        raise Fault(f"{away.message} Is DATABASE_URL right, and does the server run?") from away
    except DatabaseFault as fault:
        raise Fault("The schema of the database is not up to date: neuroroute migrate up brings it there.") from fault
    except (EmbeddedFailed, MigrationFailed) as failed:
        raise Fault(str(failed)) from failed
    except NeuroRouteError as refused:
        raise Fault(refused.message) from refused
    finally:
        ground.stop()


def with_versions(chosen: Settings, work: "Callable[[Versions], Coroutine[Any, Any, Result]]") -> Result:
    """
    What `work(versions)` gives, with the configuration in effect as a gateway of these settings has it.

    Raises: Fault, ConfigFaulty
    """
    from neuroroute.adapters.demo import MODELS as DEMO_MODELS
    from neuroroute.chain.offer import Found, Offer
    from neuroroute.chain.versions import Versions
    from neuroroute.core.config import read
    from neuroroute.core.sealing import Vault

    home = chosen.neuroroute_data_dir.expanduser().absolute()
    layers = [read(chosen.neuroroute_config)] if chosen.neuroroute_config is not None else []
    offer = Offer(chosen, layers, Found({"demo": DEMO_MODELS}))

    async def run(database: "Database") -> Result:
        versions = Versions(database, offer, Vault(chosen.neuroroute_secret_key, home), home)
        await versions.refresh()
        return await work(versions)

    return with_database(chosen, run)
