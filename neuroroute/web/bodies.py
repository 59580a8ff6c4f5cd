"""What all endpoints of the admin API do alike: read a body, read a page, answer a list."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from neuroroute.chain.parse import not_json
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest
from neuroroute.store.columns import REFUSE, Budget
from neuroroute.web.schemas import BudgetBody
from neuroroute.web.sink import HttpSource
from neuroroute.web.state import SERVICES

MAX_LIMIT: Final = 200
_MAX_BODY_BYTES: Final = 1 << 20

B = TypeVar("B", bound=BaseModel)


async def read_body(request: web.Request, shape: type[B], *, optional: bool = False) -> B:
    """The request's JSON as `shape`. Raises BadRequest whose `param` names the field and whose message says what is allowed."""
    return validated(shape, await read_object(request, optional=optional))


async def read_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """The request's JSON, which must be an object. Raises BadRequest."""
    settings = request.app[SERVICES].settings
    raw = await HttpSource(request, _MAX_BODY_BYTES, settings.body_timeout_s).read()
    if optional and not raw.strip():
        raw = b"{}"
    try:
        value = jsonbytes.loads(raw)
    except (jsonbytes.JSONDecodeError, RecursionError) as error:
        raise not_json(request.headers, error) from None
    if not isinstance(value, dict):
        raise BadRequest("The body of your request must be a JSON object.")
    return value


def validated(shape: type[B], value: dict[str, Any]) -> B:
    """`value` as `shape`. Raises BadRequest as `read_body`."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise _named(error) from None


_SAID: Final = {"model_type": "Input should be an object"}
"""Where pydantic would name classes of ours."""


def _named(error: ValidationError) -> BadRequest:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{_place(fault['loc'])}: {_SAID.get(fault['type'], fault['msg'])}" for fault in faults[:10]]
    return BadRequest("; ".join(told), param=_place(faults[0]["loc"]))


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:64] for part in loc) or "body"


def budget_of(request: web.Request, sent: BudgetBody | None) -> Budget | None:
    """What a body says of a budget. Raises BadRequest where nobody knows the policy that is to go on when it is spent."""
    if sent is None:
        return None
    catalog, policy = request.app[SERVICES].catalog.current, sent.when_spent.removeprefix("policy:")
    if sent.when_spent != REFUSE and catalog.policy(policy) is None:
        known = ", ".join(catalog.policies)
        raise BadRequest(f"budget.when_spent: the policy {policy!r} is not known; known are {known}.", param="budget.when_spent")
    return sent.budget()


def paging(request: web.Request) -> tuple[int, int]:
    """(page, limit) of the query. Raises BadRequest naming the parameter."""
    return whole_number(request, "page", 1, 1, 1_000_000), whole_number(request, "limit", 50, 1, MAX_LIMIT)


def whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise BadRequest(f"Invalid '{name}': expected a whole number from {least} to {most}.", param=name)
    return int(text)


def one_of(request: web.Request, name: str, allowed: Sequence[str]) -> str | None:
    """A query parameter that may have a few values; None if it is not given."""
    text = request.query.get(name)
    if text is not None and text not in allowed:
        raise BadRequest(f"Invalid '{name}': expected one of {', '.join(filter(None, allowed))}.", param=name)
    return text


def plain(request: web.Request, name: str, most: int = 256) -> str | None:
    """A free text in the query."""
    text = request.query.get(name)
    if text is not None and (len(text) > most or "\x00" in text):
        raise BadRequest(f"Invalid '{name}': expected at most {most} characters.", param=name)
    return text or None


def listed(rows: Sequence[dict[str, Any]], total: int, page: int, limit: int) -> web.Response:
    """One page of a list."""
    pages = max((total + limit - 1) // limit, 1)
    return answer({"object": "list", "data": rows, "total": total, "page": page, "limit": limit, "pages": pages})


def answer(value: object, status: int = 200) -> web.Response:
    """`value` as JSON that no cache keeps."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return web.Response(status=status, body=jsonbytes.dumps(value), headers=headers)
