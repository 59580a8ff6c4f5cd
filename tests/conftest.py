"""Fixtures of all tests: a fresh migrated database, an empty Redis."""

import os
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

# Hundreds of processes are started here. Where the environment forbids to keep compiled modules, each of them compiles them all anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from neuroroute.store.postgres import Database
from tests.support.services import Postgres, redis_server


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The PostgreSQL of this run: `copy()` makes databases in it."""
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")[:12]
    server = Postgres(shared)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """A database of the test's own, migrated and empty."""
    url = postgres_server.copy()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def empty_database_url(postgres_server: Postgres) -> Iterator[str]:
    """A database of the test's own without any table."""
    url = postgres_server.copy(migrated=False)
    yield url
    postgres_server.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The pool over `database_url`."""
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
async def redis_url(_redis_server: str) -> AsyncIterator[str]:
    """An empty database of a Redis-protocol server."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(_redis_server)
    await client.flushdb()
    await client.script_flush()
    await client.aclose()
    yield _redis_server
