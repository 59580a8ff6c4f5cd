"""Where a request goes and under which headers: the credentials are the provider's, never the client's."""

from collections.abc import AsyncIterable, Mapping
from typing import Final

from neuroroute.core.types import ClientRequest, Dialect, Protocol, Target, UpstreamRequest

ANTHROPIC_VERSION: Final = "2023-06-01"
"""The version that translated requests speak: its old models take sampling parameters, its new ones go without (see families)."""

_BETA: Final = ("openai-beta", "anthropic-beta")
_NEVER: Final = frozenset({
    "authorization", "x-api-key", "api-key", "proxy-authorization", "cookie", "host", "content-length", "connection", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "expect", "accept-encoding", "forwarded", "via", "x-real-ip",
})  # fmt: skip


def post(client: ClientRequest, target: Target, path: str, body: bytes | AsyncIterable[bytes], *, dialect: Dialect) -> UpstreamRequest:
    """A JSON request to `path` (below /v1). `dialect`: what the body is written in."""
    provider = target.provider
    headers = {"Content-Type": "application/json", **credentials(target)}
    for name in _BETA:
        if name in client.headers:
            headers[name] = client.headers[name]
    if dialect is Dialect.MESSAGES:
        same = client.dialect is Dialect.MESSAGES
        headers["anthropic-version"] = client.headers.get("anthropic-version", ANTHROPIC_VERSION) if same else ANTHROPIC_VERSION
    headers.update(provider.headers)
    return UpstreamRequest(url(target, path), headers, body, "POST", client.stream)


def passing_headers(client: ClientRequest, target: Target) -> dict[str, str]:
    """The client's headers for a request whose body passes as it is, under the provider's credentials."""
    kept = {k: v for k, v in client.headers.items() if k not in _NEVER and not k.startswith(("x-forwarded-", "x-neuroroute-", "proxy-"))}
    if target.provider.protocol is Protocol.ANTHROPIC:
        kept.setdefault("anthropic-version", ANTHROPIC_VERSION)
    return {**kept, **credentials(target), **target.provider.headers}


def credentials(target: Target) -> dict[str, str]:
    key = target.provider.api_key
    if not key:
        return {}
    if target.provider.protocol is Protocol.ANTHROPIC:
        return {"x-api-key": key}
    return {"Authorization": f"Bearer {key}"}


def url(target: Target, path: str, query: str = "") -> str:
    """`path` is below /v1; an Anthropic base URL ends before /v1, an OpenAI one includes it."""
    version = "/v1" if target.provider.protocol is Protocol.ANTHROPIC else ""
    return target.provider.base_url + version + path + (f"?{query}" if query else "")


_SHOWN: Final = frozenset({"content-type", "content-disposition", "openai-processing-ms", "content-language", "cache-control"})


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The few headers of a provider's answer that mean something to the client."""
    return {k.lower(): v for k, v in headers.items() if k.lower() in _SHOWN}
