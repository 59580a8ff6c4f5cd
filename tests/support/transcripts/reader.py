"""
Transcripts: one file per conversation with both of its ends readable, and the ways to play one.

A file is a head of `key: value` lines and sections under `===== name` lines: `client request`, `upstream request`, `upstream answer`, `client answer`,
`usage`. A section that is left out is not compared. Times and made-up ids are compared as `0` and `_#`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroroute.adapters import translator_for
from neuroroute.adapters.base import StreamTranslator
from neuroroute.core import jsonbytes
from neuroroute.core.errors import NeuroRouteError
from neuroroute.core.types import ClientRequest, Dialect, Model, Protocol, Provider, Target

FOLDER = Path(__file__).parent
_PATHS = {
    Dialect.CHAT: "/chat/completions", Dialect.COMPLETIONS: "/completions", Dialect.EMBEDDINGS: "/embeddings",
    Dialect.RESPONSES: "/responses", Dialect.MESSAGES: "/messages",
}  # fmt: skip


@dataclass(frozen=True)
class Transcript:
    name: str
    head: dict[str, str]
    sections: dict[str, str] = field(repr=False)

    @property
    def stream(self) -> bool:
        return "data:" in self.sections.get("upstream answer", "") or self.head.get("stream") == "true"

    @property
    def target(self) -> Target:
        return target(
            self.head["provider"],
            self.head["model"],
            self.head.get("upstream_model"),
            kind=self.head.get("kind", "chat"),
            speaks=self.head.get("speaks", "chat embeddings completions pass").split(),
        )

    @property
    def client(self) -> ClientRequest:
        return client(self.head["dialect"], self.sections["client request"].strip().encode(), stream=self.stream)

    @property
    def translator(self) -> Any:
        return translator_for(Dialect(self.head["dialect"]), self.target)

    @property
    def upstream_bytes(self) -> bytes:
        return self.sections["upstream answer"].encode()

    def open(self) -> StreamTranslator:
        return self.translator.stream(self.client, self.target)


def target(
    protocol: str, model: str, upstream_model: str | None = None, *, kind: str = "chat", speaks: list[str] | None = None, **more: Any
) -> Target:
    base = "https://provider.test" if protocol == "anthropic" else "https://provider.test/v1"
    spoken = frozenset(Dialect(s) for s in speaks or ["chat", "embeddings", "completions", "pass"])
    provider = Provider("there", Protocol(protocol), base, "key-of-provider", speaks=spoken)
    return Target(provider, Model(model, "there", upstream_model or model, kind=kind, **more))


def client(dialect: str, raw: bytes, *, stream: bool = False, **more: Any) -> ClientRequest:
    body = jsonbytes.loads(raw) if raw else {}
    more.setdefault("path", _PATHS.get(Dialect(dialect), "/other"))
    return ClientRequest(Dialect(dialect), raw, body, stream=stream, **more)


def read(path: Path) -> Transcript:
    head_text, *parts = re.split(r"^===== (.+)\n", path.read_text(), flags=re.MULTILINE)
    head = dict(line.split(": ", 1) for line in head_text.strip().splitlines())
    return Transcript(path.stem, head, dict(zip(parts[::2], parts[1::2], strict=True)))


def all_transcripts() -> list[Transcript]:
    return [read(path) for path in sorted(FOLDER.glob("*.txt"))]


def play(stream: StreamTranslator, pieces: list[bytes]) -> tuple[bytes, NeuroRouteError | None]:
    """What the client gets of these pieces, and the error that ended it."""
    out = []
    try:
        for piece in pieces:
            out.append(stream.feed(piece))
        out.append(stream.end())
    except NeuroRouteError as error:
        return b"".join(out), error
    return b"".join(out), None


def levelled(data: bytes) -> bytes:
    """`data` with times and made-up ids blotted out."""
    data = re.sub(rb'("(?:created|created_at|completed_at)"\s*:\s*)\d+', rb"\g<1>0", data)
    return re.sub(rb'"(resp|msg|fc|rs|cmpl|chatcmpl)_[0-9a-f]{32}"', rb'"\1_#"', data)
