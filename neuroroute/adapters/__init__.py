"""
The translators between what clients speak and what providers speak, and the one door to the network.

- base: what a translator is; TRANSLATORS: the pairs; translator_for: the one for a call
- relay: same dialect, the bytes pass (streams: relay_chat, relay_events); pass_through: any other path of a provider
- chat_to_anthropic: chat -> Messages (its turns: chat_messages; marks for the prompt cache: prompt_cache; its answers: anthropic_answers)
- over_chat: what is served by way of chat: messages_to_openai (messages_answers), responses_to_chat (responses_answers, responses_items),
  completions_to_chat; composed with chat_to_anthropic they reach Anthropic, too
- refusals: error bodies -> the error tree; families: which models take which parameters
- streams, template: what stream translators share; tokens_used, stops, naming, upstream, shapes: facts of the dialects, each once
- transport: the only outbound HTTP; demo: the built-in provider
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from neuroroute.adapters.base import Translator
from neuroroute.adapters.chat_to_anthropic import ChatToAnthropic
from neuroroute.adapters.completions_to_chat import CompletionsOverChat
from neuroroute.adapters.messages_to_openai import MessagesOverChat
from neuroroute.adapters.pass_through import PassThrough
from neuroroute.adapters.relay import Relay
from neuroroute.adapters.responses_to_chat import ResponsesOverChat
from neuroroute.core.errors import BadRequest
from neuroroute.core.types import Dialect, Protocol, Target

_RELAYS: Final = {dialect: Relay(dialect) for dialect in Dialect if dialect is not Dialect.PASS}
_TO_ANTHROPIC: Final = ChatToAnthropic()
_PASSING: Final = PassThrough()

TRANSLATORS: Final[Mapping[tuple[Dialect, Protocol], Translator]] = MappingProxyType({
    (Dialect.CHAT, Protocol.OPENAI): _RELAYS[Dialect.CHAT],
    (Dialect.CHAT, Protocol.ANTHROPIC): _TO_ANTHROPIC,
    (Dialect.MESSAGES, Protocol.OPENAI): MessagesOverChat(_RELAYS[Dialect.CHAT]),
    (Dialect.MESSAGES, Protocol.ANTHROPIC): _RELAYS[Dialect.MESSAGES],
    (Dialect.RESPONSES, Protocol.OPENAI): ResponsesOverChat(_RELAYS[Dialect.CHAT]),
    (Dialect.RESPONSES, Protocol.ANTHROPIC): ResponsesOverChat(_TO_ANTHROPIC),
    (Dialect.COMPLETIONS, Protocol.OPENAI): CompletionsOverChat(_RELAYS[Dialect.CHAT]),
    (Dialect.COMPLETIONS, Protocol.ANTHROPIC): CompletionsOverChat(_TO_ANTHROPIC),
    (Dialect.EMBEDDINGS, Protocol.OPENAI): _RELAYS[Dialect.EMBEDDINGS],
    (Dialect.PASS, Protocol.OPENAI): _PASSING,
    (Dialect.PASS, Protocol.ANTHROPIC): _PASSING,
})  # fmt: skip
"""What each pair needs where the provider does not speak the dialect itself."""


def translator_for(dialect: Dialect, target: Target) -> Translator:
    """
    The translator between a client's dialect and a target.

    Bytes pass where the provider speaks the dialect. Completions pass to completion models alone: a chat model's provider mostly refuses them.
    Raises BadRequest where there is no way: embeddings from a provider that has none.
    """
    provider = target.provider
    protocol = Protocol.OPENAI if provider.protocol is Protocol.DEMO else provider.protocol
    if protocol is Protocol.OPENAI:
        if dialect in (Dialect.RESPONSES, Dialect.MESSAGES) and dialect in provider.speaks:
            return _RELAYS[dialect]
        if dialect is Dialect.COMPLETIONS and target.model.kind == "completion":
            return _RELAYS[dialect]
    found = TRANSLATORS.get((dialect, protocol))
    if found is None:
        raise BadRequest(f"model: {target.model.name!r} gives no {dialect.value}", param="model")
    return found
