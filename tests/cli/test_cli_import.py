"""`neuroroute import`: configurations like LiteLLM's own examples, in our words, and what becomes of them."""

import json

import pytest
import yaml

from neuroroute.core import ids
from tests.cli.shell import Shell

LITELLM = """
model_list:
  - model_name: chat-small                    # one deployment, with limits and time-outs
    litellm_params: {model: gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, rpm: 480, timeout: 300, stream_timeout: 60}
  - model_name: chat-large                    # two on Azure, keys in clear, one of them weighted
    litellm_params: {model: azure/eu-deploy, api_base: "https://eu.openai.azure.com/", api_version: "2024-06-01", api_key: clear-secret-1, tpm: 80_000, weight: 3}
    model_info: {base_model: gpt-4o}
  - model_name: chat-large
    litellm_params: {model: azure/us-deploy, api_base: "https://us.openai.azure.com/", api_key: clear-secret-2, tpm: 80_000, order: 1}
    model_info: {base_model: gpt-4o}
  - model_name: vision-here                   # an own server; its abilities and price said
    litellm_params: {model: openai/org/llava-7b, api_base: "http://localhost:8000", api_key: fake, input_cost_per_token: 0.0000001, output_cost_per_token: 0.0000002}
    model_info: {supports_vision: true, max_input_tokens: 4096, mode: chat}
  - model_name: elsewhere
    litellm_params: {model: openai/m, api_key: fake, api_base: os.environ/SOME_API_BASE}
  - model_name: writer
    litellm_params: {model: anthropic/claude-haiku-4-5-20251001, api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: writer                        # the very same again
    litellm_params: {model: anthropic/claude-haiku-4-5-20251001, api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: local
    litellm_params: {model: ollama/llama2, temperature: 0.1, max_tokens: 20}
  - model_name: vectors
    litellm_params: {model: mistral/mistral-embed}
    model_info: {mode: embedding}
  - model_name: old-style
    litellm_params: {model: text-completion-openai/gpt-3.5-turbo-instruct}
  - {model_name: "*", litellm_params: {model: openai/*, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: groq/*, litellm_params: {model: groq/*, api_key: os.environ/GROQ_API_KEY}}
  - {model_name: jumpy, litellm_params: {model: sagemaker/llama, input_cost_per_second: 0.0004}}
  - {model_name: ranker, litellm_params: {model: cohere/rerank-english-v3.0}, model_info: {mode: rerank}}
  - {model_name: whose, litellm_params: {model: mistralai/mistral-7b-instruct}}
  - {model_name: nothing, litellm_params: {model: azure/, api_base: "https://eu.openai.azure.com/", api_key: clear-secret-1}}
router_settings:
  routing_strategy: usage-based-routing-v2
  redis_host: os.environ/REDIS_HOST
  fallbacks: [{chat-small: [chat-large]}, {chat-large: [chat-small, groq/llama-3.3-70b-versatile]}, {writer: [jumpy]}]
  model_group_alias: {special: chat-large, hidden-one: {model: writer, hidden: true}}
litellm_settings:
  drop_params: true
  num_retries: 5
  request_timeout: 600
  cache: true
  cache_params: {type: redis, ttl: 120}
  callbacks: [otel, langfuse]
  default_fallbacks: [local]
  context_window_fallbacks: [{gpt-5-mini: [chat-large]}]
general_settings: {master_key: clear-master-key, database_url: "postgresql://u:clear-db-password@h/db"}
environment_variables: {REDIS_PASSWORD: clear-redis-password}
guardrails: [{guardrail_name: g}]
"""

