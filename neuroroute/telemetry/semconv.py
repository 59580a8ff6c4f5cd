"""
Names of OpenTelemetry's semantic conventions that our spans use, and the few of our own.

Source: opentelemetry-semantic-conventions 0.66b2 (registry of the GenAI conventions, status: development; HTTP and errors: stable), 2026-11.
"""

from collections.abc import Mapping
from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"

REQUEST_ID: Final = "neuroroute.request_id"
CLIENT_REQUEST_ID: Final = "neuroroute.client_request_id"
KEY_ID: Final = "neuroroute.key_id"
USER_ID: Final = "neuroroute.user_id"
LABEL: Final = "neuroroute.label"
DIFFICULTY: Final = "neuroroute.difficulty"
POLICY: Final = "neuroroute.policy"
CACHE: Final = "neuroroute.cache"
ATTEMPTS: Final = "neuroroute.attempts"
STATUS: Final = "neuroroute.status"
OVERHEAD_MS: Final = "neuroroute.overhead_ms"
COST_USD: Final = "neuroroute.cost_usd"
TARGET: Final = "neuroroute.target"

OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""By dialect; what is only passed on has its own path's name."""
PROVIDERS: Final[Mapping[str, str]] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
}
"""Well-known values by host; a provider elsewhere has its own name."""
