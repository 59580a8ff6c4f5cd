"""The router without a server: the same catalogue, classifier and decision as a gateway of this configuration, on no live figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from neuroroute.adapters.demo import MODELS as DEMO_MODELS
from neuroroute.chain import conversation
from neuroroute.chain.offer import Found, Offer
from neuroroute.chain.shapes import check
from neuroroute.chain.steering import steering
from neuroroute.classifier import Classifier
from neuroroute.core import jsonbytes
from neuroroute.core.config import read
from neuroroute.core.settings import Settings
from neuroroute.core.types import Classification, ClientRequest, Dialect, Principal, Role
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.decision import Bounds, Decision, Question
from neuroroute.routing.health import Health
from neuroroute.routing.router import Router

_ANYBODY: Final = Principal("key_offline", "usr_offline", Role.ADMIN)


class Offline:
    """
    Decides on chat bodies. Models that only a server's own list would tell are not known here.

    Raises: ConfigFaulty
    """

    def __init__(self, settings: Settings) -> None:
        self.catalog = catalog_of(settings)
        self.classifier = Classifier.load()
        self._router = Router(Health(), mean_difficulty=self.classifier.mean_difficulty)

    def decide(self, body: Mapping[str, Any]) -> Decision:
        """
        Who would answer this chat body; a missing model means auto.

        Raises: BadRequest, UnknownModel, Unavailable as the endpoint does.
        """
        check(body, Dialect.CHAT)
        asked = steering({}, body)
        said = conversation.read(ClientRequest(Dialect.CHAT, jsonbytes.dumps(body), dict(body)))
        reading = self.classifier.read(said.prompt)
        seen = Classification(
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
        question = Question(
            model=str(body.get("model") or "auto"),
            principal=_ANYBODY,
            stream=body.get("stream") is True,
            max_output_tokens=said.max_output_tokens,
            bounds=Bounds(asked.policy, asked.quality_floor, asked.max_cost_usd, asked.max_latency_ms, asked.allow, asked.deny),
            tags=asked.tags,
        )
        return self._router.decide(question, seen, self.catalog)

    def router(self) -> dict[str, object]:
        """What an explanation says of the classifier."""
        card = self.classifier.card
        return {"version": card.get("version"), "metrics": card.get("metrics")}


def catalog_of(settings: Settings) -> Catalog:
    """What a gateway of these settings offers at its start, the servers that it would ask left out."""
    file: Path | None = settings.neuroroute_config
    layers = [read(file)] if file is not None else []
    return Offer(settings, layers, Found({"demo": DEMO_MODELS})).holder.current
