"""
Legacy completions over chat: the prompt becomes one user message, the answer comes back as text_completion.

Source: OpenAI API reference, completions (2026-11). LlamaIndex's OpenAILike calls this endpoint for every model.
"""

from collections.abc import Mapping
from typing import Any

from neuroroute.adapters.base import StreamTranslator
from neuroroute.adapters.families import openai_reasoning
from neuroroute.adapters.over_chat import OverChat, OverChatStream, spoken
from neuroroute.adapters.shapes import each, obj
from neuroroute.core import jsonbytes, sse
from neuroroute.core.errors import BadRequest, NeuroRouteError
from neuroroute.core.types import ClientRequest, Protocol, Target, Usage


class CompletionsOverChat(OverChat):
    def _asked(self, body: Mapping[str, Any], target: Target) -> dict[str, Any]:
        return chat_body(body, target)

    def _answered(self, body: Mapping[str, Any], chat: dict[str, Any], usage: Usage, target: Target) -> dict[str, Any]:
        choices = [_choice(choice, obj(choice.get("message"))) for choice in each(chat["choices"])]
        return {**_frame(chat), "choices": choices, **({"usage": chat["usage"]} if chat.get("usage") else {})}

    def _opened(self, client: ClientRequest, target: Target, chat: StreamTranslator) -> StreamTranslator:
        return CompletionsOverChatStream(chat)


def chat_body(body: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """The chat request for a completions request. Raises BadRequest for what only a completion model can do."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequest("prompt: a chat model takes one prompt, as text", param="prompt")
    for field, harmless in (("suffix", (None, "")), ("echo", (None, False)), ("logprobs", (None, 0, False)), ("best_of", (None, 1))):
        if body.get(field) not in harmless:
            raise BadRequest(f"{field}: a chat model has no counterpart for it", param=field)
    gone = ("prompt", "suffix", "echo", "logprobs", "best_of", "neuroroute")
    out = {key: value for key, value in body.items() if key not in gone and value is not None}
    if openai_reasoning(target.model.upstream_model) and target.provider.protocol is not Protocol.ANTHROPIC:
        for key in ("temperature", "top_p", "stop", "presence_penalty", "frequency_penalty"):
            out.pop(key, None)
        if "max_tokens" in out:
            out["max_completion_tokens"] = out.pop("max_tokens")
    return out | {"model": target.model.upstream_model, "messages": [{"role": "user", "content": prompt}]}


class CompletionsOverChatStream(OverChatStream):
    """Chat chunks -> text_completion chunks. A chunk that only gives the role has no counterpart."""

    __slots__ = ()

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        choices = [
            made
            for choice in each(chunk.get("choices"))
            if (made := _choice(choice, obj(choice.get("delta"))))["text"] or made["finish_reason"]
        ]
        if not choices and not chunk.get("usage"):
            return b""
        usage = {"usage": chunk["usage"]} if chunk.get("usage") else {}
        return sse.data(jsonbytes.dumps({**_frame(chunk), "choices": choices, **usage}))

    def _finish(self) -> bytes:
        return sse.DONE

    def failure(self, error: NeuroRouteError) -> bytes:
        return sse.data(jsonbytes.dumps(error.openai()))


def _frame(chat: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: chat[key] for key in ("created", "model", "system_fingerprint") if key in chat}
    return {"id": str(chat.get("id", "")).replace("chatcmpl-", "cmpl-"), "object": "text_completion", **kept}


def _choice(choice: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": choice.get("index", 0), "text": spoken(said)[1], "logprobs": None, "finish_reason": choice.get("finish_reason")}
