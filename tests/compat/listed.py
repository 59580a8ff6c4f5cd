"""What each client must be shown to do. A client's script may check more, never less."""

_CALLS = frozenset({"sync_whole", "async_whole", "sync_stream", "async_stream", "tools", "structured", "images", "errors", "disconnect"})
_OPENAI = _CALLS | {"embeddings", "auto", "responses", "completions", "models"}
_ANTHROPIC = _CALLS | {"auto", "counted", "models"}  # its API has no embeddings

LISTED = {
    ("openai_sdk", "current"): _OPENAI,
    ("openai_sdk", "former"): _OPENAI,
    ("anthropic_sdk", "current"): _ANTHROPIC,
    ("anthropic_sdk", "former"): _ANTHROPIC,
    ("langchain_on_openai", "current"): _CALLS | {"embeddings", "responses"},
    ("langchain_on_anthropic", "current"): _CALLS,
    ("llama_index_like", "former"): _CALLS | {"completions"},
}
"""By the script's name and the packages it runs with."""
