"""
What admins change of the configuration: look at a change, put it in force, go back.

A change is a JSON merge patch in the shape of the configuration. It is checked together with all that is said elsewhere, and refused whole where
anything is wrong. Pages, the API and the command line all come through here; who may do it was asked before.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from neuroroute.access.keys import NOBODY, Actor, note
from neuroroute.chain import private_hosts
from neuroroute.chain.versions import Credentials, State, Versions, layer_of, sealed_of, unsealed
from neuroroute.core.config import Change, Config, ConfigFaulty, changes, effective, mask_of, masked, patched
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.sealing import SealBroken
from neuroroute.core.settings import MASK
from neuroroute.routing.catalog import Catalog
from neuroroute.store.config import ConfigChanged, ConfigVersions
from neuroroute.store.provider_keys import ProviderKeys

COMMAND_LINE: Final = "command line"
SHOWN_FAULTS: Final = 10
_TRIES: Final = 3
_NEW: Final = object()
_FILE_ALONE: Final = ("security", "alert_webhook")
"""What the API must not change: what it may do itself, and where reports of this machine are sent, with the secret that signs them."""
_ENTRY_KEYS: Final = ("providers", "models", "aliases")
_NAME_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """
    A change that may be made. own: what the next version would hold; credentials: of all providers after it; config, catalog: what would be in
    effect; changes: what differs there, value by value, credentials masked.
    """

    state: State
    own: Mapping[str, Any]
    credentials: Mapping[str, Credentials]
    config: Config
    catalog: Catalog
    changes: list[Change]

    @property
    def is_nothing(self) -> bool:
        return self.own == self.state.own and self.credentials == self.state.credentials


@dataclass(frozen=True, slots=True)
class Cause:
    """What the audit log calls a change, and what it is told with the version."""

    action: str = "config.put"
    target: str = "configuration"
    comment: str = ""


async def drafted(versions: Versions, patch: Mapping[str, Any], *, after: int | None = None) -> Draft:
    """
    What a patch would do; nothing is changed.

    after: the version that it is meant for. Raises: BadRequest naming every fault; ConfigChanged where `after` is not in force any more; DatabaseAway
    """
    state = await versions.read()
    if after is not None and after != state.number:
        raise ConfigChanged
    try:
        return await _drafted(versions, state, patch)
    except ConfigFaulty as faulty:
        raise refused(faulty) from None


async def put(
    versions: Versions, patch: Mapping[str, Any], *, after: int | None = None, cause: Cause = Cause(), actor: Actor = NOBODY
) -> Draft:
    """
    Make a patch the next version, in force here at once and everywhere within seconds. A patch that changes nothing makes no version.

    Raises: as `drafted`
    """
    for last in (*[False] * (_TRIES - 1), True):
        draft = await drafted(versions, patch, after=after)
        if draft.is_nothing:
            return draft
        try:
            await _write(versions, draft, cause, actor)
        except ConfigChanged:
            if last or after is not None:
                raise
            continue
        break
    await versions.refresh()
    return draft


async def rollback(versions: Versions, number: int, *, after: int | None = None, comment: str = "", actor: Actor = NOBODY) -> Draft:
    """
    A new version that holds what `number` held; 0 = before the first change. Credentials stay what they are.

    Raises: NotFound; BadRequest where it does not fit what file and environment say now; ConfigChanged
    """
    state = await versions.read()
    if after is not None and after != state.number:
        raise ConfigChanged
    own = await _held(versions, number)
    try:
        draft = await _checked(versions, state, own, state.credentials)
    except ConfigFaulty as faulty:
        raise refused(faulty) from None
    if not draft.is_nothing:
        await _write(versions, draft, Cause("config.rollback", f"version {number}", comment or f"back to version {number}"), actor)
        await versions.refresh()
    return draft


async def differences(versions: Versions, number: int, against: int) -> list[Change]:
    """What version `number` holds otherwise than version `against`. Raises: NotFound"""
    return changes(masked(await _held(versions, against)), masked(await _held(versions, number)))


@dataclass(frozen=True, slots=True)
class Resealed:
    """Providers by name. done: sealed anew; fresh: by the newest key already; closed: no key that is known opens them."""

    done: list[str]
    fresh: list[str]
    closed: list[str]


async def reseal(versions: Versions, *, actor: Actor = NOBODY) -> Resealed:
    """All credentials of providers sealed by the first key of the vault, so that the others can be given up. Raises: DatabaseAway"""
    vault, made = versions.vault, Resealed([], [], [])
    async with versions.database.transaction() as change:
        keys = ProviderKeys(change)
        for name, sealed in (await keys.all()).items():
            try:
                credentials = unsealed(vault, name, sealed)
            except SealBroken:
                made.closed.append(name)
                continue
            if vault.is_fresh(sealed):
                made.fresh.append(name)
            elif await keys.swap(name, sealed, sealed_of(vault, name, credentials)):
                made.done.append(name)
        if made.done:
            await note(change, actor, "provider.reseal", ", ".join(made.done)[:200])
    await versions.refresh()
    return made


async def _held(versions: Versions, number: int) -> Mapping[str, Any]:
    if number == 0:
        return {}
    found = await ConfigVersions(versions.database).get(number)
    if found is None:
        raise NotFound(f"There is no version {number} of the configuration.", param="version")
    return found.config


def refused(faulty: ConfigFaulty) -> BadRequest:
    """The faults as an answer: `param` is the first one's key."""
    if not faulty.named:
        return BadRequest("; ".join(faulty.faults[:SHOWN_FAULTS]))
    told = "; ".join(f"{key}: {what}" for key, what in faulty.named[:SHOWN_FAULTS])
    return BadRequest(told, param=faulty.named[0][0][:256])


