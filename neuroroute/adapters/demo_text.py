"""What the simulated models say: a function of the request alone."""

import hashlib
import re
from typing import Any, Final

from neuroroute.adapters.demo_schema import instance
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps

_TOKEN: Final = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+$")
"""The simulated tokenizer: a word, or eight characters of one, or a sign, with the space before it."""
_EXCERPT_CHARS: Final = 160
_IMAGE_TOKENS: Final = 85
_MESSAGE_TOKENS: Final = 4  # roles and separators, as chat formats have them

_ADVICE: Final = (
    'Send `"model": "auto"` and the router picks one of us by what the prompt needs; `POST /v1/route` says why.',
    'Send `"stream": true` and these words come one by one.',
    "Ask the same again: the answer then comes from the cache, and the header x-neuroroute-cache says so.",
    "Open /dashboard to see what this call would have cost.",
    "Give me tools and mention one of them: I call it.",
    "Ask for a json_schema and you get a value that fits it.",
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text


@dataclass(frozen=True, slots=True)
class Answer:
    """`pieces` are the tokens of the text in order; finish_reason is OpenAI's word."""

    pieces: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def tokens(text: str) -> list[str]:
    """The tokens of a text; joined they are the text again."""
    return _TOKEN.findall(text)


def answer(body: dict[str, Any], model: str, tier: int) -> Answer:
    """
    The reply to a chat body. tier: 0, 1, 2: a larger model says more.

    A call is made when tool_choice asks for one, or when the user's last words share a word with a tool's name or description.
    """
    turns = [turn for turn in body["messages"] if isinstance(turn, dict)]
    prompt_tokens = _prompt_tokens(body, turns)
    last = turns[-1] if turns else {}
    asked = said(last.get("content"))
    tool = None if last.get("role") == "tool" else _tool(body, asked)
    seed = hashlib.sha256(dumps([model, body["messages"]])).hexdigest()
    if tool is not None:
        arguments = dumps(instance(tool.get("parameters") or {"type": "object"}, _name_in(asked))).decode()
        call = ToolCall(f"call_{seed[:24]}", str(tool.get("name", "")), arguments)
        return Answer((), (call,), "tool_calls", prompt_tokens, len(tokens(call.name)) + len(tokens(arguments)))
    text = _structured(body, asked) or _prose(turns, asked, model, tier, int(seed[:8], 16))
    pieces, finish = _bounded(tokens(_before_stop(text, body.get("stop"))), body)
    return Answer(tuple(pieces), (), finish, prompt_tokens, len(pieces))


def said(content: Any) -> str:
    """The text of a message's content: a string, or its text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


def _prose(turns: list[dict[str, Any]], asked: str, model: str, tier: int, seed: int) -> str:
    excerpt = " ".join(asked.split())
    if len(excerpt) > _EXCERPT_CHARS:
        excerpt = excerpt[:_EXCERPT_CHARS].rsplit(" ", 1)[0] + " …"
    lead = f"This is {model}, one of three simulated models built into NeuroRoute."
    if turns and turns[-1].get("role") == "tool":
        lead += f" The tool answered: “{excerpt}”."
    elif excerpt:
        lead += f" You wrote: “{excerpt}”."
    parts = [
        lead,
        "No language model was asked: set OPENAI_API_KEY, ANTHROPIC_API_KEY or LMSTUDIO_API_URL and start again to talk to a real one.",
    ]
    if tier >= 1:
        parts.append(_about(turns))
    first = seed % len(_ADVICE)
    advice = [_ADVICE[(first + at) % len(_ADVICE)] for at in range((1, 1, 3)[tier])]
    if tier == 2:
        return " ".join(parts) + "\n\nWorth a try:\n" + "\n".join(f"- {line}" for line in advice)
    return " ".join([*parts, *advice])


def _about(turns: list[dict[str, Any]]) -> str:
    images = sum(part.get("type") == "image_url" for turn in turns for part in _parts(turn))
    seen = f", with {images} image{'s' if images > 1 else ''}" if images else ""
    return f"The conversation has {len(turns)} message{'s' if len(turns) != 1 else ''}{seen}."


def _structured(body: dict[str, Any], asked: str) -> str | None:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        described = wanted.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        return dumps(instance(schema if isinstance(schema, dict) else {"type": "object"}, _name_in(asked))).decode()
    if wanted.get("type") == "json_object":
        return dumps({"answer": "simulated", "you_wrote": asked[:_EXCERPT_CHARS]}).decode()
    return None


def _tool(body: dict[str, Any], asked: str) -> dict[str, Any] | None:
    """The function to call, if any."""
    listed = body.get("tools")
    functions: list[dict[str, Any]] = [
        tool["function"] for tool in listed or [] if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        return next((function for function in functions if function.get("name") == name), functions[0])
    words = _words(asked)
    fitting = [(len(words & _words(f"{f.get('name', '')} {f.get('description') or ''}")), -at) for at, f in enumerate(functions)]
    shared, place = max(fitting)
    if shared or choice == "required":
        return functions[-place]
    return None


def _words(text: str) -> set[str]:
    """Words that carry meaning: four letters and more, in lower case, without a plural's s."""
    return {word.rstrip("s") for word in re.findall(r"[^\W_]{4,}", text.lower())} - {
        "what",
        "with",
        "that",
        "this",
        "from",
        "given",
        "your",
    }


def _name_in(text: str) -> str:
    """The last capitalised word that does not begin the text: "weather in Paris?" -> "Paris"."""
    names = re.findall(r"(?<=\s)[A-Z]\w+", text)
    return names[-1] if names else "example"


def _before_stop(text: str, stop: Any) -> str:
    for mark in [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []:
        if isinstance(mark, str) and mark:
            text = text.partition(mark)[0]
    return text


def _bounded(pieces: list[str], body: dict[str, Any]) -> tuple[list[str], str]:
    limit = body.get("max_completion_tokens")
    if limit is None:
        limit = body.get("max_tokens")
    if isinstance(limit, int) and len(pieces) > limit >= 0:
        return pieces[:limit], "length"
    return pieces, "stop"


def _prompt_tokens(body: dict[str, Any], turns: list[dict[str, Any]]) -> int:
    count = 0
    for turn in turns:
        count += _MESSAGE_TOKENS + len(tokens(said(turn.get("content"))))
        count += _IMAGE_TOKENS * sum(part.get("type") == "image_url" for part in _parts(turn))
        if turn.get("tool_calls"):
            count += len(tokens(dumps(turn["tool_calls"]).decode()))
    if body.get("tools"):
        count += len(tokens(dumps(body["tools"]).decode()))
    return count


def _parts(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
