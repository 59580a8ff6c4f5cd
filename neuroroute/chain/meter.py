"""Counts what a provider did not report: a client that left in the middle, a server that keeps no count."""

from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.core import tokens
from neuroroute.core.types import Usage


def delivered(call: Call, text: str) -> Usage:
    """The usage of a call whose answer so far is `text`: counted where the tokeniser is at hand, else estimated."""
    model = call.target.model.name if call.target is not None else ""
    count, source = tokens.count(text, model)
    return Usage(prompt_tokens=conversation.of(call).prompt_tokens, completion_tokens=count, source=source if count else "estimated")
