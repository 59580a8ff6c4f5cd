"""Stage `classify`: what kind of work is this, how hard, and what must a model be able to do? On the CPU, without asking anyone."""

from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.types import Classification


def classify(call: Call, s: Services) -> None:
    """Sets `classification`. Never raises, and takes bounded time for a prompt of any length."""
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
