"""
What a translator is: pure functions over bytes between one client dialect and one upstream protocol.

Translators hold no sockets and await nothing; `transport` does all I/O. So each is tested by feeding it recorded bytes: whole, byte by
byte, and split at every offset. A `Translator` is a stateless singleton; what one stream needs to remember lives in its `StreamTranslator`.
"""

from collections.abc import Mapping
from typing import Protocol

from neuroroute.core.errors import NeuroRouteError, UpstreamError
from neuroroute.core.types import ClientRequest, Reply, Target, UpstreamRequest, Usage


class StreamTranslator(Protocol):
    """One per attempt. Reads the upstream's bytes as they come, gives the client's bytes."""

    usage: Usage
    """What the provider reported so far; source stays "none" until it reported."""
    finish_reason: str
    """OpenAI's word for why the answer ended; empty until it did."""
    done: bool
    """The answer's proper end was seen: nothing more is to come, though the upstream may keep the line open."""

    def feed(self, chunk: bytes) -> bytes:
        """
        Client bytes for these upstream bytes; may be empty.

        Raises an UpstreamError on a provider's error event and on bytes that make no sense.
        """
        ...

    def end(self) -> bytes:
        """The rest, when the upstream closed. Raises StreamCut if the answer's proper end never came, UpstreamBroken if nothing did."""
        ...

    def failure(self, error: NeuroRouteError) -> bytes:
        """The in-stream error in the client's dialect; no false end marker."""
        ...

    def text(self) -> str:
        """The text delivered so far (tool arguments and reasoning included), to count tokens where the provider reported none."""
        ...


class Translator(Protocol):
    def request(self, client: ClientRequest, target: Target) -> UpstreamRequest:
        """Raises BadRequest naming the field that the other side has no counterpart for."""
        ...

    def whole(self, client: ClientRequest, target: Target, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        """A 2xx answer in the client's dialect. Raises UpstreamBroken on empty, malformed, HTML and error-in-200 answers."""
        ...

    def stream(self, client: ClientRequest, target: Target) -> StreamTranslator: ...

    def error(self, status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
        """A non-2xx answer as an error whose message is the provider's own text (bounded, keys and addresses masked)."""
        ...
