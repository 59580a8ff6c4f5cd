"""Settings: names, defaults, units, and faults told together."""

import os
from ipaddress import ip_address

import pytest

from neuroroute.core import settings
from neuroroute.core.settings import SettingsFaulty

PROMISED = {
    "NODE_ENV": "development", "PORT": "3000", "HOST": "0.0.0.0", "LOG_LEVEL": "info", "API_URL": "http://localhost:3000", "WORKERS": "1",
    "MAX_BODY_BYTES": "20 MiB", "SHUTDOWN_GRACE_S": "30", "TRUSTED_PROXIES": "", "CORS_ORIGINS": "", "DATABASE_URL": "", "DB_POOL_MIN": "2",
    "DB_POOL_MAX": "10", "DB_SLOW_QUERY_THRESHOLD": "500", "AUTO_MIGRATE": "true", "REDIS_URL": "", "ENABLE_CACHE": "true", "CACHE_TTL": "300",
    "CACHE_PREFIX": "cache:", "CACHE_BY_USER": "false", "CACHE_STRATEGY": "default", "CACHE_MAX_BYTES": "256 MiB", "RATE_LIMIT_MAX": "100",
    "RATE_LIMIT_WINDOW": "60000", "PROMPT_RATE_LIMIT_MAX": "20", "PROMPT_RATE_LIMIT_WINDOW": "60000", "ADMIN_RATE_LIMIT_MAX": "50",
    "ADMIN_RATE_LIMIT_WINDOW": "60000", "ENABLE_METRICS": "true", "METRICS_PATH": "/metrics", "METRICS_SAMPLE_RATE": "1", "METRICS_TOKEN": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "", "ALERT_WEBHOOK_URL": "", "ALERT_MEMORY_PERCENT": "90", "ALERT_CPU_PERCENT": "90",
    "ALERT_RESPONSE_MS": "30000", "ALERT_OVERHEAD_MS": "100", "ALERT_ERROR_PERCENT": "5", "ALERT_BUDGET_PERCENT": "80",
    "ENABLE_SWAGGER": "true", "SWAGGER_ROUTE": "/documentation", "OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "",
    "LMSTUDIO_API_URL": "http://localhost:1234/v1", "OPENAI_BASE_URL": "", "ANTHROPIC_BASE_URL": "", "UPSTREAM_CONNECT_TIMEOUT_S": "5",
    "UPSTREAM_FIRST_BYTE_TIMEOUT_S": "60", "UPSTREAM_IDLE_TIMEOUT_S": "60", "UPSTREAM_TOTAL_TIMEOUT_S": "600", "UPSTREAM_MAX_RETRIES": "2",
    "RETRY_BUDGET": "0.2", "BREAKER_FAILURES": "5", "BREAKER_OPEN_S": "10", "HEADER_TIMEOUT_S": "10", "BODY_TIMEOUT_S": "30",
    "SLOW_CLIENT_TIMEOUT_S": "30", "KEEPALIVE_COMMENT_S": "15", "AUTH_STALE_MAX_S": "86400",
    "NEUROROUTE_DATA_DIR": "the platform's folder for a user's data", "NEUROROUTE_CONFIG": "", "NEUROROUTE_ADMIN_KEY": "",
    "NEUROROUTE_SECRET_KEY": "", "NEUROROUTE_DEMO": "false", "STORE_PROMPTS": "false",
}  # fmt: skip


ADDED = {
    "MAX_RUNNING_CALLS": "4000", "OVERLOAD_LAG_MS": "100", "ALERT_WEBHOOK_SECRET": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "",
    "STORE_PROMPTS_DAYS": "30", "STORE_PROMPTS_MASKED": "true",
}  # fmt: skip
"""Beside the ones that were promised."""


def test_every_variable_has_its_name_and_default():
    assert {entry.variable: entry.default for entry in settings.table()} == {**PROMISED, **ADDED}


def test_every_variable_says_what_it_means_and_allows():
    for entry in settings.table():
        assert entry.meaning and entry.allowed and entry.group, entry.variable


def test_the_environment_wins_over_defaults_and_the_command_line_over_both():
    read = settings.read({"PORT": "4000", "WORKERS": "2", "LOG_LEVEL": "WARN"}, port=5000, workers=None)
    assert (read.port, read.workers, read.log_level, read.host) == (5000, 2, "warn", "0.0.0.0")
    assert read.model_fields_set == {"port", "workers", "log_level"}


def test_empty_means_unset_and_unknown_is_ignored():
    read = settings.read({"DATABASE_URL": "", "PORT": " ", "OPENAI_API_KEY": "", "SOMETHING_ELSE": "x", "port": "9"})
    assert (read.database_url, read.port, read.openai_api_key) == (None, 3000, None)


