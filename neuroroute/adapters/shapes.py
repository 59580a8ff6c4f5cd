"""JSON of others can have any shape: readers that give the shape that is needed, or nothing."""

from collections.abc import Mapping
from typing import Any

from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest


def obj(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def each(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; nothing where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def word(value: Any) -> str:
    """`value` if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def listed(body: Mapping[str, Any], key: str, where: str = "") -> list[Any]:
    """A client's list; absent and null are an empty one. Raises BadRequest for anything else."""
    value = body.get(key)
    if value is None or isinstance(value, list):
        return value or []
    raise BadRequest(f"{where}{key}: a list is needed", param=f"{where}{key}")


def number(body: Mapping[str, Any], key: str) -> float | None:
    """A client's number; absent and null are None. Raises BadRequest for anything else."""
    value = body.get(key)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise BadRequest(f"{key}: a number is needed", param=key)


def written(value: Any) -> bytes:
    """A client's value as JSON again. Raises BadRequest where it is nested deeper than can be written."""
    try:
        return jsonbytes.dumps(value)
    except (TypeError, RecursionError) as e:
        raise BadRequest("messages: the body is nested too deeply", param="messages") from e