async def _drafted(versions: Versions, state: State, patch: Mapping[str, Any]) -> Draft:
    below = versions.offer.below
    patch = _without_what_is_so(patch, masked(versions.offer.config.model_dump(mode="json")))
    rest, credentials = _split(patch, state, versions.offer.config)
    sent = {name for name, entry in _providers(patch).items() if isinstance(entry, Mapping) and _sends_key(entry)}
    own = patched(state.own, rest, below)
    gone = {name for name in state.credentials if not isinstance(_providers(own).get(name), Mapping)}
    kept = {name: one for name, one in {**state.credentials, **credentials}.items() if name not in gone and one != Credentials()}
    return await _checked(versions, state, own, kept, sent)


async def _checked(
    versions: Versions,
    state: State,
    own: Mapping[str, Any],
    credentials: Mapping[str, Credentials],
    sent: Collection[str] = (),
) -> Draft:
    """sent: providers whose key came with this change. Raises: ConfigFaulty"""
    offer = versions.offer
    layer = layer_of(own, credentials)
    config, catalog = offer.tried(layer)
    faults = [*_own_faults(own), *_moved_key_faults(offer.config, config, sent)]
    faults += await private_hosts.faults(own, config.security)
    if faults:
        raise ConfigFaulty([f"{key}: {what}" for key, what in faults], faults)
    before = {value.key: value.value for value in effective(offer.config, *offer.layers)}
    after = {value.key: value.value for value in effective(config, *offer.below, layer)}
    differ = [Change(key, before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    return Draft(state, own, credentials, config, catalog, differ)


async def _write(versions: Versions, draft: Draft, cause: Cause, actor: Actor) -> None:
    state = draft.state
    author = actor.user_id or COMMAND_LINE
    changed = {name: one for name, one in draft.credentials.items() if state.credentials.get(name) != one}
    sealed = await asyncio.to_thread(lambda: {name: sealed_of(versions.vault, name, one) for name, one in changed.items()})  # reads a file
    async with versions.database.transaction() as change:
        await ConfigVersions(change).add(draft.own, after=state.number, author=author, comment=cause.comment)
        for name, what in sealed.items():
            await ProviderKeys(change).put(name, what)
        for name in state.credentials:
            if name not in draft.credentials:
                await ProviderKeys(change).delete(name)
        differ = draft.changes
        before, after = {one.key: one.before for one in differ}, {one.key: one.after for one in differ}
        await note(
            change, actor, cause.action, cause.target,
            before={"version": state.number, **before}, after={"version": state.number + 1, **after},
        )  # fmt: skip


def _providers(values: Mapping[str, Any]) -> Mapping[str, Any]:
    found = values.get("providers")
    return found if isinstance(found, Mapping) else {}


def _without_what_is_so(patch: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The patch less what it finds so already (`shown`: what is in effect, masked): a whole configuration that was read may come back changed."""
    rest: dict[str, Any] = {}
    for name, value in patch.items():
        present = shown.get(name, _NEW)
        if value == present:
            continue
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            if inner := _without_what_is_so(value, present):
                rest[name] = inner
        else:
            rest[name] = value
    return rest


def _split(patch: Mapping[str, Any], state: State, config: Config) -> tuple[dict[str, Any], dict[str, Credentials]]:
    """The patch without credentials, and the credentials of the providers that it names. Raises: ConfigFaulty"""
    credentials: dict[str, Credentials] = {}
    providers = dict(_providers(patch))
    for name, entry in providers.items():
        if not isinstance(entry, Mapping) or not ({"api_key", "headers"} & set(entry)):
            continue
        present = config.providers.get(name)
        known = state.credentials.get(name, Credentials())
        shown = present.api_key if present is not None else None
        api_key, headers = known.api_key, dict(known.headers)
        if "api_key" in entry:
            api_key = _credential(("providers", name, "api_key"), entry["api_key"], shown, known.api_key)
        if isinstance(given := entry.get("headers", {}), Mapping):
            for header, value in given.items():
                at = ("providers", name, "headers", str(header))
                new = _credential(at, value, present.headers.get(header) if present else None, known.headers.get(header))
                headers = {key: kept for key, kept in headers.items() if key != header} | ({header: new} if new is not None else {})
        elif given is None:
            headers = {}
        else:
            raise _fault(("providers", name, "headers"), "a mapping is expected")
        credentials[name] = Credentials(api_key, headers)
        providers[name] = {key: value for key, value in entry.items() if key not in ("api_key", "headers")}
    rest = dict(patch)
    if providers:
        rest["providers"] = providers
    return rest, credentials


def _sends_key(entry: Mapping[str, Any]) -> bool:
    key = entry.get("api_key")
    return isinstance(key, str) and not key.startswith(MASK)


def _credential(at: tuple[str, ...], given: object, shown: str | None, known: str | None) -> str | None:
    """What is to be kept; what was read masked and comes back so is what it was."""
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise _fault(at, "a text is expected")
    if given.startswith(MASK):
        if shown is not None and given == mask_of(shown):
            return known
        raise _fault(at, f"the credential itself is expected; {MASK} is how it is shown")
    if "${" in given:
        raise _fault(at, "the credential itself is expected: variables of the environment are read in the file alone")
    if len(given) > 4096 or not given.isprintable():
        raise _fault(at, "at most 4096 printable characters are expected")
    return given


def _fault(at: tuple[str, ...], what: str) -> ConfigFaulty:
    key = ".".join(at)
    return ConfigFaulty([f"{key}: {what}"], [(key, what)])


def _own_faults(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What only the file may say, and names that no path could carry."""
    found = [(name, "is set in the file alone") for name in _FILE_ALONE if name in own]
    for name, entry in _providers(own).items():
        if isinstance(entry, Mapping) and "api_key_file" in entry:
            found.append((f"providers.{name}.api_key_file", "files are named in the configuration file alone; send api_key"))
    for section in _ENTRY_KEYS:
        for name in own.get(section) or ():
            if not name.isprintable() or name != name.strip() or len(name) > _NAME_CHARS:
                found.append((f"{section}.{name[:64]!r}", "a name of printable characters is expected"))
    return found


def _moved_key_faults(before: Config, after: Config, sent: Collection[str]) -> list[tuple[str, str]]:
    """A credential goes to the address that it was given for: with another one it must be sent again, or be taken away."""
    found = []
    for name, provider in after.providers.items():
        was = before.providers.get(name)
        if was is None or private_hosts.origin(was.address) == private_hosts.origin(provider.address):
            continue
        carried = provider.api_key is not None and provider.api_key == was.api_key
        carried = carried or any(was.headers.get(header) == value for header, value in provider.headers.items())
        if (carried or provider.api_key_file is not None) and name not in sent:
            found.append((f"providers.{name}.api_key", "is expected with a new base_url: the one that is set belongs to the old address"))
    return found
