"""Configuration: the file's shape, faults with their places, layers, and the watch over the file."""

import asyncio
import json
import os
from typing import get_args

import pytest

from neuroroute.core import settings
from neuroroute.core.config import ConfigFaulty, ConfigFile, Layer, build, effective, from_environment, json_schema, parse, read
from neuroroute.core.config.models import Ability, Task
from neuroroute.core.tasks import cancel, spawn
from neuroroute.core.types import ABILITIES, LABELS, Limits, Price, Protocol, Timeouts

WHOLE = """\
providers:
  openai:      {protocol: openai,    base_url: https://api.openai.com/v1, api_key: ${OPENAI_API_KEY}}
  work-vllm:   {protocol: openai,    base_url: http://10.0.0.5:8000/v1, discover: true}
  anthropic:   {protocol: anthropic, api_key: ${ANTHROPIC_API_KEY},
                limits: {requests_per_minute: 1000, tokens_per_minute: 400000, concurrency: 64},
                timeouts: {connect_s: 5, first_byte_s: 60, idle_s: 60, total_s: 600}}
models:
  gpt-4o-mini: {provider: openai}
  house-7b:
    provider: work-vllm
    upstream_model: qwen2.5-7b-instruct
    price: {input: 0.05, output: 0.05, cached_input: 0.01}
    context_window_tokens: 32768
    max_output_tokens: 4096
    abilities: [tools, json_schema]
    quality: {default: 0.55, code: 0.62}
aliases:
  fast: [gpt-4o-mini, house-7b]
routing:
  policy: balanced
  baseline_model: gpt-4o
  policies:
    frugal: {quality_floor: 0.80, weights: {cost: 1.0, latency: 0.1}}
  rules:
    - {when: {label: translation}, use: fast}
    - {when: {tag.team: research}, policy: best}
cache:   {ttl_s: 300, semantic: {enabled: false, embedding_model: text-embedding-3-small, threshold: 0.97}}
alerts:  [{rule: error_rate, above: 5, for_s: 60}]
"""
KEYS = {"OPENAI_API_KEY": "sk-of-openai", "ANTHROPIC_API_KEY": "sk-of-anthropic"}


def faults_of(text, environ=KEYS):
    with pytest.raises(ConfigFaulty) as caught:
        build(parse(text, "gateway.yaml", environ))
    return caught.value.faults


def test_a_whole_file():
    config = build(parse(WHOLE, environ=KEYS))
    assert config.providers["anthropic"].protocol is Protocol.ANTHROPIC
    assert config.providers["anthropic"].address == "https://api.anthropic.com"
    assert config.providers["anthropic"].api_key == "sk-of-anthropic"
    assert config.providers["anthropic"].limits.limits() == Limits(1000, 400_000, 64)
    house = config.models["house-7b"]
    assert house.price.price() == Price.of(0.05, 0.05, 0.01)
    assert (house.abilities, house.quality) == (("tools", "json_schema"), {"default": 0.55, "code": 0.62})
    assert config.models["gpt-4o-mini"].price is None
    assert config.aliases == {"fast": ("gpt-4o-mini", "house-7b")}
    assert config.routing.policies["frugal"].weights.cost == 1.0 and config.routing.policies["frugal"].weights.quality is None
    assert config.routing.rules[1].when == {"tag.team": "research"}
    assert config.alerts[0].above == 5


def test_an_empty_file_is_an_empty_configuration():
    assert build(parse("")) == build(parse("# nothing yet\n")) == build()


def test_words_of_the_shape_are_those_of_the_product():
    assert get_args(Ability) == ABILITIES
    assert get_args(Task) == ("default", *LABELS)


def test_timeouts_fall_back_to_the_wider_place():
    config = build(parse("providers: {a: {timeouts: {idle_s: 7}}}"))
    assert config.providers["a"].timeouts.over(Timeouts(connect_s=1.0)) == Timeouts(connect_s=1.0, idle_s=7.0)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("providers: {a: {api_key: ${K}}}", "secret"),
        ("providers:\n  a:\n    api_key: ${K}", "secret"),
        ('providers: {a: {api_key: "pre-${K}-post"}}', "pre-secret-post"),
        ("providers: {a: {api_key: ${NONE:-other: {x}, #y}}}", None),
        ("providers: {a: {api_key: ${NONE:-other, #y}}}", "other, #y"),
        ("providers: {a: {api_key: ${EMPTY:-other}}}", "other"),
        ("providers: {a: {api_key: ${EMPTY}}}", None),
        ("providers: {a: {api_key: '$${K}'}}", "${K}"),
        ("providers: {a: {api_key: ${TRICKY}}}", "}, models: {evil: {provider: x}"),
    ],
)
def test_variables(text, key):
    environ = {"K": "secret", "EMPTY": "", "TRICKY": "}, models: {evil: {provider: x}"}
    if key is None and "NONE" in text:
        assert faults_of(text, environ)[0].startswith("gateway.yaml:1:")
        return
    config = build(parse(text, environ=environ))
    assert config.providers["a"].api_key == key
    assert not config.models


