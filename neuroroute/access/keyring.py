"""
Whose key is it? `Keyring` holds every usable key of the database in memory.

It is kept right in three ways: the database tells of each changed key or user (heard by all processes within milliseconds), everything is read
again when that feed was interrupted, and everything is read again from time to time. While the database is away known keys go on, from what was
right when it went; keys that are not known get Unavailable, never a false "invalid key". `snapshot` carries the keys over a restart in an outage.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from neuroroute.access.keys import digest_secret
from neuroroute.access.snapshot import Kept, SnapshotFile
from neuroroute.core.clock import monotonic_s, unix_s, utcnow
from neuroroute.core.errors import NeuroRouteError, Unauthenticated, Unavailable
from neuroroute.core.gate import Gate
from neuroroute.core.ids import key_digest, salted, well_formed
from neuroroute.core.tasks import Tasks, cancel, spawn
from neuroroute.core.types import Principal
from neuroroute.store.api_keys import Access, ApiKeys
from neuroroute.store.postgres import Database

CHANNEL: Final = "neuroroute_keys"
POLL_S: Final = 3.0
POLL_COST: Final = 0.02  # reading everything again may take this share of the time: with very many keys it happens less often
PAGE: Final = 400  # about 4 ms of the loop at a time
LOOKUP_TIMEOUT_S: Final = 0.9  # an unknown key gets its answer within a second
LOOKUPS_AT_ONCE: Final = 64
UNKNOWN_FOR_S: Final = 2.0
UNKNOWN_MAX: Final = 10_000
MARKS_MAX: Final = 10_000
USED_EVERY_S: Final = 15.0
SAVE_AFTER_S: Final = 0.2
SAVE_EVERY_S: Final = 120.0
AGAIN_S: Final = (0.1, 1.0)  # while the database is away: the first pause, the longest
_log = logging.getLogger("neuroroute.access")


class Keyring:
    """
    data_dir: where a snapshot for starts without the database is kept; None = nowhere.
    stale_max_s: how long known keys work after the database was last heard of.
    """

    def __init__(self, database: Database, *, data_dir: Path | None = None, stale_max_s: float = 86_400.0, poll_s: float = POLL_S) -> None:
        self._database, self._stale_max_s, self._poll_s = database, stale_max_s, poll_s
        self._api_keys = ApiKeys(database)
        self._file = SnapshotFile(data_dir) if data_dir is not None else None
        self._secret: bytes | None = None
        self._principals: dict[bytes, Principal] = {}
        self._marks: dict[bytes, bytes] = {}  # the digests of keys that were used, by `salted`
        self._digests: dict[str, tuple[bytes, ...]] = {}  # key id -> its digests in _principals
        self._unknown: dict[bytes, float] = {}  # digest -> until when it need not be looked up again
        self._lookups: dict[bytes, asyncio.Task[Principal | NeuroRouteError]] = {}
        self._changed: set[str] = set()  # ids that the database told of
        self._read_all = True
        self._wake = asyncio.Event()
        self._loaded = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._synced_at_s = 0.0
        self._stale = True
        self._used: set[str] = set()
        self._tasks = Tasks()
        self._stop_listening: Callable[[], None] | None = None

    def __len__(self) -> int:
        """Usable keys in memory."""
        return len(self._digests)

    @property
    def ready(self) -> bool:
        """Whether known keys can be served."""
        return not self._stale

    @property
    def synced_at_s(self) -> float:
        """Unix seconds when memory was last known to agree with the database; 0 = never."""
        return self._synced_at_s

    async def start(self, timeout_s: float = 1.0) -> None:
        """Read the keys; where the database does not answer in time, the snapshot. Never fails for an absent database."""
        self._stop_listening = self._database.listen(CHANNEL, self._told, self._feed_began)
        self._tasks.keep("keyring", self._follow)
        self._tasks.keep("key last use", self._note_use, backoff_s=USED_EVERY_S)
        if self._file is not None:
            self._tasks.keep("key snapshot", self._save)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._loaded.wait()
        if self._stale and self._file is not None:
            self._restore(await asyncio.to_thread(self._file.read))

    async def close(self) -> None:
        if self._stop_listening is not None:
            self._stop_listening()
        await self._tasks.close()
        for lookup in list(self._lookups.values()):
            await cancel(lookup)
        if self._used:
            with contextlib.suppress(NeuroRouteError):
                await self._write_use()

    def find(self, bearer: str) -> Principal | None:
        """The owner of a key that is known and usable now. No I/O; about 1 us."""
        if self._secret is None or self._stale:
            return None
        mark = salted(bearer)
        digest = self._marks.get(mark)
        if digest is None:
            digest = key_digest(bearer, self._secret)
            if digest in self._principals:
                if len(self._marks) >= MARKS_MAX:
                    self._marks.clear()
                self._marks[mark] = digest
        found = self._principals.get(digest)
        if found is None or (found.expires_at_s is not None and found.expires_at_s <= unix_s()):
            return None
        self._used.add(found.key_id)
        return found

    async def resolve(self, bearer: str) -> Principal:
        """
        The owner of a key that `find` does not know.

        Raises: Unauthenticated; Unavailable where only the database, which does not answer, could tell.
        """
        if not well_formed(bearer) and not self._stale:
            raise _refused()
        if self._secret is None:
            raise _unknowable()
        return await self.of_digest(key_digest(bearer, self._secret))

    async def of_digest(self, digest: bytes) -> Principal:
        """
        The owner of the key whose `digest` this is, in memory or by the database.

        Raises: Unauthenticated where no usable key has it any more; Unavailable where only the database, which does not answer, could tell.
        """
        if not self._stale and digest in self._principals:
            return _usable(self._principals[digest])
        if self._unknown.get(digest, 0.0) > monotonic_s():
            raise _refused()
        found = await self._look_up(digest)
        self._used.add(found.key_id)
        return _usable(found)

    async def digest(self, key: str) -> bytes:
        """
        What is stored of `key`.

        Raises: DatabaseAway where the server's secret is not known yet.
        """
        if self._secret is None:
            await self._learn_secret()
        assert self._secret is not None
        return key_digest(key, self._secret)

    async def _look_up(self, digest: bytes) -> Principal:
        """Ask the database, once for all who ask at the same time. Raises: Unauthenticated, Unavailable"""
        lookup = self._lookups.get(digest)
        if lookup is None:
            if len(self._lookups) >= LOOKUPS_AT_ONCE:
                raise Unavailable("Too many unknown keys at once.", retry_after_s=1)
            lookup = spawn(self._ask(digest), name="key look-up")
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(digest, None))
        found = await asyncio.shield(lookup)
        if isinstance(found, Principal):
            return found
        raise type(found)(found.message, retry_after_s=found.retry_after_s)  # its own for each caller: tracebacks grow

    async def _ask(self, digest: bytes) -> Principal | NeuroRouteError:
        try:
            access = await self._api_keys.access_by_digest(digest, timeout_s=LOOKUP_TIMEOUT_S)
        except NeuroRouteError:
            return _unknowable()
        if access is None:
            if len(self._unknown) >= UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[digest] = monotonic_s() + UNKNOWN_FOR_S
            return _refused()
        self._told(access.key_id)  # the feed is late, or down
        return dict(_principals(access))[digest]

    def _told(self, id_: str) -> None:
        """The database says that a key, or the keys of a user, changed."""
        self._changed.add(id_)
        self._unknown.clear()
        self._wake.set()

    def _feed_began(self) -> None:
        """What happened before was not heard."""
        self._read_all = True
        self._wake.set()

    async def _follow(self) -> None:
        """Keep memory and database together, for ever."""
        poll_s, again_s = self._poll_s, AGAIN_S[0]
        while True:
            self._wake.clear()
            try:
                poll_s = await self._catch_up() or poll_s
            except NeuroRouteError as error:
                if again_s == AGAIN_S[0]:
                    _log.warning("keys can not be read, known ones go on: %s", error)
                self._mark_stale()
                await asyncio.sleep(again_s)
                again_s = min(again_s * 2, AGAIN_S[1])
                continue
            again_s = AGAIN_S[0]
            self._synced_at_s, self._stale = unix_s(), False
            self._loaded.set()
            try:
                async with asyncio.timeout(poll_s):
                    await self._wake.wait()
            except TimeoutError:
                self._read_all = True

    async def _catch_up(self) -> float | None:
        """Read what changed. Returns the pause before everything is read again, if everything was read."""
        if not self._loaded.is_set():
            await self._learn_secret()
        if self._read_all:
            began_s = monotonic_s()
            self._changed.clear()
            await self._reload()
            return max(self._poll_s, (monotonic_s() - began_s) / POLL_COST)
        changed, self._changed = self._changed, set()
        try:
            for id_ in changed:
                self._put(id_, await self._api_keys.access_of(id_))
                self._unsaved.set()
        except NeuroRouteError:
            self._changed |= changed
            raise
        return None

    async def _learn_secret(self) -> None:
        secret = await digest_secret(self._database)
        if self._secret is not None and secret != self._secret:
            _log.warning("the database has another key secret than the snapshot: another database")
            self._principals, self._digests = {}, {}
        self._secret = secret

    async def _reload(self) -> None:
        """Read all keys, in pages, so that neither the loop nor the database is held up."""
        principals: dict[bytes, Principal] = {}
        digests: dict[str, tuple[bytes, ...]] = {}
        after, same = "", True
        self._read_all = False  # an interruption of the feed from here on asks for it again
        try:
            while page := await self._api_keys.access_page(after, PAGE):
                for access in page:
                    pairs = _principals(access)
                    principals.update(pairs)
                    digests[access.key_id] = tuple(digest for digest, _ in pairs)
                    same = same and all(self._principals.get(digest) == principal for digest, principal in pairs)
                after = page[-1].key_id
        except BaseException:
            self._read_all = True
            raise
        if not same or len(principals) != len(self._principals):
            self._unsaved.set()
        self._principals, self._digests = principals, digests

    def _put(self, id_: str, rows: Iterable[Access]) -> None:
        """Take over the present state of one key, or of all keys of a user."""
        rows = list(rows)
        gone = [id_] if id_ in self._digests else []
        gone += [p.key_id for p in self._principals.values() if p.user_id == id_] if id_.startswith("usr_") else []
        for key_id in {*gone, *(access.key_id for access in rows)}:
            for digest in self._digests.pop(key_id, ()):
                self._principals.pop(digest, None)
        for access in rows:
            pairs = _principals(access)
            self._principals.update(pairs)
            self._digests[access.key_id] = tuple(digest for digest, _ in pairs)

    def _mark_stale(self) -> None:
        """Known keys stop to work when the database was not heard of for too long."""
        if not self._stale and unix_s() - self._synced_at_s > self._stale_max_s:
            _log.error("the database has been away for too long: keys are not served any more")
            self._stale = True

    def _restore(self, kept: Kept | None) -> None:
        """Serve from the snapshot until the database answers."""
        if kept is None or not self._stale or unix_s() - kept.synced_at_s > self._stale_max_s:
            return
        self._secret = kept.secret
        self._principals = dict(kept.principals)
        digests: dict[str, list[bytes]] = {}
        for digest, principal in kept.principals.items():
            digests.setdefault(principal.key_id, []).append(digest)
        self._digests = {key_id: tuple(found) for key_id, found in digests.items()}
        self._synced_at_s, self._stale = kept.synced_at_s, False
        _log.warning("the database does not answer: %d keys come from the snapshot", len(self._digests))

    async def _save(self) -> None:
        """Write the snapshot whenever keys changed, and now and then so that its age tells when the database was last heard of."""
        assert self._file is not None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY_S):
                    await self._unsaved.wait()
            self._unsaved.clear()
            if self._loaded.is_set() and self._secret is not None:
                await asyncio.to_thread(self._file.write, Kept(self._secret, self._synced_at_s, dict(self._principals)))
            await asyncio.sleep(SAVE_AFTER_S)

    async def _note_use(self) -> None:
        while True:
            await asyncio.sleep(USED_EVERY_S)
            await self._write_use()

    async def _write_use(self) -> None:
        used, self._used = self._used, set()
        if used:
            try:
                await self._api_keys.used(used, utcnow())
            except NeuroRouteError:
                self._used |= used
                raise


def _refused() -> Unauthenticated:
    return Unauthenticated("Incorrect API key provided.")


def _unknowable() -> Unavailable:
    return Unavailable("This API key can not be checked at the moment.", retry_after_s=2)


def _usable(principal: Principal) -> Principal:
    """Raises: Unauthenticated where the key expired."""
    if principal.expires_at_s is not None and principal.expires_at_s <= unix_s():
        raise Unauthenticated("This API key has expired.")
    return principal


def _principals(access: Access) -> list[tuple[bytes, Principal]]:
    """By digest: the key, and the one before its last rotation for as long as that works."""
    expires_at_s = access.expires_at.timestamp() if access.expires_at is not None else None
    now = Principal(
        access.key_id,
        access.user_id,
        access.role,
        access.allowed_models,
        access.limits,
        access.user_limits,
        expires_at_s,
        access.tags,
        access.on_disconnect,
        tuple(
            budget.of(scope, subject)
            for scope, subject, budget in (("key", access.key_id, access.budget), ("user", access.user_id, access.user_budget))
            if budget is not None
        ),
        access.semantic_cache,
        access.store_prompts,
        Gate.of(access.allowed_routes, access.allowed_ips),
    )
    if access.previous_digest is None or access.previous_until is None:
        return [(access.digest, now)]
    until_s = access.previous_until.timestamp()
    before = replace(now, expires_at_s=until_s if expires_at_s is None else min(until_s, expires_at_s))
    return [(access.digest, now), (access.previous_digest, before)]
