"""Counts what a provider did not report, or can not have meant: a client that left in the middle, a server that keeps no count."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from neuroroute.accounting.cost import bounded
from neuroroute.adapters.tokens_used import ABSURD
from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.reserve import choices, model_output_bound
from neuroroute.chain.services import Services
from neuroroute.core import tokens
from neuroroute.core.types import Dialect, Usage

_NOTHING: Final = Usage()
_ANY_TOKENS: Final = 10_000_000
"""More than any model reads or writes at once, where its own bounds are not known. Guess."""


def checked(call: Call, reported: Usage, text: Callable[[], str], s: Services) -> Usage:
    """
    What a provider reported, where it can be true; else our own count, as `corrected`.

    text: the answer as far as it went. A report that is missing is counted too, but where bytes only pass.
    """
    if reported.source == "none":
        return reported if call.dialect is Dialect.PASS else delivered(call, text())
    assert call.target is not None
    model = call.target.model
    if reported.source == ABSURD:
        reported = Usage(-1, -1)
    completion_cap = (model_output_bound(model) or _ANY_TOKENS) * choices(call)
    sane, changed = bounded(reported, prompt_cap=model.context_window_tokens or _ANY_TOKENS, completion_cap=completion_cap)
    if not changed:
        return reported
    s.metrics.count("neuroroute_usage_corrected", (call.target.name,))
    s.log.warning("%s reported a usage that can not be, for %s: it is counted here instead", call.target.name, call.request_id)
    if call.dialect is Dialect.PASS:
        return Usage() if sane == _NOTHING else replace(sane, source="corrected")
    return replace(delivered(call, text()), source="corrected")


def delivered(call: Call, text: str) -> Usage:
    """The usage of a call whose answer so far is `text`: counted where the tokeniser is at hand, else estimated."""
    model = call.target.model.name if call.target is not None else ""
    count, source = tokens.count(text, model)
    return Usage(prompt_tokens=conversation.of(call).prompt_tokens, completion_tokens=count, source=source if count else "estimated")
