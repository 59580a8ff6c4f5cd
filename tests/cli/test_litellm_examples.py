"""
Configurations with the features of each of LiteLLM's own example files, in words of ours: all models, fallbacks and aliases that have a
counterpart must come along, and of all else a line must say why it does not. What comes out must be a configuration that can be used.
"""

from typing import Any

import pytest
import yaml

from tests.cli.shell import Shell

EU = "https://eu-west.openai.azure.com/"
OWN = "https://models.example.com/"
EXAMPLES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "azure, with time-outs below a second": (
        f"""
model_list:
  - {{model_name: team-one, litellm_params: {{model: azure/chat-v2, api_base: "{EU}", api_version: "2024-06-01", api_key: os.environ/AZURE_API_KEY, tpm: 20_000, timeout: 5, stream_timeout: 0.5, max_retries: 4}}}}
  - {{model_name: team-two, litellm_params: {{model: azure/chat-v4, api_base: "https://us-east.openai.azure.com/", api_key: os.environ/AZURE_API_KEY, tpm: 100_000}}}}
""",
        {"models": ["team-one", "team-two"], "models.team-one.timeouts.idle_s": 0.5, "models.team-two.limits": {"tokens_per_minute": 100000}},
        ["model_list[0] (team-one).max_retries:"],
    ),
    "known names in front of a local server": (
        """
model_list:
  - {model_name: gpt-4, litellm_params: {model: ollama/mixtral}}
  - {model_name: gpt-3.5-turbo, litellm_params: {model: ollama/mixtral, temperature: 0.2, max_tokens: 30}}
""",
        {"models": ["gpt-3.5-turbo", "gpt-4"], "models.gpt-4.upstream_model": "mixtral", "providers.ollama.base_url": "http://localhost:11434/v1"},
        ["model_list[1] (gpt-3.5-turbo).temperature:", "model_list[1] (gpt-3.5-turbo).max_tokens:"],
    ),
    "load over two keys of one account, limits beside the parameters": (
        """
litellm_settings: {drop_params: true}
model_list:
  - {model_name: small, litellm_params: {model: gpt-4o-mini, api_key: sk-one}, tpm: 20000, rpm: 3}
  - {model_name: small, litellm_params: {model: gpt-4o-mini, api_key: sk-two}, tpm: 20000, rpm: 3}
  - {model_name: small, litellm_params: {model: openrouter/openai/gpt-4o-mini}}
  - {model_name: seven, litellm_params: {model: somebody/seven-7b}}
environment_variables: {REDIS_HOST: localhost, REDIS_PORT: 6379}
""",
        {
            "models": ["small@openai", "small@openai-2", "small@openrouter"],
            "aliases": {"small": ["small@openai", "small@openai-2", "small@openrouter"]},
            "models.small@openai.limits": {"requests_per_minute": 3, "tokens_per_minute": 20000},
        },
        ["model_list[3] (seven): somebody is no provider", "environment_variables.REDIS_HOST:", "litellm_settings.drop_params:"],
    ),
    "providers that are known by their address alone, and a ring of fallbacks": (
        """
model_list:
  - {model_name: deep, litellm_params: {model: flowhost/deep-ai/Deep-R1-7B, api_key: os.environ/FLOWHOST_KEY, api_base: "https://api.flowhost.example/v1"}}
  - {model_name: flash, litellm_params: {model: bigmodel/flash-4, api_key: os.environ/BIGMODEL_KEY, api_base: "https://open.bigmodel.example/api/paas/v4"}}
  - {model_name: flash-2, litellm_params: {model: bigmodel/flash-5, api_base: "https://open.bigmodel.example/api/paas/v4"}}
router_settings:
  {routing_strategy: usage-based-routing-v2, num_retries: 3, timeout: 60, fallbacks: [{deep: [flash, flash-2]}, {flash: [flash-2, deep]}, {flash-2: [flash, deep]}]}
general_settings: {port: 4000, host: 127.0.0.1}
litellm_settings: {return_response_headers: true, cache: true, cache_params: {type: local, ttl: 300}}
""",
        {
            "models": ["deep", "flash", "flash-2"],
            "models.deep.upstream_model": "deep-ai/Deep-R1-7B",
            "models.deep.fallbacks": ["flash", "flash-2"],
            "models.flash.fallbacks": ["flash-2", "deep"],
            "models.flash-2.fallbacks": ["flash", "deep"],
            "providers.bigmodel.base_url": "https://open.bigmodel.example/api/paas/v4",
            "cache.ttl_s": 300,
            "set.PORT": "4000",
            "set.HOST": "127.0.0.1",
            "set.UPSTREAM_MAX_RETRIES": "3",
        },
        ["router_settings.routing_strategy:"],
    ),
    "a router that learns": (
        """
model_list:
  - model_name: smart-and-cheap
    litellm_params: {model: auto_router/adaptive_router, adaptive_router_config: {available_models: [quick, clever], weights: {quality: 0.7, cost: 0.3}}}
  - model_name: quick
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, input_cost_per_token: 0.00000015}
    model_info: {adaptive_router_preferences: {quality_tier: 2}}
  - {model_name: clever, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
""",
        {
            "models": ["clever", "quick"],
            "routing": {"policies": {"smart-and-cheap": {"allow": ["quick", "clever"], "weights": {"quality": 0.7, "cost": 0.3}}}},
            "set.NEUROROUTE_ADMIN_KEY": "${LITELLM_MASTER_KEY}",
        },
        ["model_list[1] (quick).model_info.adaptive_router_preferences:"],
    ),
    "deployments of teams by tags, guardrails, callbacks": (
        f"""
model_list:
  - {{model_name: ours, litellm_params: {{model: openai/fake, api_key: fake, api_base: "{OWN}", tags: [teamA]}}, model_info: {{id: a}}}}
  - {{model_name: ours, litellm_params: {{model: openai/fake, api_key: fake, api_base: "{OWN}", tags: [teamB]}}, model_info: {{id: b}}}}
  - {{model_name: ranks, litellm_params: {{model: cohere/rerank-english-v3.0, api_key: os.environ/COHERE_API_KEY}}}}
  - {{model_name: sees, litellm_params: {{model: openai/org/llava-7b, api_base: "http://localhost:8000", api_key: fake}}, model_info: {{supports_vision: True}}}}
litellm_settings: {{cache: true, callbacks: [otel, prometheus]}}
router_settings: {{enable_tag_filtering: True}}
guardrails: [{{guardrail_name: g, litellm_params: {{guardrail: lakera, mode: pre_call}}}}]
""",
        {"models": ["ours", "sees"], "models.sees.abilities": ["vision"], "set.METRICS_PATH": "/metrics"},
        ["model_list[0] (ours).tags:", "model_list[2] (ranks): models of the mode rerank", "router_settings.enable_tag_filtering:", "guardrails:"],
    ),
    "everything of one maker, one name twice, paths that pass through": (
        f"""
model_list:
  - {{model_name: fake, litellm_params: {{model: openai/fake, api_key: fake-key, api_base: "{OWN}"}}}}
  - {{model_name: claude-sonnet-4-5, litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}}}}
  - {{model_name: special, litellm_params: {{model: anthropic/claude-haiku-4-5-20251001, api_key: os.environ/ANTHROPIC_API_KEY}}}}
  - {{model_name: claude-sonnet-4-5, litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}}}}
  - {{model_name: anthropic/*, litellm_params: {{model: anthropic/*, api_key: os.environ/ANTHROPIC_API_KEY}}}}
  - {{model_name: openai/*, litellm_params: {{model: openai/*, api_key: os.environ/OPENAI_API_KEY}}}}
general_settings: {{custom_auth: mine.auth, pass_through_endpoints: [{{path: /elsewhere, target: os.environ/AZURE_API_BASE}}]}}
litellm_settings: {{include_cost_in_streaming_usage: true}}
""",
        {
            "models": ["claude-sonnet-4-5", "fake", "special"],
            "models.special.upstream_model": "claude-haiku-4-5-20251001",
            "providers.anthropic.discover": True,
            "providers.openai.discover": True,
        },
        ["general_settings.custom_auth:", "general_settings.pass_through_endpoints:", "litellm_settings.include_cost_in_streaming_usage:"],
    ),
    "the big one: kinds of models, wildcards, an alias of a group": (
        f"""
model_list:
  - {{model_name: end-users, litellm_params: {{model: gpt-4o-mini, region_name: eu}}, model_info: {{id: "1"}}}}
  - {{model_name: end-users, litellm_params: {{model: azure/chat-v2, api_base: "{EU}", api_key: os.environ/AZURE_API_KEY}}}}
  - {{model_name: large, litellm_params: {{model: gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 480, timeout: 300, stream_timeout: 60}}}}
  - {{model_name: seconds, litellm_params: {{model: sagemaker/llama-70b, input_cost_per_second: 0.0004}}}}
  - {{model_name: vectors, litellm_params: {{model: azure/vectors, api_base: "{EU}", api_key: os.environ/AZURE_API_KEY}}, model_info: {{mode: embedding, base_model: text-embedding-ada-002}}}}
  - {{model_name: no-name, litellm_params: {{model: azure/, api_base: "{EU}", api_key: os.environ/AZURE_API_KEY}}}}
  - {{model_name: pictures, litellm_params: {{model: dall-e-3}}}}
  - {{model_name: fake-2, litellm_params: {{model: openai/one, api_key: k, api_base: "{OWN}", stream_timeout: 0.001, rpm: 1}}}}
  - {{model_name: fake-3, litellm_params: {{model: openai/one, api_key: k, api_base: "{OWN}", rpm: 1000}}}}
  - {{model_name: fake-3, litellm_params: {{model: openai/two, api_key: k, api_base: "{OWN}", rpm: 1000}}}}
  - {{model_name: bad, litellm_params: {{model: openai/bad, api_key: os.environ/OPENAI_API_KEY, api_base: "{OWN}", mock_timeout: True}}, model_info: {{health_check_timeout: 1}}}}
  - {{model_name: "*", litellm_params: {{model: openai/*, api_key: os.environ/OPENAI_API_KEY}}}}
  - {{model_name: groq/*, litellm_params: {{model: groq/*, api_key: os.environ/GROQ_API_KEY}}}}
  - {{model_name: mistral-embed, litellm_params: {{model: mistral/mistral-embed}}}}
  - {{model_name: instruct, litellm_params: {{model: text-completion-openai/gpt-3.5-turbo-instruct}}}}
  - {{model_name: bedrock/batch, litellm_params: {{model: bedrock/us.anthropic.claude, s3_bucket_name: b}}, model_info: {{mode: batch}}}}
litellm_settings: {{num_retries: 5, request_timeout: 600, telemetry: False, context_window_fallbacks: [{{end-users: [large]}}], default_team_settings: [{{team_id: t}}]}}
router_settings: {{routing_strategy: usage-based-routing-v2, redis_host: os.environ/REDIS_HOST, enable_pre_call_checks: true, model_group_alias: {{special: fake-3}}}}
general_settings: {{master_key: sk-1234, store_model_in_db: True, proxy_batch_write_at: 1, database_connection_pool_limit: 10}}
finetune_settings: [{{custom_llm_provider: openai, api_key: os.environ/OPENAI_API_KEY}}]
files_settings: [{{custom_llm_provider: openai, api_key: os.environ/OPENAI_API_KEY}}]
""",
        {
            "models": ["bad", "end-users@azure", "end-users@openai", "fake-2", "fake-3@models-example-com", "fake-3@models-example-com-2", "instruct", "large", "mistral-embed", "pictures", "vectors"],
            "aliases": {
                "end-users": ["end-users@openai", "end-users@azure", "large"],
                "fake-3": ["fake-3@models-example-com", "fake-3@models-example-com-2"],
                "special": ["fake-3@models-example-com", "fake-3@models-example-com-2"],
            },
            "models.vectors.kind": "embedding",
            "models.instruct.kind": "completion",
            "models.fake-2.timeouts.idle_s": 0.001,
            "providers.groq.discover": True,
            "set.DB_POOL_MAX": "10",
        },
        [
            "model_list[0] (end-users).region_name:", "model_list[3] (seconds): sagemaker wants", "model_list[5] (no-name): names no model",
            "model_list[10] (bad).mock_timeout:", "model_list[15] (bedrock/batch):", "finetune_settings:", "files_settings:",
            "litellm_settings.default_team_settings:",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_has_a_counterpart_comes_along_and_the_rest_is_told(tmp_path, example):
    text, expected, lost = EXAMPLES[example]
    (tmp_path / "old.yaml").write_text(text)
    shell = Shell(tmp_path)
    report = shell.json("import", "litellm", "old.yaml", "--write", "new.yaml")
    config = yaml.safe_load(report["config"])
    for path, value in expected.items():
        found: Any = report if path.startswith("set.") else config
        names = path.split(".") if path.startswith("set.") or path.count(".") <= 1 else [path.split(".")[0], *_rest(path, config)]
        for name in names:
            found = found[name]
        assert (sorted(found) if path == "models" else found) == value, (path, found)
    for where in lost:
        assert any(line.startswith(where) for line in report["not_carried"]), (where, report["not_carried"])
    told = {line.partition(":")[0] for line in report["not_carried"]}
    said = yaml.safe_load(text)
    for place, entry in enumerate(said["model_list"]):
        name = entry["model_name"]
        carried = (
            name in config["models"]
            or name in config.get("aliases", {})
            or "*" in name
            or name in config.get("routing", {}).get("policies", {})
        )
        assert carried or f"model_list[{place}] ({name})" in told, f"{name} was lost without a word"
    shell.environment |= dict.fromkeys(report["variables"], "https://somewhere.example/v1")
    assert shell.json("config", "check", "new.yaml")["ok"] is True


def _rest(path: str, config: dict[str, Any]) -> list[str]:
    """The names of a path behind its first part; a model's may have dots."""
    part, _, rest = path.partition(".")
    name = max([name for name in config[part] if rest == name or rest.startswith(name + ".")], key=len)
    return [name, *filter(None, rest.removeprefix(name).strip(".").split("."))]
