"""Stage `auth`: whose call is it? A warm key costs one HMAC and one look-up in the process; nothing else is asked."""

from typing import Final

from neuroroute.access.keyring import Keyring
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.errors import Forbidden, Unauthenticated
from neuroroute.core.types import Principal, Role

_READING: Final = ("GET", "HEAD")


async def auth(call: Call, s: Services) -> None:
    """
    Sets `principal`, unless the edge knows already who calls (a session of the pages).

    Raises Unauthenticated; Unavailable for a key that only the database, which is away, could know.
    """
    if call.principal is None:
        call.principal = await identify(call.bearer, s.keyring)


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
