"""
The translators between what clients speak and what providers speak, and the one door to the network.

- relay: same dialect, the bytes pass (streams: relay_chat, relay_events)
- chat_to_anthropic (its turns: chat_messages; its answers: anthropic_answers)
- refusals: error bodies -> the error tree; families: which models take which parameters
- streams, template: what stream translators share; tokens_used, stops, naming, upstream: facts of the dialects, each once
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from neuroroute.adapters.base import Translator
from neuroroute.adapters.chat_to_anthropic import ChatToAnthropic
from neuroroute.adapters.relay import Relay
from neuroroute.core.types import Dialect, Protocol, Target

_RELAYS: Final = {dialect: Relay(dialect) for dialect in Dialect if dialect is not Dialect.PASS}

TRANSLATORS: Final[Mapping[tuple[Dialect, Protocol], Translator]] = MappingProxyType({
    (Dialect.CHAT, Protocol.OPENAI): _RELAYS[Dialect.CHAT],
    (Dialect.CHAT, Protocol.ANTHROPIC): ChatToAnthropic(),
    (Dialect.EMBEDDINGS, Protocol.OPENAI): _RELAYS[Dialect.EMBEDDINGS],
    (Dialect.MESSAGES, Protocol.ANTHROPIC): _RELAYS[Dialect.MESSAGES],
})  # fmt: skip


def translator_for(dialect: Dialect, target: Target) -> Translator:
    """The translator between a client's dialect and a target."""
    protocol = Protocol.OPENAI if target.provider.protocol is Protocol.DEMO else target.provider.protocol
    return TRANSLATORS[dialect, protocol]