@pytest.mark.parametrize(
    ("environ", "value"), [({"APP_ENV": "production"}, "production"), ({"NODE_ENV": "test", "APP_ENV": "production"}, "test")]
)
def test_app_env_is_another_name_of_node_env(environ, value):
    assert settings.read(environ).node_env == value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20 MiB", 20 * 1024**2),
        ("256MB", 256_000_000),
        ("1048576", 1048576),
        ("1.5 GiB", 3 * 1024**3 // 2),
        ("64k", 64000),
        ("2KiB", 2048),
        ("4096b", 4096),
    ],
)
def test_sizes(text, size):
    assert settings.read({"MAX_BODY_BYTES": text}).max_body_bytes == size


def test_lists():
    read = settings.read({"TRUSTED_PROXIES": "10.0.0.0/8, ::1,", "CORS_ORIGINS": "https://a.example, http://localhost:5173"})
    assert read.cors_origins == ("https://a.example", "http://localhost:5173")
    assert any(ip_address("10.2.3.4") in network for network in read.trusted_proxies)
    assert not any(ip_address("11.2.3.4") in network for network in read.trusted_proxies)


def test_urls_lose_their_last_slash():
    assert settings.read({"OPENAI_BASE_URL": "http://127.0.0.1:9000/v1/"}).openai_base_url == "http://127.0.0.1:9000/v1"


def test_all_faults_are_told_at_once_with_what_is_allowed():
    bad = {
        "PORT": "eighty", "WORKERS": "0", "MAX_BODY_BYTES": "much", "ENABLE_CACHE": "maybe", "APP_ENV": "staging", "METRICS_SAMPLE_RATE": "nan",
        "TRUSTED_PROXIES": "10.0.0.0/8,nowhere", "CORS_ORIGINS": "a.example", "SWAGGER_ROUTE": "docs", "BREAKER_OPEN_S": "0",
    }  # fmt: skip
    with pytest.raises(SettingsFaulty) as caught:
        settings.read(bad)
    assert {line.split("=")[0] for line in caught.value.faults} == set(bad)
    assert "PORT=eighty: a whole number from 0 to 65535" in caught.value.faults
    assert "APP_ENV=staging: one of development, test, production" in caught.value.faults
    assert "BREAKER_OPEN_S=0: a number more than 0 up to 3600" in caught.value.faults


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL", "ALERT_WEBHOOK_URL", "NEUROROUTE_ADMIN_KEY", "NEUROROUTE_SECRET_KEY"])
def test_faults_never_show_a_secret(variable):
    with pytest.raises(SettingsFaulty) as caught:
        settings.read({variable: "hunt er"})
    assert str(caught.value).startswith(f"{variable}=***: ")


def test_neither_repr_nor_table_shows_a_secret():
    secrets = {
        "OPENAI_API_KEY": "sk-very-secret",
        "NEUROROUTE_ADMIN_KEY": "nr_very-secret",
        "DATABASE_URL": "postgresql://u:very-secret@h/d",
    }
    read = settings.read(secrets)
    assert "very-secret" not in repr(read) + str(settings.table(read))
    assert next(entry for entry in settings.table(read) if entry.variable == "OPENAI_API_KEY").value == "***"


def test_pool_bounds_go_together():
    with pytest.raises(SettingsFaulty, match="DB_POOL_MIN=50: at most DB_POOL_MAX, which is 10"):
        settings.read({"DB_POOL_MIN": "50"})


def test_an_env_file_fills_what_the_environment_leaves_open(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("# a comment\nNR_TEST_A=from file # why\nexport NR_TEST_B='with # hash'\nNR_TEST_C=x\nnonsense\n")
    monkeypatch.setenv("NR_TEST_C", "kept")
    for name in ("NR_TEST_A", "NR_TEST_B"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    settings.load_env_file(file)
    settings.load_env_file(tmp_path / "missing")
    assert [os.environ[f"NR_TEST_{x}"] for x in "ABC"] == ["from file", "with # hash", "kept"]


def test_the_data_folder_follows_the_platform(tmp_path):
    assert settings.default_data_dir({"XDG_DATA_HOME": str(tmp_path), "HOME": "/home/x"}).is_relative_to(tmp_path)


def test_what_is_not_fit_for_production_is_told_there_alone() -> None:
    from neuroroute.core.production import risks

    assert risks(settings.read({"CORS_ORIGINS": "*"})) == []
    found = dict(
        risks(settings.read({"NODE_ENV": "production", "CORS_ORIGINS": "*", "STORE_PROMPTS": "true", "STORE_PROMPTS_MASKED": "false"}))
    )
    assert list(found) == [
        "the embedded database", "no NEUROROUTE_SECRET_KEY", "API_URL names this machine", "metrics that anybody may read", "CORS_ORIGINS=*",
        "STORE_PROMPTS_MASKED=false",
    ]  # fmt: skip
    good = {
        "APP_ENV": "Production", "DATABASE_URL": "postgresql://u@db/x", "NEUROROUTE_SECRET_KEY": "a-long-secret-of-this-place",
        "API_URL": "https://llm.example.com", "METRICS_TOKEN": "t",
    }  # fmt: skip
    assert risks(settings.read(good)) == []
