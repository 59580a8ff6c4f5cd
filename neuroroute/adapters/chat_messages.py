"""The messages of a chat request as Anthropic's system blocks and turns."""

import base64
import re
import zlib
from typing import Any, Final

from neuroroute.adapters.shapes import listed, word
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest

_TOOL_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NOT_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,]*)*)(;base64)?,", re.ASCII)

Block = dict[str, Any]


def conversation(messages: Any) -> tuple[list[Block], list[Block], dict[str, None]]:
    """
    (system blocks, messages, names of the tools that the history calls, in order).

    Turns of one role are joined, as the roles must alternate in older versions; results of tools come first in their turn. Raises BadRequest.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: a list with at least one message is needed", param="messages")
    system: list[Block] = []
    turns: list[Block] = []
    used: dict[str, None] = {}
    last_calls: list[str] = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, dict):
            raise BadRequest(f"{where}: an object is needed", param=where)
        role = message.get("role")
        if role in ("system", "developer"):
            system += _marked(_blocks(message.get("content"), where), message)
        elif role == "user":
            _add(turns, "user", _marked(_blocks(message.get("content"), where), message))
        elif role == "assistant":
            blocks, last_calls = _spoken(message, where, used)
            _add(turns, "assistant", _marked(blocks, message))
        elif role in ("tool", "function"):
            key = message.get("tool_call_id") if role == "tool" else (last_calls[-1] if last_calls else None)
            _add(turns, "user", [_result(message, key, where)])
        else:
            raise BadRequest(f"{where}.role: {role!r} is not known", param=f"{where}.role")
    if not turns:
        raise BadRequest("messages: this model needs a message with text from the user", param="messages")
    for turn in turns:
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if (
        turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text"
    ):  # a beginning to go on from: it may not end in white space
        turns[-1]["content"][-1]["text"] = turns[-1]["content"][-1]["text"].rstrip()
    return system, turns, used


def _add(turns: list[Block], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _marked(blocks: list[Block], message: Block) -> list[Block]:
    """A mark for the prompt cache on a whole message stands on its last block."""
    if blocks and message.get("cache_control"):
        blocks[-1].setdefault("cache_control", message["cache_control"])
    return blocks


def _spoken(message: Block, where: str, used: dict[str, None]) -> tuple[list[Block], list[str]]:
    """The blocks of an assistant message and the ids of its calls."""
    blocks = [b for b in _blocks(message.get("content"), where) if b["type"] == "text"]
    if message.get("refusal") and isinstance(message["refusal"], str):
        blocks.append({"type": "text", "text": message["refusal"]})
    calls = listed(message, "tool_calls", f"{where}.")
    if message.get("function_call"):
        calls = [*calls, {"id": None, "function": message["function_call"]}]
    ids = []
    for k, call in enumerate(calls):
        place = f"{where}.tool_calls[{k}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest(f"{place}: this model takes calls of functions alone", param=place)
        used[function["name"]] = None
        ids.append(word(call.get("id")) or place)
        blocks.append({"type": "tool_use", "id": tool_id(ids[-1]), "name": function["name"], "input": _arguments(function, place)})
    return blocks, ids


def _arguments(function: Block, place: str) -> Block:
    text = function.get("arguments")
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        parsed = jsonbytes.loads(text.encode("utf-8", "replace")) if isinstance(text, str) else text
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        # A model can have written broken arguments; the turn must stay usable, so they are handed on as what they were.
        return {"arguments": text}
    return parsed


def _result(message: Block, key: Any, where: str) -> Block:
    if not isinstance(key, str) or not key:
        raise BadRequest(f"{where}.tool_call_id: the id of a call is needed", param=f"{where}.tool_call_id")
    result: Block = {"type": "tool_result", "tool_use_id": tool_id(key)}
    content = message.get("content")
    if isinstance(content, str):
        if content:
            result["content"] = content
    elif content:
        blocks = _blocks(content, where)
        if blocks:
            result["content"] = blocks
    if message.get("cache_control"):
        result["cache_control"] = message["cache_control"]
    return result


def tool_id(key: str) -> str:
    """`key` if Anthropic takes it, otherwise always the same id made from it, so that call and result still meet."""
    if _TOOL_ID.fullmatch(key):
        return key
    return f"{_NOT_ID.sub('_', key)}_{zlib.crc32(key.encode('utf-8', 'replace')):08x}"


def _blocks(content: Any, where: str) -> list[Block]:
    """Content (text or parts) as blocks; empty and blank text is dropped, as Anthropic refuses it."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        raise BadRequest(f"{where}.content: text or a list of parts is needed", param=f"{where}.content")
    blocks = []
    for k, part in enumerate(content):
        block = _block(part, f"{where}.content[{k}]")
        if block is not None:
            if part.get("cache_control"):
                block["cache_control"] = part["cache_control"]
            blocks.append(block)
    return blocks


def _block(part: Any, where: str) -> Block | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise BadRequest(f"{where}.{kind}: text is needed", param=where)
        return {"type": "text", "text": text} if text.strip() else None
    if kind == "image_url":
        link = part.get("image_url")
        return {"type": "image", "source": _source(link.get("url") if isinstance(link, dict) else link, where, "an image")}
    if kind == "file":
        file = part.get("file")
        if not isinstance(file, dict) or not isinstance(file.get("file_data"), str):
            raise BadRequest(f"{where}: this model takes a file by its data (file_data), not by id", param=where)
        data = file["file_data"]
        source = _source(data if data.startswith(("data:", "http")) else f"data:application/pdf;base64,{data}", where, "a file")
        if source.get("media_type", "").startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": _text(source["data"], where)}
        block = {"type": "document", "source": source}
        if isinstance(file.get("filename"), str) and file["filename"]:
            block["title"] = file["filename"]
        return block
    raise BadRequest(f"{where}: this model does not take parts of type {kind!r}", param=where)


def _text(data: str, where: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except ValueError as e:
        raise BadRequest(f"{where}: the file is no base64 of UTF-8 text", param=where) from e


def _source(link: Any, where: str, what: str) -> Block:
    if isinstance(link, str) and link.startswith(("http://", "https://")):
        return {"type": "url", "url": link}
    head = _DATA_URL.match(link) if isinstance(link, str) else None
    if head is None:
        raise BadRequest(f"{where}: {what} needs an http(s) or data URL", param=where)
    if not head[3]:
        raise BadRequest(f"{where}: {what} in a data URL must be base64", param=where)
    kind = head[1] or "application/octet-stream"
    kind = "image/jpeg" if kind == "image/jpg" else kind  # a name that is no media type, and that many clients use
    return {"type": "base64", "media_type": kind, "data": link[head.end() :]}