def test_a_number_may_come_from_the_environment():
    assert build(parse("cache: {ttl_s: ${TTL}}", environ={"TTL": "60"})).cache.ttl_s == 60


def test_a_missing_variable_is_told_with_its_place():
    assert faults_of("providers:\n  openai:\n    api_key: ${OPENAI_KEY}\n") == [
        "gateway.yaml:3:14: providers.openai.api_key: the environment has no OPENAI_KEY; set it, or write ${OPENAI_KEY:-otherwise}"
    ]


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    text = """\
provider: {}
providers:
  a: {protocol: opnai, base_url: nowhere, timeouts: {connect: 5, idle_s: soon}}
  b:
models:
  m:
    price: {input: -1, output: free}
    abilities: [tool]
    quality: {cod: 0.5, code: 2}
aliases: {none: [], five: 5}
routing:
  rules: [{when: {label: {a: 1}}, use: m}]
alerts: {}
"""
    assert faults_of(text) == [
        (
            "gateway.yaml:1:1: provider: not known; did you mean providers? allowed are alert_webhook, alerts, aliases, budgets, cache, limits, models, "
            "providers, routing, security"
        ),
        "gateway.yaml:3:7: providers.a.protocol: one of openai, anthropic, demo is expected",
        "gateway.yaml:3:24: providers.a.base_url: a URL that begins with http:// or https:// is expected",
        "gateway.yaml:3:54: providers.a.timeouts.connect: not known; did you mean connect_s? allowed are connect_s, first_byte_s, idle_s, total_s",
        "gateway.yaml:3:66: providers.a.timeouts.idle_s: a number is expected",
        "gateway.yaml:6:3: models.m.provider: is missing",
        "gateway.yaml:7:13: models.m.price.input: at least 0 is expected",
        "gateway.yaml:7:24: models.m.price.output: a number is expected",
        "gateway.yaml:8:17: models.m.abilities[0]: one of tools, vision, audio, files, json_schema, reasoning is expected",
        f"gateway.yaml:9:15: models.m.quality.cod: one of default, {', '.join(LABELS)} is expected",
        "gateway.yaml:9:25: models.m.quality.code: at most 1 is expected",
        "gateway.yaml:10:11: aliases.none: must not be empty",
        "gateway.yaml:10:21: aliases.five: a list is expected",
        "gateway.yaml:12:19: routing.rules[0].when.label: a word, a number, true or false, or a list of them is expected",
        "gateway.yaml:13:1: alerts: a list is expected",
    ]


def test_names_that_lead_nowhere_are_told_with_the_nearest():
    text = """\
providers: {vllm: {base_url: http://h/v1}}
models: {m: {provider: vlm}}
aliases: {a: [b], b: [c, a], auto: [m], m2: [m2, m]}
routing:
  policy: balnced
  rules: [{when: {}, use: m, policy: best}, {policy: bst}]
"""
    assert faults_of(text) == [
        "gateway.yaml:2:14: models.m.provider: there is no provider 'vlm'; did you mean vllm?",
        "gateway.yaml:3:11: aliases.a: the chain leads back to itself: a -> b -> a",
        "gateway.yaml:3:19: aliases.b: the chain leads back to itself: b -> a -> b",
        "gateway.yaml:3:30: aliases.auto: a name of its own is expected; auto is the router's",
        "gateway.yaml:5:3: routing.policy: there is no policy 'balnced'; did you mean balanced?",
        "gateway.yaml:6:11: routing.rules[0]: either use (a model or an alias) or policy is expected",
        "gateway.yaml:6:46: routing.rules[1].policy: there is no policy 'bst'; did you mean best?",
    ]


def test_a_policy_of_your_own_can_not_take_the_place_of_the_dial():
    text = """routing: {policies: {"7": {dial: 0}, "2.5": {dial: 1}, "11": {dial: 1}, seven: {dial: 7}}}"""
    assert faults_of(text) == [
        f"gateway.yaml:1:{at}: routing.policies.{name}: a name is expected; numbers from 0 to 10 are the dial"
        for at, name in ((22, "7"), (38, "2.5"))
    ]


def test_budgets_are_told_how_to_be_written_and_are_one_of_each():
    assert faults_of("budgets: [{tag: team, usd: 1, when_spent: cheaper}]") == [
        "gateway.yaml:1:12: budgets[0].tag: name=value is expected",
        "gateway.yaml:1:31: budgets[0].when_spent: refuse or policy:<name> is expected",
    ]
    assert faults_of("budgets: [{tag: a=b, usd: 1}, {tag: a=b, usd: 1, period: day}, {tag: a=b, usd: 2}]") == [
        "gateway.yaml:1:65: budgets[2].tag: a=b has a budget by month already; one is expected"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("providers: {a: {b: c}", "gateway.yaml:"),
        ("models:\n  m: {provider: x}\n  m: {provider: y}", "gateway.yaml:3:3: models.m: is there twice; first in line 2"),
        ("- a\n- b", "gateway.yaml:1:1: a mapping is expected"),
        ("a: !!python/object:os.system x", "gateway.yaml:1:4: a: "),
        ("a: &a [*a]", "gateway.yaml:1:"),
        ("? [x]\n: y", "gateway.yaml:1:3: configuration: a key must be a plain word"),
        ("a: ${}", "gateway.yaml:1:4: a: ${} is not a variable"),
        ("\t{", "gateway.yaml:1:1: not YAML"),
        ("a: " + "[" * 200 + "]" * 200, "gateway.yaml:1:"),
    ],
)
def test_faults_of_form(text, fault):
    assert faults_of(text)[0].startswith(fault)