KEYS = {
    "keys": [
        {"token": "a1" * 32, "key_alias": "search team", "user_id": "ada@example.com", "team_alias": "search", "spend": 1.5, "max_budget": 25,
         "budget_duration": "30d", "models": ["chat-small", "chat-large"], "rpm_limit": 60, "tpm_limit": 100000, "max_parallel_requests": 8,
         "expires": "2099-01-01T00:00:00Z", "metadata": {"tags": ["env:prod", "beta"], "cost_center": 7}, "aliases": {"a": "b"}},
        {"token": "b2" * 32, "models": [], "max_budget": 3.0, "budget_duration": "10d"},
        {"key": "sk-kept-as-it-is-0123456789", "key_alias": "old", "models": ["all-team-models"]},
        {"token": "c3" * 32, "key_alias": "shut", "blocked": True},
        {"token": "d4" * 32, "key_alias": "past", "expires": "2020-01-01T00:00:00"},
        "e5" * 32,
    ]
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    (tmp_path / "old.yaml").write_text(LITELLM)
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    return tmp_path


def test_all_models_and_fallbacks_of_litellm_that_have_a_counterpart_come_along(files):
    report = Shell(files).json("import", "litellm", "old.yaml")
    config = yaml.safe_load(report["config"])
    models, aliases, providers = config["models"], config["aliases"], config["providers"]
    small = models["chat-small"]
    assert (small["provider"], small["upstream_model"], small["limits"]) == ("openai", "gpt-4o-mini", {"requests_per_minute": 480})
    assert small["timeouts"] == {"first_byte_s": 300.0, "total_s": 300.0, "idle_s": 60.0}
    # several deployments: a chain in LiteLLM's order, then the fallbacks
    first, second = aliases["chat-large"][:2]
    assert (models[first]["upstream_model"], models[second]["upstream_model"]) == ("us-deploy", "eu-deploy")
    assert aliases["chat-large"][2:] == ["chat-small", "groq/llama-3.3-70b-versatile"] and small["fallbacks"] == [first, second]
    assert providers[models[first]["provider"]]["base_url"] == "https://us.openai.azure.com/openai/v1"
    assert models[first]["price"] == {"input": 2.5, "output": 10.0, "cached_input": 1.25}  # of base_model
    assert aliases["special"] == aliases["chat-large"]
    assert aliases["hidden-one"] == ["writer", "local"] and models["writer"]["fallbacks"] == ["local"]
    here = models["vision-here"]
    assert (here["upstream_model"], here["abilities"], here["context_window_tokens"]) == ("org/llava-7b", ["vision"], 4096)
    assert here["price"] == {"input": 0.1, "output": 0.2} and providers[here["provider"]]["base_url"] == "http://localhost:8000"
    assert providers[models["elsewhere"]["provider"]]["base_url"] == "${SOME_API_BASE}"
    assert providers[models["local"]["provider"]] == {"protocol": "openai", "base_url": "http://localhost:11434/v1"}
    assert models["vectors"]["kind"] == "embedding" and models["old-style"]["kind"] == "completion"
    assert providers["openai"] == {"protocol": "openai", "api_key": "${OPENAI_API_KEY}", "discover": True}
    assert providers["groq"]["discover"] is True and providers["groq"]["base_url"] == "https://api.groq.com/openai/v1"
    assert models["gpt-5-mini"] == {"provider": "openai", "fallbacks": [first, second]}  # only a wildcard had it
    assert config["cache"] == {"ttl_s": 120}
    assert report["set"] | {"UPSTREAM_MAX_RETRIES": "5", "UPSTREAM_TOTAL_TIMEOUT_S": "600"} == report["set"]


def test_secrets_stay_where_they_are_and_what_is_lost_is_told_with_its_reason(files):
    shell = Shell(files)
    text, report = shell.run("import", "litellm", "old.yaml"), shell.json("import", "litellm", "old.yaml")
    assert "clear-" not in text and "clear-" not in json.dumps(report)
    assert {name for name in report["variables"] if name.startswith("IMPORTED_")} >= {"IMPORTED_AZURE_API_KEY", "IMPORTED_AZURE_API_KEY_2"}
    lost = report["not_carried"]
    for where in (
        "model_list[1] (chat-large).weight:", "model_list[7] (local).temperature:", "model_list[12] (jumpy): sagemaker wants AWS signatures",
        "model_list[13] (ranker):", "model_list[14] (whose): mistralai is no provider", "model_list[15] (nothing): names no model",
        "router_settings.routing_strategy: usage-based", "router_settings.fallbacks.writer: jumpy has no model here",
        "litellm_settings.callbacks: langfuse", "general_settings.database_url:", "environment_variables.REDIS_PASSWORD:", "guardrails:",
        "router_settings.model_group_alias.hidden-one.hidden:",
    ):  # fmt: skip
        assert any(line.startswith(where) for line in lost), (where, lost)
    assert all(line.count("\n") == 0 for line in lost)
    assert report["models"] == len(yaml.safe_load(report["config"])["models"])


def test_the_file_is_written_once_can_be_used_and_is_never_put_over_another(files):
    variables = dict.fromkeys(["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY"], "k")
    shell = Shell(files, **variables, SOME_API_BASE="http://10.0.0.1/v1")
    named = shell.json("import", "litellm", "old.yaml", "--write", "new.yaml")["variables"]
    assert "up to date" in shell.run("import", "litellm", "old.yaml", "--write", "new.yaml")
    shell.environment |= dict.fromkeys(named.keys() - shell.environment.keys(), "k")
    assert shell.json("config", "check", "new.yaml")["ok"] is True
    assert {"chat-small", "vision-here"} <= {row["name"] for row in shell.json("models", "list", "--config", "new.yaml")}
    (files / "mine.yaml").write_text("models: {}\n")
    assert "was not written by this import" in shell.run("import", "litellm", "old.yaml", "--write", "mine.yaml", status=2)
    shell.run("import", "litellm", "old.yaml", "--write", "dry.yaml", "--dry-run")
    assert not (files / "dry.yaml").exists()


def test_keys_are_made_once_and_keep_their_limits(files, database_url):
    shell = Shell(files, DATABASE_URL=database_url)
    asked = ["import", "litellm", "old.yaml", "--keys", "keys.json"]
    dry = shell.json(*asked, "--apply", "--dry-run")
    assert [key["done"] for key in dry["keys"]] == ["would be made or changed", "would be made or changed", "would be taken over"]
    assert shell.json("keys", "list") == []
    report = shell.json(*asked, "--apply")
    assert [key["done"] for key in report["keys"]] == ["made", "made", "taken over"] and ids.well_formed(report["keys"][0]["key"])
    keys = {key["name"]: key for key in shell.json("keys", "list")}
    search = keys["search team"]
    assert search["limits"] == {"requests_per_minute": 60, "tokens_per_minute": 100000, "concurrency": 8}
    assert search["budget"] == {"usd": 25.0, "period": "month"} and search["allowed_models"] == ["chat-small", "chat-large"]
    assert search["tags"] == {"team": "search", "env": "prod", "beta": "true", "cost_center": "7"}
    assert search["expires_at"].startswith("2099-01-01") and keys["old"]["allowed_models"] is None
    assert keys["litellm b2b2b2b2b2"]["budget"] == {"usd": 3.0, "period": "month"}
    roles = {user["id"]: user["role"] for user in shell.json("users", "list")}
    assert {roles[key["user_id"]] for key in keys.values()} == {"user"}  # nobody becomes an admin by moving in
    assert [key["done"] for key in shell.json(*asked, "--apply")["keys"]] == ["unchanged"] * 3 and len(shell.json("keys", "list")) == 3
    (files / "keys.json").write_text(json.dumps({"keys": [KEYS["keys"][0] | {"rpm_limit": 30}]}))
    assert [key["done"] for key in shell.json(*asked, "--apply")["keys"]] == ["changed"]
    lost = report["not_carried"]
    for where in (
        "keys[0] (search team).aliases:",
        "keys[3] (shut): is blocked",
        "keys[4] (past): ended",
        "keys[5]: is a digest",
        "keys.spend:",
    ):
        assert any(line.startswith(where) for line in lost), (where, lost)
    assert "sk-kept" not in json.dumps(report)


async def test_a_key_that_the_export_has_in_clear_works_on(files, database_url):
    from tests.support.gateway import gateway

    Shell(files, DATABASE_URL=database_url).run("import", "litellm", "old.yaml", "--keys", "keys.json", "--apply")
    async with gateway(database_url) as gw, gw.get("/v1/models", key="sk-kept-as-it-is-0123456789") as answer:
        assert answer.status == 200


def test_faults_of_the_files_are_told(tmp_path):
    shell = Shell(tmp_path)
    assert "can not be read" in shell.run("import", "litellm", "none.yaml", status=2)
    (tmp_path / "bad.yaml").write_text("a: [")
    assert "bad.yaml:" in shell.run("import", "litellm", "bad.yaml", status=2)
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "a mapping with model_list is expected" in shell.run("import", "litellm", "list.yaml", status=2)
    (tmp_path / "odd.yaml").write_text("model_list: [1, {}, {model_name: m}, {model_name: auto, litellm_params: {model: gpt-4o}}]\n")
    assert shell.json("import", "litellm", "odd.yaml")["models"] == 0
    assert "--keys says from which file" in shell.run("import", "litellm", "odd.yaml", "--apply", status=2)


OPENROUTER = {
    "data": [
        {"id": "maker/model-a", "context_length": 200000, "pricing": {"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003", "image": "0.004"},
         "top_provider": {"max_completion_tokens": 64000}, "architecture": {"input_modalities": ["text", "image"]},
         "supported_parameters": ["tools", "structured_outputs", "temperature"]},
        {"id": "maker/model-b:free", "context_length": 32000, "pricing": {"prompt": "0", "completion": "0"}},
        {"id": "other/model-c", "pricing": {"prompt": "-1", "completion": "-1"}},
        {"id": "openrouter/auto"},
    ]
}  # fmt: skip


def test_openrouters_models_come_with_their_prices_and_lists_become_chains(tmp_path):
    (tmp_path / "models.json").write_text(json.dumps(OPENROUTER))
    preferences = {
        "models": ["maker/model-a", "maker/model-b:free", "gone/x"], "provider": {"order": ["Host"], "sort": "price"},
        "presets": {"quick": {"model": "maker/model-b:free", "temperature": 0}},
    }  # fmt: skip
    (tmp_path / "prefs.yaml").write_text(yaml.safe_dump(preferences))
    shell = Shell(tmp_path, OPENROUTER_API_KEY="k")
    everything = yaml.safe_load(shell.json("import", "openrouter", "models.json")["config"])
    assert set(everything["models"]) == {"maker/model-a", "maker/model-b:free", "other/model-c"}
    assert everything["models"]["maker/model-a"] == {
        "provider": "openrouter", "price": {"input": 3.0, "output": 15.0, "cached_input": 0.3}, "context_window_tokens": 200000,
        "max_output_tokens": 64000, "abilities": ["json_schema", "tools", "vision"],
    }  # fmt: skip
    assert everything["models"]["maker/model-b:free"]["price"] == {"input": 0.0, "output": 0.0}
    assert "price" not in everything["models"]["other/model-c"]  # not known is not free
    report = shell.json("import", "openrouter", "models.json", "--preferences", "prefs.yaml", "--write", "new.yaml")
    config = yaml.safe_load(report["config"])
    assert set(config["models"]) == {"maker/model-a", "maker/model-b:free"} and config["routing"] == {"policy": "cheap"}
    assert config["aliases"] == {"preferred": ["maker/model-a", "maker/model-b:free"], "@preset/quick": ["maker/model-b:free"]}
    assert shell.json("config", "check", "new.yaml")["models"] == 2
    for where in ("preferred: gone/x", "provider.order:", "presets.quick.temperature:", "maker/model-a.pricing.image:"):
        assert any(line.startswith(where) for line in report["not_carried"]), report["not_carried"]
    assert set(yaml.safe_load(shell.json("import", "openrouter", "models.json", "--model", "other/*")["config"])["models"]) == {
        "other/model-c"
    }
