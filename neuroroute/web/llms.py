"""/llms.txt: this gateway in a page of plain text, for language models that write code against it."""

from aiohttp import web

from neuroroute.web.state import SERVICES

_TEXT = """# NeuroRoute

> An OpenAI-compatible gateway that sends each request to the model that suits it. Base URL: {url}/v1 (Anthropic's SDK: {url}).

Use the official SDKs of OpenAI or Anthropic with this base URL and a key of this gateway (it begins with nr_), sent as
`Authorization: Bearer nr_...` or `x-api-key: nr_...`, never in the query string. Ask the user for the key; do not invent one.

## Endpoints

- POST /v1/chat/completions: OpenAI chat, whole or streamed (`"stream": true`)
- POST /v1/responses: OpenAI Responses; GET and DELETE /v1/responses/{{id}}
- POST /v1/messages: Anthropic Messages; POST /v1/messages/count_tokens
- POST /v1/embeddings, /v1/completions; any other path below /v1 is passed to the provider of the named model
- GET /v1/models: the models that this key may use; GET /models: with price, context window, abilities, quality, health
- POST /v1/route: takes a chat body and answers which model would be chosen and why; costs nothing
- POST /v1/feedback: {{"request_id": "req_...", "score": -1..1}} on an answer; the id is in its header x-request-id
- POST /prompt: {{"prompt": "..."}} gives one flat JSON with answer, model, tokens, cost
- GET /health: state of the parts; no key needed

## Model names

- `auto`: the router chooses by the default policy; also what a missing `model` means
- `auto:cheap`, `auto:balanced`, `auto:best`, `auto:fast`, or `auto:` and a policy of the configuration
- `auto:0` to `auto:10`: a dial from least cost to most quality
- a model's own name, such as `gpt-4o-mini` or `openai/gpt-4o-mini`: exactly that one
- an alias: the first healthy model of its chain

## Steering one call

Add an object `neuroroute` to the body (it is never sent to a provider); all fields may be left out:
`policy`, `quality_floor` (0..1), `max_cost_usd`, `max_latency_ms`, `allow` and `deny` (lists of models), `session`,
`cache` (`default`, `no-store`, `refresh`, `only`), `cache_ttl_s`, `tags` (an object of texts), `explain` (true: the decision comes back
as `neuroroute` in the answer), `resumable` (true: the stream survives a cut line; go on with GET /v1/streams/{{id}}).
Headers do the same for some: `x-neuroroute-policy`, `x-neuroroute-cache`, `x-neuroroute-tags: team=search,env=prod`.

## Answers

Headers: `x-request-id`, `x-neuroroute-model`, `x-neuroroute-provider`, `x-neuroroute-route` (why), `x-neuroroute-cache`, `x-neuroroute-attempts`,
`x-neuroroute-cost-usd` and `x-neuroroute-saved-usd` (whole answers), `x-ratelimit-*`. `model` in the body is the model that answered.
Errors have OpenAI's shape {{"error": {{"message", "type", "param", "code"}}}}, on /v1/messages Anthropic's. 429 with Retry-After: wait and try again;
429 with code insufficient_quota: the budget is spent, do not try again. An error after the first byte of a stream is sent in the stream.

## More

- [OpenAPI document]({url}/openapi.json): every endpoint, the admin API included
"""


async def guide(request: web.Request) -> web.Response:
    """GET /llms.txt: a short guide in plain text, for language models."""
    settings = request.app[SERVICES].settings
    text = _TEXT.format(url=settings.api_url)
    if settings.enable_swagger:
        text += f"- [Documentation]({settings.api_url}{settings.swagger_route}): the same, to read and to try\n"
    return web.Response(text=text, headers={"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=3600"})
