"""
Items of the Responses API, as plain functions: what a request refers to, and the request with that put in place.

Providers without the Responses API keep no items, so the gateway does. Keeping is not done here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Item = dict[str, Any]

_RESOLVED: Final = "_previous_response_id"


def references(body: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """(previous_response_id, ids of the item_references in `input`) of a request."""
    previous = body.get("previous_response_id")
    given = body.get("input")
    ids = [item["id"] for item in given if is_reference(item)] if isinstance(given, list) else []
    return (previous if isinstance(previous, str) and previous else None), tuple(dict.fromkeys(ids))


def is_reference(item: Any) -> bool:
    """{"type": "item_reference", "id": ...}; the type may be left out where there is nothing but an id."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or (item.get("type") is None and "role" not in item)


def splice(body: Mapping[str, Any], earlier: Sequence[Item], by_id: Mapping[str, Item]) -> dict[str, Any]:
    """
    The request with everything it refers to put into `input`.

    earlier: input and output of the conversation up to previous_response_id, in order; by_id: the items that item_references mean. A reference
    that is not in by_id stays, and the translator refuses it by its place. previous_response_id is kept aside for the answer to show.
    """
    given = input_items(body)
    resolved = dict(body)
    resolved["input"] = [*earlier, *(by_id.get(item["id"], item) if is_reference(item) else item for item in given)]
    previous = resolved.pop("previous_response_id", None)
    if previous:
        resolved[_RESOLVED] = previous
    return resolved


def previous_of(body: Mapping[str, Any]) -> str | None:
    """The previous_response_id that `splice` resolved."""
    found = body.get(_RESOLVED)
    return found if isinstance(found, str) else None


def input_items(body: Mapping[str, Any]) -> list[Item]:
    """`input` as items; text is one user message."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def conversation(resolved: Mapping[str, Any], response: Mapping[str, Any]) -> list[Item]:
    """What to keep under the response's id, so that a later previous_response_id means all of it: resolved input, then output."""
    output = response.get("output")
    return [*input_items(resolved), *(item for item in (output if isinstance(output, list) else []) if isinstance(item, dict))]
