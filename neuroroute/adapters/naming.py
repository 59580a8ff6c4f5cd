"""
Which model name an answer shows.

- The public name and the provider's are the same: what the provider says stays, so a dated snapshot (gpt-4o-2024-08-06) tells what answered.
- They differ: a snapshot of the public name stays; anything else is the provider's inner name and becomes the public one.
- A file or a path (llama.cpp says which file it runs) never leaves.
"""

from typing import Any

from neuroroute.core import jsonbytes
from neuroroute.core.types import Target


class Naming:
    """The model names of one answer; one per attempt."""

    __slots__ = ("_public", "_said", "_same", "_shown")

    def __init__(self, target: Target) -> None:
        self._public = target.model.name
        self._same = target.model.name == target.model.upstream_model
        self._said: str | None = None
        self._shown = ""

    def of(self, said: Any) -> str:
        """The name to show for what the provider said."""
        if not isinstance(said, str) or not said:
            return self._public
        if said != self._said:
            self._said, self._shown = said, self._decide(said)
        return self._shown

    def in_object(self, data: bytes, said: Any) -> bytes:
        """`data` (a JSON object whose "model" is `said`) with the name to show; untouched where they agree or there is none."""
        if not isinstance(said, str) or not said:
            return data
        shown = self.of(said)
        return data if shown == said else jsonbytes.set_model(data, shown)

    def _decide(self, said: str) -> str:
        if said.startswith(("/", "\\", "file:")) or said.endswith(".gguf") or ":\\" in said:
            return self._public
        if self._same or said == self._public:
            return said
        snapshot = said.startswith(self._public) and said[len(self._public) : len(self._public) + 1] in "-@"
        return said if snapshot and any(c.isdigit() for c in said[len(self._public) :]) else self._public
