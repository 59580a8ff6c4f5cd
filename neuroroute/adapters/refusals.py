"""
Error bodies of providers -> the error tree.

Providers answer errors as OpenAI objects, Anthropic objects, plain strings (LM Studio, Ollama), `detail` (FastAPI), lists (Gemini), HTML pages
or nothing. Each becomes one UpstreamError that says who is at fault and what dispatch may do next; its message is the provider's own text,
bounded and masked, because clients recognise conditions by it.

Source: OpenAI and Anthropic error guides; LangChain recognises a context overflow by phrases in the message (langchain-openai 1.7,
langchain-anthropic 1.7, read 2026-11).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from neuroroute.core import clock, jsonbytes
from neuroroute.core.errors import (
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelGone,
    UpstreamRefused,
    UpstreamTimeout,
)

MAX_MESSAGE_CHARS: Final = 2000
_MAX_FIELD_CHARS: Final = 100
_MOST_RETRY_AFTER_S: Final = 86_400.0

_MASKS: Final = (
    (re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s\"'<>)\]]+"), "[address]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=*-]{6,}"), r"\1 [key]"),
    (re.compile(r"\b(?:sk|pk|rk|nr|gsk|xai|hf|key|r8|fw|pplx|csk|AIza|AKIA|ghp|eyJ)[-_]?[A-Za-z0-9*][\w*.-]{10,}"), "[key]"),
    (re.compile(r"(?i)\b(api[-_ ]?key|token|secret|password)(\s*[=:]\s*|\s+(?:is|provided:?)\s+)[\"']?[^\s\"',;)]{6,}"), r"\1\2[key]"),
    (re.compile(r"[\w*-]{0,100}\*{3,}[\w*-]{0,100}"), "[key]"),
    (re.compile(r"(?<![\w-])(?=[A-Za-z_-]{0,4000}\d)[\w-]{40,}(?![\w-])"), "[key]"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b"), "[address]"),
    (re.compile(r"\[[0-9a-fA-F:]*::?[0-9a-fA-F:.]*\](?::\d{1,5})?"), "[address]"),
    (re.compile(r"(?i)\b(?:localhost|[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}):\d{2,5}\b|\blocalhost\b"), "[address]"),
    (re.compile(r"(?<![\w/])/(?:home|root|usr|var|opt|etc|tmp|mnt|srv|Users|app|data|workspace|proc)/[^\s\"',;:)]*"), "[path]"),
    (re.compile(r"\b[A-Za-z]:\\[^\s\"',;)]+"), "[path]"),
)
_OVERFLOW: Final = re.compile(
    r"maximum context|context (?:length|window|size|limit)|too many (?:input )?tokens|n_ctx|prompt is too long|input is too long"
    r"|tokens exceed the configured limit|exceeds? the (?:model's )?(?:maximum )?(?:number of )?(?:input )?tokens"
)
_OVERFLOW_CODES: Final = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded", "string_above_max_length"}
)
_OVERFLOW_PHRASE: Final = "prompt is too long"
"""The one phrase that all know: ChatOpenAI, ChatAnthropic and coding agents."""
_DENIED_CODES: Final = frozenset({"invalid_api_key", "authentication_error", "account_deactivated", "billing_not_active", "billing_error"})
_OUR_ACCOUNT: Final = re.compile(r"credit balance is too low|api key not valid|incorrect api key|invalid api key|billing hard limit")
_MODEL_GONE: Final = re.compile(r"\bmodels?\b")
_LIMITED: Final = re.compile(r"rate.?limit|too.?many.?requests|insufficient.?quota")
_BUSY: Final = re.compile(r"overload|unavailable|capacity|server.?busy")


def masked(text: str) -> str:
    """`text` without what looks like a key, an address or a machine path, at most MAX_MESSAGE_CHARS long."""
    text = text[: 2 * MAX_MESSAGE_CHARS]
    trace = text.find("Traceback (most recent call last)")
    if trace >= 0:
        text = text[:trace] or "the provider failed inside"
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 3] + "..."


def refusal(status: int, headers: Mapping[str, str], data: bytes, *, model_call: bool = True) -> UpstreamError:
    """
    A non-2xx answer as an error.

    model_call: the path names no other thing than the model, so that any 404 means the model (not a file or a stored response).
    """
    message, kind, code, param = _fields(data)
    return _sorted_out(status, message, kind, code, param, retry_after_s(headers), model_call=model_call)


def embedded(error: Any) -> UpstreamError:
    """The error that a provider put into a 200 answer or into a stream. It is the provider's failure unless it names a status of its own."""
    message, kind, code, param = _of(error)
    if code is not None and re.fullmatch(r"[45]\d\d", code):
        return _sorted_out(int(code), message, kind, None, param, None, model_call=True)
    words = f"{kind} {code}".lower()
    if _LIMITED.search(words):
        return _sorted_out(429, message, kind, code, param, None, model_call=True)
    if _BUSY.search(words):
        return _sorted_out(529 if "overload" in words else 503, message, kind, code, param, None, model_call=True)
    broken = UpstreamBroken(_overflow(message, code)[0] or "the provider reported an error without a message", param=param, code=code)
    broken.type = kind or broken.type
    return broken


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait: retry-after-ms, or retry-after as seconds or as an HTTP date; None if it says nothing usable."""
    found = {k.lower(): v for k, v in headers.items() if k.lower() in ("retry-after", "retry-after-ms")}
    wait: float | None = None
    try:
        if "retry-after-ms" in found:
            wait = float(found["retry-after-ms"]) / 1000
        elif "retry-after" in found:
            wait = float(found["retry-after"])
    except ValueError:
        try:
            wait = parsedate_to_datetime(found["retry-after"]).timestamp() - clock.unix_s()
        except (KeyError, ValueError):
            return None
    return wait if wait is not None and 0 < wait <= _MOST_RETRY_AFTER_S else None  # also refuses NaN


def _fields(data: bytes) -> tuple[str, str, str | None, str | None]:
    """(message, type, code, param) of an error body; empty where it has none."""
    try:
        body = jsonbytes.loads(data)
    except ValueError:
        text = data[: 4 * MAX_MESSAGE_CHARS].decode("utf-8", "replace").strip()
        return ("" if text.startswith("<") else masked(text)), "", None, None
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return (masked(body) if isinstance(body, str) else ""), "", None, None
    return _of(body.get("error") or body)


def _of(error: Any) -> tuple[str, str, str | None, str | None]:
    if isinstance(error, str):
        return masked(error), "", None, None
    if not isinstance(error, dict):
        return "", "", None, None
    message = next((error[k] for k in ("message", "detail", "error", "msg") if error.get(k)), "")
    if isinstance(message, dict) and isinstance(message.get("message"), str):
        message = message["message"]
    text = message if isinstance(message, str) else jsonbytes.dumps(message).decode()
    return masked(text), _word(error.get("type")) or "", _word(error.get("code")), _word(error.get("param"))


def _word(value: Any) -> str | None:
    """A short identifying field; numbers as OpenRouter's and vLLM's `code: 429` become text."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return masked(str(value))[:_MAX_FIELD_CHARS] or None


