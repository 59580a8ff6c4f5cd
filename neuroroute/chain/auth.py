"""Stage `auth`: whose call is it? A warm key costs one HMAC and one look-up in the process; nothing else is asked."""

from collections.abc import Callable
from typing import Final

from neuroroute.access.keyring import Keyring
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.errors import Forbidden, Unauthenticated
from neuroroute.core.gate import Gate
from neuroroute.core.types import Principal, Role

_READING: Final = ("GET", "HEAD")


async def auth(call: Call, s: Services) -> None:
    """
    Sets `principal`, unless the edge knows already who calls (a session of the pages).

    Raises Unauthenticated; Unavailable for a key that only the database, which is away, could know; Forbidden where it may not be used.
    """
    if call.principal is None:
        call.principal = await identify(call.bearer, s.keyring)
    if call.principal.gate is not None:
        pass_gate(call.principal.gate, "/prompt" if call.group == "prompt" else "/v1" + call.path, call.source.address)


def pass_gate(gate: Gate, path: str, address: Callable[[], str | None]) -> None:
    """Raises Forbidden where a key may not be used at this path, or by a client at this address."""
    if not gate.leads_to(path):
        raise Forbidden(f"This API key may not be used at {path[:200]}: its allowed_routes do not name it.", param="allowed_routes")
    if not gate.is_open_to(address()):
        raise Forbidden("This API key may not be used from your address: its allowed_ips do not hold it.", param="allowed_ips")


def may_ask(call: Call) -> None:
    """Raises Forbidden where a viewer would have a provider asked for more than what it keeps."""
    if call.principal is not None and call.principal.role is Role.VIEWER and call.method not in _READING:
        raise Forbidden("The key of a viewer reads and changes nothing: it can not call models. Use a key of a user or an admin.")


async def identify(bearer: str, keyring: Keyring) -> Principal:
    """The owner of a key as it came in a header."""
    if not bearer:
        text = "You didn't provide an API key. Send it as 'Authorization: Bearer nr_...' or 'x-api-key: nr_...'."
        raise Unauthenticated(text)
    return keyring.find(bearer) or await keyring.resolve(bearer)