def test_credentials_are_never_in_a_fault_or_in_what_is_shown():
    text = "providers: {a: {api_key: sk-secret, headers: {x: sk-secret, y: [sk-secret]}, base: 1}}"
    assert "sk-secret" not in "".join(faults_of(text))
    config = build(layer := parse("providers: {a: {api_key: sk-secret, headers: {x: sk-secret}}}"))
    assert "sk-secret" not in repr(config) + repr(effective(config, layer))


def test_the_environment_names_providers():
    found = from_environment(
        settings.read({"OPENAI_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://localhost:9/", "LMSTUDIO_API_URL": "http://lm:1234/v1"})
    )
    config = build(found)
    assert list(config.providers) == ["openai", "anthropic", "lmstudio"]
    assert config.providers["openai"].address == "https://api.openai.com/v1" and not config.providers["openai"].discover
    assert config.providers["anthropic"].address == "http://localhost:9"
    assert config.providers["lmstudio"].discover
    assert not build(from_environment(settings.read({}))).providers


def test_later_layers_win_and_every_value_has_a_source():
    environment = from_environment(settings.read({"OPENAI_API_KEY": "k"}))
    file = parse("providers: {openai: {timeouts: {idle_s: 9}}}\nmodels: {a: {provider: openai}, b: {provider: openai}}", "gateway.yaml")
    database = Layer("database", {"routing": {"policy": "cheap"}, "models": {"b": None, "a": {"kind": "chat"}}})
    config = build(environment, file, database)
    assert list(config.models) == ["a"]
    sources = {value.key: (value.value, value.place or value.source) for value in effective(config, environment, file, database)}
    assert sources["providers.openai.api_key"] == ("***", "environment")
    assert sources["providers.openai.timeouts.idle_s"] == (9.0, "gateway.yaml:1:33")
    assert sources["models.a.kind"] == ("chat", "database")
    assert sources["models.a.provider"] == ("openai", "gateway.yaml:2:14")
    assert sources["routing.policy"] == ("cheap", "database")
    assert sources["cache.semantic.threshold"] == (0.97, "default")


def test_a_fault_is_told_of_the_layer_that_made_it():
    file = parse("routing: {policy: cheap}", "gateway.yaml")
    with pytest.raises(ConfigFaulty, match=r"^database: routing.policy: there is no policy 'chep'; did you mean cheap\?$"):
        build(file, Layer("database", {"routing": {"policy": "chep"}}))


def test_a_check_of_the_caller_gets_its_place_too():
    def no_rules(config):
        return [(("routing", "rules", 0, "when", "lable"), "not known")] if config.routing.rules else []

    with pytest.raises(ConfigFaulty, match=r"^c:1:27: routing.rules\[0\].when.lable: not known$"):
        build(parse("routing: {rules: [{when: {lable: x}, use: y}]}", "c"), checks=[no_rules])


def test_the_schema_is_json_and_knows_every_section():
    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["properties"]) == {
        "providers",
        "models",
        "aliases",
        "routing",
        "cache",
        "alerts",
        "alert_webhook",
        "limits",
        "budgets",
        "security",
    }


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigFaulty, match="can not be read: No such file"):
        read(tmp_path / "none.yaml")


async def test_a_good_change_is_taken_and_a_bad_one_refused(tmp_path, caplog):
    path = tmp_path / "gateway.yaml"
    path.write_text("routing: {policy: cheap}")
    taken = []

    def take(layer):
        taken.append(build(layer).routing.policy)

    file = ConfigFile(path)
    assert await file.check(take) is False
    path.write_text("routing: {policy: best}")
    assert await file.check(take) is True and taken == ["best"]
    path.write_text("routing: {policy: bst}")
    assert await file.check(take) is False
    assert "there is no policy 'bst'" in file.fault and "the old one stays" in caplog.text
    path.unlink()
    assert await file.check(take) is False and "can not be read" in file.fault
    assert file.layer.values == {"routing": {"policy": "best"}} and taken == ["best"]
    path.write_text("routing: {policy: fast}")
    assert await file.check(take) is True and file.fault is None and taken == ["best", "fast"]
    assert await file.check(take, force=True) is True


async def test_the_watch_sees_a_change_that_keeps_size_and_time(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text("routing: {policy: best}")
    before = path.stat()
    seen = asyncio.Event()
    file = ConfigFile(path)
    watch = spawn(file.watch(lambda layer: seen.set()), name="watch")
    path.write_text("routing: {policy: fast}")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await asyncio.wait_for(seen.wait(), 5)
    await cancel(watch)
    assert file.layer.values == {"routing": {"policy": "fast"}}