def _overflow(message: str, code: str | None) -> tuple[str, bool]:
    """The message with the phrase by which LangChain and coding agents know a context overflow, and whether it is one."""
    if code not in _OVERFLOW_CODES and not _OVERFLOW.search(message.lower()):
        return message, False
    if _OVERFLOW_PHRASE not in message:
        message = f"{message[: MAX_MESSAGE_CHARS - 70]} ({_OVERFLOW_PHRASE}: the input exceeds the context window)".strip()
    return message, True


def _sorted_out(
    status: int, message: str, kind: str, code: str | None, param: str | None, wait_s: float | None, *, model_call: bool
) -> UpstreamError:
    said = message or f"the provider answered {status}"
    if status in (401, 402) or (status == 403 and code != "model_not_found") or code in _DENIED_CODES or kind in _DENIED_CODES:
        return UpstreamDenied(f"the provider refused the gateway's credentials: {said}"[:MAX_MESSAGE_CHARS])
    if status == 429:
        limited = UpstreamLimited(said, param=param, code=code, retry_after_s=wait_s)
        limited.type = kind or limited.type
        if "insufficient_quota" in (code, kind):
            limited.type, limited.code, limited.should_retry = "insufficient_quota", "insufficient_quota", False
        return limited
    if status in (503, 529):
        busy = UpstreamBusy(said, param=param, code=code or ("overloaded" if status == 529 else None), retry_after_s=wait_s)
        busy.status, busy.type = status, kind or busy.type
        return busy
    if status in (408, 504) or status >= 500 or status < 400:  # redirects are not followed: they would carry the key elsewhere
        broken = (UpstreamTimeout if status in (408, 504) else UpstreamBroken)(said, param=param, code=code, retry_after_s=wait_s)
        broken.type = kind or broken.type
        if message and 400 <= status < 600:  # it said so itself; what a proxy before it says, in HTML or nothing, is 502 or 504
            broken.status = status
        return broken
    if code == "model_not_found" or (status == 404 and (model_call or _MODEL_GONE.search(message.lower()))):
        return UpstreamModelGone(said, param=param)
    if status == 400 and _OUR_ACCOUNT.search(message.lower()):
        return UpstreamDenied(f"the provider refused the gateway's credentials: {said}"[:MAX_MESSAGE_CHARS])
    said, over = _overflow(said, code)
    return UpstreamRefused(
        said,
        status=status,
        type=kind or "invalid_request_error",
        code="context_length_exceeded" if over and code is None else code,
        param=param,
    )
