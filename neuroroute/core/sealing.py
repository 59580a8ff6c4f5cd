"""
Secrets at rest: AES-256-GCM, and the only door to `cryptography`.

What is sealed is bound to a purpose (associated data), so that it opens nowhere else. The keys come from NEUROROUTE_SECRET_KEY, several with commas
between, or else from `secret.key` in the data directory, one a line, made at the first need: the first one seals, all of them open.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE: Final = "secret.key"
PART_CHARS_MIN: Final = 16
_FORMAT: Final = b"\x01"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES
_INFO: Final = b"neuroroute sealed secrets 1"


class SealBroken(Exception):
    """What was sealed can not be opened: the key is another one, or the bytes were changed or moved."""


class Vault:
    """
    Seals and opens. given: NEUROROUTE_SECRET_KEY, None = the file in `data_dir`.

    Blocks for a file read where no key is known yet that opens what it is asked for.
    """

    def __init__(self, given: str | None, data_dir: Path) -> None:
        self._path = data_dir / KEY_FILE
        self._from_file = given is None
        self._keys = _derived(given.split(",")) if given is not None else []

    @property
    def source(self) -> str:
        """Where the keys are from, as people are told."""
        return KEY_FILE if self._from_file else "NEUROROUTE_SECRET_KEY"

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """The first key seals; one is made where there is none. Raises: OSError where the file can not be written."""
        if self._from_file:  # each time: another process may have put a new key in front, and given up the one that is known here
            self._read(make=True)
        key = self._keys[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + _id_of(key) + nonce + _cipher(key).encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Raises: SealBroken"""
        head, body = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        if len(head) < _HEAD_BYTES or not head.startswith(_FORMAT):
            raise SealBroken("not sealed by this version")
        key_id, nonce = head[1 : 1 + _ID_BYTES], head[1 + _ID_BYTES :]
        key = self._key_of(key_id)
        if key is None:
            raise SealBroken(f"sealed with a key that is not in {self.source}")
        from cryptography.exceptions import InvalidTag

        try:
            return _cipher(key).decrypt(nonce, body, purpose.encode())
        except InvalidTag:
            raise SealBroken("the bytes were changed, or belong elsewhere") from None

    def is_fresh(self, sealed: bytes) -> bool:
        """Whether the first key sealed it."""
        if self._from_file:
            self._read(make=False)
        return bool(self._keys) and sealed[1 : 1 + _ID_BYTES] == _id_of(self._keys[0])

    def renew(self) -> None:
        """Put a new key in front of those of the file; the others still open. Raises: OSError; ValueError where the keys are not the file's."""
        if not self._from_file:
            raise ValueError("the keys are those of NEUROROUTE_SECRET_KEY")
        old = self._path.read_text("ascii").split() if self._path.exists() else []
        _replace(self._path, [secrets.token_urlsafe(32), *old])
        self._read(make=False)

    def forget_old(self) -> None:
        """Keep the first key of the file alone. Raises: OSError"""
        if self._from_file and self._path.exists():
            _replace(self._path, self._path.read_text("ascii").split()[:1])
            self._read(make=False)

    def _key_of(self, key_id: bytes) -> bytes | None:
        for again in (False, True):
            if again and self._from_file:  # another process may have made a new one
                self._read(make=False)
            for key in self._keys:
                if hmac.compare_digest(_id_of(key), key_id):
                    return key
        return None

    def _read(self, *, make: bool) -> None:
        if make and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another worker was first
                _create(self._path, [secrets.token_urlsafe(32)])
        with contextlib.suppress(FileNotFoundError):
            self._keys = _derived(self._path.read_text("ascii").split())


def _derived(words: list[str]) -> list[bytes]:
    """HKDF-SHA-256 (RFC 5869) with one block of output, no salt: the words are random already."""
    kept = [word.strip() for word in words if word.strip()]
    extracted = [hmac.digest(bytes(32), word.encode(), hashlib.sha256) for word in kept]
    return [hmac.digest(one, _INFO + b"\x01", hashlib.sha256) for one in extracted]


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"id" + key).digest()[:_ID_BYTES]


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 20 ms that most starts do not need

    return AESGCM(key)


def _create(path: Path, words: list[str]) -> None:
    """Raises: FileExistsError"""
    fresh = _written(path, words)
    try:
        os.link(fresh, path)  # unlike a rename, fails where the file exists
    finally:
        fresh.unlink()


def _replace(path: Path, words: list[str]) -> None:
    _written(path, words).replace(path)


def _written(path: Path, words: list[str]) -> Path:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(words) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return fresh
