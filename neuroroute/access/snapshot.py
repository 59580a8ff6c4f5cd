"""
The keyring on disk, for a start while the database is away.

Three files in the data directory, mode 0600: `keys.snapshot` (HMAC, then JSON: digests, never keys), `keys.secret` (what digests are made
with), `keys.auth` (random, of this data directory alone; the HMAC's key, so that a snapshot put there from elsewhere is not believed).
"""

import contextlib
import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass
from neuroroute.core.gate import Gate
from neuroroute.core.money import Budget, Period
from neuroroute.core.types import Limits, Principal, Role

MAC_BYTES: Final = 32
SECRET_BYTES: Final = 32
FORMAT: Final = 1
_log = logging.getLogger("neuroroute.access")


@dataclass(frozen=True, slots=True)
class Kept:
    """secret: what digests are made with; synced_at_s: Unix seconds when this was the database's state; principals: by digest."""

    secret: bytes
    synced_at_s: float
    principals: Mapping[bytes, Principal]


class SnapshotFile:
    """Blocks: call it in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "keys.snapshot"
        self._secret_path = data_dir / "keys.secret"
        self._auth_path = data_dir / "keys.auth"

    def write(self, kept: Kept) -> None:
        """Replace the snapshot, unless a newer one is there. A disk that does not take it is logged."""
        body = jsonbytes.dumps(
            {
                "format": FORMAT,
                "synced_at_s": kept.synced_at_s,
                "keys": [[digest.hex(), _plain(principal)] for digest, principal in kept.principals.items()],
            }
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            auth = self._auth(make=True)
            assert auth is not None
            if self._read_bytes(self._secret_path) != kept.secret:
                _replace(self._secret_path, kept.secret)
            _replace(self._path, _mac(auth, kept.secret, body) + body)
        except OSError as error:
            _log.warning("the key snapshot can not be written: %s", error)

    def read(self) -> Kept | None:
        """The snapshot; None where there is none, or not one of ours."""
        auth, secret, raw = self._auth(make=False), self._read_bytes(self._secret_path), self._read_bytes(self._path)
        if auth is None or secret is None or raw is None or len(secret) != SECRET_BYTES:
            return None
        mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(auth, secret, body)):
            _log.error("%s is not what this gateway wrote; it is not used", self._path)
            return None
        try:
            found = jsonbytes.loads(body)
            if found["format"] != FORMAT:
                return None
            principals = {bytes.fromhex(digest): _principal(plain) for digest, plain in found["keys"]}
            return Kept(secret, float(found["synced_at_s"]), principals)
        except (ValueError, KeyError, TypeError) as error:
            _log.error("%s can not be read: %s", self._path, error)
            return None

    def _auth(self, *, make: bool) -> bytes | None:
        found = self._read_bytes(self._auth_path)
        if found is None and make:
            with contextlib.suppress(FileExistsError):  # another worker was first
                _create(self._auth_path, os.urandom(SECRET_BYTES))
            found = self._read_bytes(self._auth_path)
        return found if found is not None and len(found) == SECRET_BYTES else None

    @staticmethod
    def _read_bytes(path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError:
            return None


def _mac(auth: bytes, secret: bytes, body: bytes) -> bytes:
    return hmac.digest(auth, secret + body, hashlib.sha256)


def _create(path: Path, content: bytes) -> None:
    """Make a file of ours, whole or not at all. Raises: FileExistsError"""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    _write(fresh, content)
    try:
        os.link(fresh, path)  # unlike a rename, fails where the file exists
    finally:
        fresh.unlink()


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    _write(fresh, content)
    fresh.replace(path)


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _plain(principal: Principal) -> dict[str, Any]:
    return {
        "key_id": principal.key_id,
        "user_id": principal.user_id,
        "role": principal.role.value,
        "allowed_models": None if principal.allowed_models is None else sorted(principal.allowed_models),
        "limits": _limits(principal.limits),
        "user_limits": _limits(principal.user_limits),
        "expires_at_s": principal.expires_at_s,
        "tags": dict(principal.tags),
        "on_disconnect": principal.on_disconnect,
        "semantic_cache": principal.semantic_cache,
        "store_prompts": principal.store_prompts,
        "gate": None if principal.gate is None else [principal.gate.routes, _written(principal.gate)],
        "budgets": [[b.scope, b.subject, b.limit_nanousd, b.period.value, b.spent_policy] for b in principal.budgets],
    }


def _written(gate: Gate) -> list[str] | None:
    return None if gate.networks is None else [str(one) for one in gate.networks]


def _limits(limits: Limits) -> list[int | None]:
    return [limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency]


def _principal(plain: dict[str, Any]) -> Principal:
    models = plain["allowed_models"]
    return Principal(
        plain["key_id"], plain["user_id"], Role(plain["role"]), None if models is None else frozenset(models), Limits(*plain["limits"]),
        Limits(*plain["user_limits"]), plain["expires_at_s"], plain["tags"], plain.get("on_disconnect", "cancel"),
        tuple([Budget(scope, subject, limit, Period(period), policy) for scope, subject, limit, period, policy in plain.get("budgets", ())]),
        plain.get("semantic_cache"), plain.get("store_prompts", True), Gate.of(*(plain.get("gate") or (None, None))),
    )  # fmt: skip
