"""
Marks for Anthropic's prompt cache (`cache_control`) on requests that are made here out of another dialect, whose clients seldom know them.

Marked is what the next call is likely to begin with: the tools, the system prompt, and in a conversation that goes on its last two turns of the
user, the newest for the next call to read and the one before for this call to find where it left off. A mark costs a quarter more for what is
written and saves nine tenths of what is read, so one reading pays for three writings. The first question of a conversation is not marked: it
may be the only one.

Source: Anthropic, prompt caching: at most 4 marks, order tools, system, messages, a beginning below the model's least is not cached and
costs nothing more (read 2026-11).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from neuroroute.adapters.families import least_cached_tokens
from neuroroute.adapters.shapes import written

MARK: Final = {"type": "ephemeral"}
BYTES_PER_TOKEN: Final = 3
"""The least of English, code and Chinese, so that no beginning that is long enough is passed over; a mark too many is ignored there."""
_PICTURE_BYTES: Final = 1500 * BYTES_PER_TOKEN  # an image is at most about 1,600 tokens, however long its data
_MARKABLE: Final = frozenset({"text", "image", "document", "tool_use", "tool_result"})


def mark(out: dict[str, Any], model: str, size_bytes: int = 0) -> None:
    """
    Puts marks into a Messages request. Does nothing where one is there, which is its client's own choice.

    model: the provider's name for it. size_bytes: of the client's request, where it is known: a short one is not looked into.
    """
    least = least_cached_tokens(model)
    if least is None or (size_bytes and size_bytes < least * BYTES_PER_TOKEN) or is_marked(out):
        return
    enough, bytes_before = least * BYTES_PER_TOKEN, 0
    for part in (out.get("tools"), out.get("system")):
        bytes_before += _size_bytes(part or ())
        if part and bytes_before >= enough:
            part[-1]["cache_control"] = MARK
    asked = [turn for turn in out["messages"] if turn["role"] == "user"]
    if len(asked) < 2:
        return
    chosen = asked[-2:]
    for turn in out["messages"]:
        bytes_before += _size_bytes(turn["content"])
        if bytes_before >= enough and any(turn is one for one in chosen) and turn["content"][-1].get("type") in _MARKABLE:
            turn["content"][-1]["cache_control"] = MARK


def is_marked(out: Mapping[str, Any]) -> bool:
    """Whether somebody placed a mark in this Messages request."""
    blocks = [*(out.get("tools") or ()), *(out.get("system") or ()), *[block for turn in out["messages"] for block in turn["content"]]]
    return "cache_control" in out or any("cache_control" in block for block in blocks)


def _size_bytes(blocks: Sequence[Mapping[str, Any]]) -> int:
    return sum([_block_bytes(block) for block in blocks])


def _block_bytes(block: Mapping[str, Any]) -> int:
    kind = block.get("type")
    if kind == "text":
        text = block["text"]
        return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if kind == "image":
        return _PICTURE_BYTES
    content = block.get("content")
    if kind == "tool_result" and isinstance(content, list):
        return _size_bytes(content)
    return len(written(block))
