"""What each client must be shown to do. A client's script may check more, never less."""

_CALLS = frozenset({"sync_whole", "async_whole", "sync_stream", "async_stream", "tools", "structured", "images", "errors", "disconnect"})
_OPENAI = _CALLS | {"embeddings", "auto", "responses", "completions", "models"}
_ANTHROPIC = _CALLS | {"auto", "counted", "models"}  # its API has no embeddings
_NODE = frozenset({"whole", "stream", "tools", "structured", "images", "errors", "abort"})
_VERCEL = frozenset(f"{speaks}_{check}" for speaks in ("responses", "chat", "compatible", "messages") for check in {*_NODE, "second_turn"})

LISTED = {
    ("openai_sdk", "current"): _OPENAI,
    ("openai_sdk", "former"): _OPENAI,
    ("anthropic_sdk", "current"): _ANTHROPIC,
    ("anthropic_sdk", "former"): _ANTHROPIC,
    ("langchain_on_openai", "current"): _CALLS | {"embeddings", "responses"},
    ("langchain_on_anthropic", "current"): _CALLS,
    ("llama_index_like", "former"): _CALLS | {"completions"},
    ("openai_node", "node"): _NODE | {"embeddings", "responses", "completions", "models"},
    ("vercel_ai", "node"): _VERCEL | {"embeddings", "retries", "abort_whole"},
}
"""By the script's name and the packages it runs with."""
