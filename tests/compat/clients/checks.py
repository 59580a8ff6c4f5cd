"""
What the scripts of Python clients share. A script runs with that client's own packages, and prints one JSON line for each of its checks.

    @each("openai", "anthropic")            # the kinds of provider to ask
    def tools(at): ...                      # at.model("chat") -> "openai-chat"; at.called("fails-400", 1); at.left()

    if __name__ == "__main__":
        main()
"""

import asyncio
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

KINDS = ("openai", "anthropic", "lmstudio")
URL, KEY, PICTURE = os.environ["NR_URL"], os.environ["NR_KEY"], os.environ["NR_PICTURE"]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
_found: list[tuple[Callable[..., Any], tuple[str, ...]]] = []


class At:
    """Where a check runs: one kind of provider behind the gateway."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls: dict[str, int] = {}
        self.left_at_s: list[float] = []

    def model(self, what: str) -> str:
        return f"{self.kind}-{what}"

    def called(self, what: str, times: int) -> str:
        """The model's name, and the note that it is called so many times."""
        name = self.model(what)
        self.calls[name] = self.calls.get(name, 0) + times
        return name

    def left(self) -> None:
        """A slow call was dropped now."""
        self.left_at_s.append(time.monotonic())


def each(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(check: Callable[..., Any]) -> Callable[..., Any]:
        _found.append((check, kinds or KINDS))
        return check

    return keep


def raises(kind: type[BaseException], call: Callable[[], Any], exactly: bool = True) -> Any:
    """The error that the call must raise: exactly of that class, or of one below it."""
    try:
        got = call()
    except BaseException as raised:
        assert type(raised) is kind if exactly else isinstance(raised, kind), (
            f"{type(raised).__name__} instead of {kind.__name__}: {raised}"
        )
        return raised
    raise AssertionError(f"no {kind.__name__}, but {got!r}")


def main() -> None:
    with asyncio.Runner() as loop:  # one for all: LangChain keeps its connections from one check to the next
        for check, kinds in _found:
            for kind in kinds:
                at, fault = At(kind), None
                try:
                    outcome = check(at)
                    if inspect.iscoroutine(outcome):
                        loop.run(outcome)
                except Exception as failure:
                    fault = "".join(traceback.format_exception(failure, chain=False)[-8:])[-3000:]
                line = {"check": check.__name__, "kind": kind, "fault": fault, "calls": at.calls, "left_at_s": at.left_at_s}
                sys.stdout.write(json.dumps(line) + "\n")
