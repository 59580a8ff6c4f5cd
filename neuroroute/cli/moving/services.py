"""
Where the providers live that LiteLLM calls by a word before the model's name, as far as they speak a dialect of ours.

Source: the providers' own API references and LiteLLM's provider pages, read 2026-11. A word that is not here has no counterpart.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from neuroroute.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """
    base_url: None = the configuration must say it. variable: where LiteLLM finds the key unless told; None = none is needed.

    path: what LiteLLM adds to a base URL of the configuration before the dialect's own path. kind: of all models there, where it is not chat.
    """

    base_url: str | None
    variable: str | None
    protocol: str = "openai"
    path: str = ""
    base_variable: str | None = None
    kind: str | None = None


SERVICES: Final[dict[str, Service]] = {
    "openai": Service("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": Service("https://api.openai.com/v1", "OPENAI_API_KEY", kind="completion"),
    "anthropic": Service("https://api.anthropic.com", "ANTHROPIC_API_KEY", "anthropic"),
    "azure": Service(None, "AZURE_API_KEY", path="/openai/v1", base_variable="AZURE_API_BASE"),
    "azure_text": Service(None, "AZURE_API_KEY", path="/openai/v1", base_variable="AZURE_API_BASE", kind="completion"),
    "azure_ai": Service(None, "AZURE_AI_API_KEY", path="/openai/v1", base_variable="AZURE_AI_API_BASE"),
    "gemini": Service("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": Service("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Service("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "codestral": Service("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "deepseek": Service("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "xai": Service("https://api.x.ai/v1", "XAI_API_KEY"),
    "openrouter": Service("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": Service("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Service("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "perplexity": Service("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "cohere": Service("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "cohere_chat": Service("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "cerebras": Service("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "nvidia_nim": Service("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "sambanova": Service("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "deepinfra": Service("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "novita": Service("https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    "moonshot": Service("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "dashscope": Service("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "zai": Service("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    "nebius": Service("https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY"),
    "hyperbolic": Service("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    "ollama": Service("http://localhost:11434/v1", None, path="/v1", base_variable="OLLAMA_API_BASE"),
    "ollama_chat": Service("http://localhost:11434/v1", None, path="/v1", base_variable="OLLAMA_API_BASE"),
    "lm_studio": Service(None, "LM_STUDIO_API_KEY", base_variable="LM_STUDIO_API_BASE"),
    "hosted_vllm": Service(None, None, base_variable="HOSTED_VLLM_API_BASE"),
    "vllm": Service(None, None, base_variable="HOSTED_VLLM_API_BASE"),
    "llamafile": Service("http://127.0.0.1:8080/v1", None, base_variable="LLAMAFILE_API_BASE"),
    "litellm_proxy": Service(None, "LITELLM_PROXY_API_KEY", base_variable="LITELLM_PROXY_API_BASE"),
    "openai_like": Service(None, "OPENAI_LIKE_API_KEY", base_variable="OPENAI_LIKE_API_BASE"),
    "custom_openai": Service(None, "OPENAI_API_KEY"),
}

SIGNED: Final = {
    "bedrock": "AWS signatures", "bedrock_converse": "AWS signatures", "sagemaker": "AWS signatures", "sagemaker_chat": "AWS signatures",
    "vertex_ai": "Google Cloud tokens that expire", "vertex_ai_beta": "Google Cloud tokens that expire", "watsonx": "IBM tokens that expire",
    "github_copilot": "GitHub's device sign-in", "databricks": "its own sign-in", "snowflake": "its own sign-in", "oci": "Oracle signatures",
}  # fmt: skip
"""Why the best known of the others can not be carried: how they want to be signed in to."""

_BY_NAME: Final = (
    ("openai", ("gpt-", "chatgpt-", "o1", "o3", "o4", "dall-e", "text-embedding-", "whisper-", "tts-", "omni-moderation", "text-moderation",
                "gpt-image", "codex-", "computer-use", "ft:", "babbage-002", "davinci-002")),
    ("anthropic", ("claude-",)),
    ("cohere_chat", ("command-",)),
)  # fmt: skip


def word_of(model: str, said: str | None = None) -> tuple[str | None, str]:
    """(the provider's word, the model's name there) of LiteLLM's `model`; None where no word is known. said: custom_llm_provider."""
    if said:
        return said, model.removeprefix(said + "/")
    word, slash, rest = model.partition("/")
    if slash and (word in SERVICES or word in SIGNED):
        return word, rest
    found = next((word for word, beginnings in _BY_NAME if model.startswith(beginnings)), None)
    return (found, model) if found is not None else (word if slash else None, rest or model)


def elsewhere(word: str | None, has_address: bool) -> Service | None:
    """A provider that we do not know but whose address the configuration says: it is taken to speak OpenAI's dialect, as most do."""
    if word is None or not has_address or word in SIGNED:
        return None
    return Service(None, re.sub(r"\W+", "_", word).upper() + "_API_KEY")


def address(service: Service, given: str) -> str:
    """The base URL as we write it, from LiteLLM's api_base."""
    url = given.strip().rstrip("/")
    if service.protocol == "anthropic":
        return url.removesuffix("/messages").removesuffix("/v1")
    if service.path.startswith("/openai"):  # Azure's resource; anything behind the host belongs to its older addresses
        return (url if url.startswith("${") else url.split("/openai", 1)[0]) + service.path
    return url if not service.path or url.endswith(service.path) else url + service.path


def host_word(url: str) -> str:
    """A word for a server: `http://10.0.0.5:8000/v1` -> 10-0-0-5-8000."""
    parts = urlsplit(url)
    return "-".join(filter(None, [parts.hostname or "", str(parts.port or "")])).replace(".", "-") or "server"
