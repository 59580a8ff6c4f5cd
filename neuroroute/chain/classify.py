"""
Stage `classify`: what kind of work is this, how hard, and what must a model be able to do? On the CPU, without asking anyone.

A call whose model is named needs no reading to be served; its label is for the books, where it tells what `auto` would have done. So such calls
are read as far as the worker's allowance goes: all of them on a quiet gateway, a sample on a busy one, where reading each would cost as
much as serving it.
"""

from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.core.types import Classification
from neuroroute.routing.catalog import is_auto


def classify(call: Call, s: Services) -> None:
    """Sets `classification`. Never raises, and takes bounded time for a prompt of any length."""
    if not _matters(call) and not s.readings.take(monotonic_s()):
        return
    read(call, s)


def read(call: Call, s: Services) -> Classification:
    """The classification of a parsed call, whether it matters to its route or not."""
    said = conversation.of(call)
    reading = s.classifier.read(said.prompt)
    call.classification = Classification(
        label=reading.label,
        confidence=reading.confidence,
        difficulty=reading.difficulty,
        language=reading.language,
        abilities=said.needs,
        prompt_tokens=said.prompt_tokens,
        posterior=reading.posterior,
        abstained=reading.abstained,
        reasons=reading.reasons,
    )
    return call.classification


def _matters(call: Call) -> bool:
    """Whether the route depends on it, or the caller wants to see it."""
    catalog = call.catalog
    assert catalog is not None
    name = call.requested_model
    return is_auto(name) or bool(catalog.rules) or name in catalog.aliases or call.steering.explain or call.group == "prompt"
