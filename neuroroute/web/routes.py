"""The table of endpoints, and nothing else."""

from aiohttp import web

from neuroroute.core.settings import Settings
from neuroroute.web import inference, models, ops, prompt, route


def table(settings: Settings) -> list[web.RouteDef]:
    """Every route, the specific ones first: `/v1/{tail}` takes what is left and passes it on."""
    return [
        web.get("/health", ops.health),
        web.get("/health/live", ops.live),
        web.get("/health/ready", ops.ready),
        web.get(settings.metrics_path, ops.metrics),
        web.post("/v1/chat/completions", inference.chat_completions),
        web.post("/v1/responses", inference.responses),
        web.post("/v1/messages", inference.messages),
        web.post("/v1/completions", inference.completions),
        web.post("/v1/embeddings", inference.embeddings),
        web.get("/v1/models", models.list_v1),
        web.get("/v1/models/{id:.+}", models.get_v1),
        web.post("/v1/route", route.route),
        web.post("/prompt", prompt.prompt),
        web.get("/models", models.list_all),
        web.get("/models/{id:.+}", models.get_one),
        web.route("*", "/v1/{tail:.*}", inference.pass_through),
    ]
