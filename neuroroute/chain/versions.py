"""
What admins changed of the configuration, in force in every worker of every replica.

Each change is a version in the database. Workers hear of it within milliseconds, and look for themselves every POLL_S where they did not. The last
one is kept in a file as well, so that a start while the database is away routes as before. Credentials of providers are no part of versions: they
are sealed in a table of their own, and a rollback brings none back.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from neuroroute.chain.offer import Offer
from neuroroute.core import jsonbytes
from neuroroute.core.config import DATABASE, ConfigFaulty, Layer, effective
from neuroroute.core.config.patch import masked_provider
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import NeuroRouteError
from neuroroute.core.sealing import SealBroken, Vault
from neuroroute.store.config import CHANNEL, ConfigVersion, ConfigVersions
from neuroroute.store.postgres import Database
from neuroroute.store.provider_keys import ProviderKeys

SNAPSHOT_FILE: Final = "config.snapshot"
POLL_S: Final = 2.0
_START_S: Final = 0.5
_log = logging.getLogger("neuroroute.config")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a provider, as admins set it."""

    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class State:
    """
    What the database says. number: its version, 0 = nothing was ever changed; own: what that version holds; credentials: of providers that have some;
    closed: providers whose credentials can not be opened, and why.
    """

    number: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    sealed: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    closed: Mapping[str, str] = field(default_factory=dict)
    author: str | None = None
    comment: str | None = None
    created_at: datetime | None = None

    @property
    def layer(self) -> Layer:
        """The configuration's layer: what the version holds, with the credentials."""
        return layer_of(self.own, self.credentials)


def layer_of(own: Mapping[str, Any], credentials: Mapping[str, Credentials]) -> Layer:
    values = dict(own)
    if isinstance(providers := values.get("providers"), Mapping):
        values["providers"] = {name: _opened(entry, credentials.get(name)) for name, entry in providers.items()}
    return Layer(DATABASE, values)


def _opened(entry: Any, credentials: Credentials | None) -> Any:
    if credentials is None or not isinstance(entry, Mapping):
        return entry
    more: dict[str, Any] = {} if credentials.api_key is None else {"api_key": credentials.api_key}
    return {**entry, **more, **({"headers": dict(credentials.headers)} if credentials.headers else {})}


class Versions:
    """
    The versions in the database and their effect on an `Offer`. data_dir: where the last one is kept for starts without the database; None = nowhere.

    `state` is what is in force here; `fault` tells why what the database holds is not (None = it is).
    """

    def __init__(self, database: Database, offer: Offer, vault: Vault, data_dir: Path | None = None) -> None:
        self.database, self.offer, self.vault = database, offer, vault
        self.state: State = State()
        self.fault: str | None = None
        self._path = None if data_dir is None else data_dir / SNAPSHOT_FILE
        self._wake, self._reading = asyncio.Event(), asyncio.Lock()
        self._stop: Callable[[], None] | None = None

    def entry(self, section: str, name: str) -> dict[str, Any]:
        """
        An entry of `providers` or `models` in effect, as API and command line show it: masked, and each value that somebody set with its source.
        """
        offer = self.offer
        found = getattr(offer.config, section)[name]
        prefix = f"{section}.{name}."
        sources = {
            one.key.removeprefix(prefix): one.place or one.source
            for one in effective(offer.config, *offer.layers)
            if one.key.startswith(prefix) and one.source != "default"
        }
        values = found.model_dump(mode="json")
        more: dict[str, Any] = {"sources": sources}
        if section == "providers":
            values = masked_provider(values)
            values["base_url"] = found.address
            closed = name in self.state.closed
            more["credentials"] = "can not be opened: NEUROROUTE_SECRET_KEY is not the one that sealed them" if closed else None
        return {"object": section[:-1], "name": name, **values, **more}

    async def start(self) -> None:
        """What was kept last is in force at once, and what the database says, if it says it soon."""
        kept = await asyncio.to_thread(self._kept)
        if kept is not None:
            self._take(kept)
        with contextlib.suppress(NeuroRouteError, TimeoutError):
            async with asyncio.timeout(_START_S):
                await self.refresh()
        self._stop = self.database.listen(CHANNEL, lambda version: self._wake.set(), self._wake.set)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()

    async def follow(self) -> None:
        """Keep up with the database, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            self._wake.clear()
            with contextlib.suppress(NeuroRouteError):  # away: what is in force stays
                if await ConfigVersions(self.database).number() != self.state.number or self.fault is not None:
                    await self.refresh()

    async def read(self) -> State:
        """What the database says now. Raises: DatabaseAway"""
        async with self.database.transaction() as change:
            version = await ConfigVersions(change).current()
            sealed = await ProviderKeys(change).all()
        return await asyncio.to_thread(self._state, version, sealed)

    async def refresh(self) -> None:
        """What the database says comes into force, unless it is not good, which is logged. Raises: DatabaseAway"""
        async with self._reading:  # so that no older answer comes late
            state = await self.read()
            if self._take(state):
                await asyncio.to_thread(self._keep, state)

    def _take(self, state: State) -> bool:
        try:
            self.offer.take(state.layer)
        except ConfigFaulty as faulty:
            if str(faulty) != self.fault:
                _log.error("version %d of the configuration is refused, what was in force stays:\n%s", state.number, faulty)
            self.fault = str(faulty)
            return False
        if state.number != self.state.number:
            _log.info("version %d of the configuration is in effect", state.number)
        self.state, self.fault = state, None
        return True

    def _state(self, version: ConfigVersion | None, sealed: Mapping[str, bytes]) -> State:
        credentials, closed = {}, {}
        for name, what in sealed.items():
            try:
                credentials[name] = unsealed(self.vault, name, what)
            except SealBroken as broken:
                closed[name] = str(broken)
                _log.error("the credentials of the provider %s can not be opened: %s", name, broken)
        if version is None:
            return State(credentials=credentials, sealed=sealed, closed=closed)
        return State(
            version.version, version.config, credentials, sealed, closed, version.author, version.comment or None, version.created_at
        )

    def _keep(self, state: State) -> None:
        """Write the file for starts without the database; the credentials stay sealed in it. A disk that does not take it is logged."""
        if self._path is None:
            return
        body = jsonbytes.dumps(
            {"version": state.number, "config": state.own, "sealed": {name: what.hex() for name, what in state.sealed.items()}}
        )
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(body)
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("the configuration can not be kept for a start without the database: %s", error)

    def _kept(self) -> State | None:
        try:
            raw = self._path.read_bytes() if self._path is not None else b""
            found = jsonbytes.loads(raw) if raw else None
            if found is None:
                return None
            sealed = {name: bytes.fromhex(what) for name, what in found["sealed"].items()}
            state = self._state(None, sealed)
            return State(int(found["version"]), dict(found["config"]), state.credentials, sealed, state.closed)
        except OSError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.error("%s can not be read; it is not used", SNAPSHOT_FILE)
            return None


def purpose_of(name: str) -> str:
    """What credentials are bound to: those of one provider open for no other."""
    return f"provider:{name}"


def unsealed(vault: Vault, name: str, sealed: bytes) -> Credentials:
    """Raises: SealBroken"""
    found = jsonbytes.loads(vault.open(sealed, purpose_of(name)))
    return Credentials(found.get("api_key"), found.get("headers") or {})


def sealed_of(vault: Vault, name: str, credentials: Credentials) -> bytes:
    return vault.seal(jsonbytes.dumps({"api_key": credentials.api_key, "headers": dict(credentials.headers)}), purpose_of(name))
